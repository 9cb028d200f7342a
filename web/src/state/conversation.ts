// The conversation on the page: its messages, its participants and its running replies.

import type {
  Ack,
  ConversationView,
  Delta,
  Follow,
  Following,
  Messages,
  MessageView,
  PersonView,
  ResetStream,
  TypingNow,
} from "../protocol";
import { type DeltaFit, RunningReply } from "./runningReply";

/** How long a `typing` frame is valid. The server repeats it every few seconds. */
const TYPING_TIMEOUT_MS = 7_000;

export class Conversation {
  readonly id: string;
  view: ConversationView | null = null;
  messages = new Map<string, MessageView>();
  /** Running replies by stream. A reply's stream has the id of its message. */
  replies = new Map<string, RunningReply>();
  /** The conversation does not exist, or the user does not take part in it. */
  notFound = false;
  deleted = false;
  participants: PersonView[] = [];
  /** The id of the last `follow` until its answer arrives. Until then, deltas that join are applied, and others ignored. */
  pendingFollowId: string | null = null;
  /** The other users who are typing, each with the time at which that expires. */
  private typingUntil = new Map<string, number>();
  private streamsWithGap = new Set<string>();
  private newestRevision = 0;
  /** While missed messages arrive in several frames: the last revision that was complete before them. */
  private completeRevision: number | null = null;

  constructor(id: string) {
    this.id = id;
  }

  /** Whether the user may write here. */
  get canWrite(): boolean {
    return this.view?.standing !== "viewer";
  }

  /** The name of a participant, or the user id if there is none. */
  displayName(user: string): string {
    return this.participants.find((each) => each.user === user)?.name || user;
  }

  /** Replace the participants. `user` is the user of this page; their own typing is ignored. */
  onPeople(people: PersonView[], user: string | null, now: number): void {
    this.participants = people;
    for (const each of people) {
      if (each.user === user) continue;
      if (!each.typing) this.typingUntil.delete(each.user);
      else if (!this.typingUntil.has(each.user)) this.typingUntil.set(each.user, now + TYPING_TIMEOUT_MS);
    }
    for (const typist of this.typingUntil.keys()) {
      if (!people.some((each) => each.user === typist)) this.typingUntil.delete(typist);
    }
  }

  onTyping({ user, typing }: TypingNow, now: number): void {
    if (typing) this.typingUntil.set(user, now + TYPING_TIMEOUT_MS);
    else this.typingUntil.delete(user);
  }

  /** The names of the other users who are typing, as of the last `expireTyping`. */
  get typingNames(): string[] {
    return [...this.typingUntil.keys()].map((user) => this.displayName(user));
  }

  /** Remove the users whose typing has expired. Returns whether there were any. */
  expireTyping(now: number): boolean {
    const before = this.typingUntil.size;
    for (const [user, until] of this.typingUntil) if (now >= until) this.typingUntil.delete(user);
    return this.typingUntil.size !== before;
  }

  /** The last revision up to which all messages are known. */
  get revision(): number {
    return this.completeRevision ?? this.newestRevision;
  }

  get runningReplies(): RunningReply[] {
    return [...this.replies.values()].filter((reply) => !reply.snapshot.end);
  }

  /** A `follow` that asks for everything after the known revision and the known stream positions. */
  follow(id: string): Follow {
    this.pendingFollowId = id;
    const positions = [...this.replies.values()].flatMap((reply) => reply.position ?? []);
    return { type: "follow", id, conversation: this.id, since: this.revision, positions };
  }

  /** Returns false if the server has an older revision than this page. Then the state is reset; send a new `follow`. */
  onFollowing(message: Following, now: number): boolean {
    if (this.pendingFollowId !== null && message.re !== this.pendingFollowId) return true;
    this.pendingFollowId = null;
    if (message.conversation.revision < this.revision) {
      this.newestRevision = 0;
      this.completeRevision = null;
      this.replies.clear();
      return false;
    }
    if (this.revision === 0) this.messages.clear();
    this.completeRevision = this.revision;
    this.setView(message.conversation);
    this.mergeMessages(message.messages, message.more ?? false, now);
    return true;
  }

  /** Handle a further frame of missed messages. */
  onMessages(message: Messages, now: number): void {
    if (this.pendingFollowId === null) this.mergeMessages(message.messages, message.more ?? false, now);
  }

  private mergeMessages(messages: MessageView[], more: boolean, now: number): void {
    for (const each of messages) this.putMessage(each, now);
    if (more) return;
    this.completeRevision = null;
    for (const [stream] of this.replies) {
      if (!this.messages.has(stream)) this.replies.delete(stream);
    }
  }

  setView(view: ConversationView): void {
    this.view = view;
    this.newestRevision = Math.max(this.newestRevision, view.revision);
  }

  putMessage(message: MessageView, now: number): void {
    // A long message may arrive in fragments behind a newer history.
    if ((this.messages.get(message.id)?.revision ?? 0) > (message.revision ?? 0)) return;
    this.messages.set(message.id, message);
    this.newestRevision = Math.max(this.newestRevision, message.revision ?? 0);
    if (message.status !== "streaming") this.replies.delete(message.id);
    else if (!this.replies.has(message.id)) this.replies.set(message.id, new RunningReply(message.id, now));
  }

  /**
   * Show the user's own message and its reply before the server sends them. `content` is null for a regenerated reply.
   * `createdAt` is an ISO-8601 time.
   */
  onAck(
    ack: Ack,
    content: Pick<MessageView, "text" | "parts" | "author"> | null,
    parent: string | null,
    createdAt: string,
    now: number,
  ): void {
    const common = { conversation: this.id, created_at: createdAt };
    if (ack.message && content !== null && !this.messages.has(ack.message)) {
      this.putMessage({ id: ack.message, role: "user", status: "complete", parent, ...common, ...content }, now);
    }
    if (!this.messages.has(ack.reply)) {
      this.putMessage({ id: ack.reply, role: "assistant", status: "streaming", parent: ack.message || parent, ...common }, now);
    }
    this.view = this.view
      ? { ...this.view, head: ack.reply }
      : { id: this.id, title: "", assistant: "", revision: 0, created_at: createdAt, updated_at: createdAt, head: ack.reply };
  }

  /** On `gap`, send a new `follow`. Returns null for a delta that is ignored. */
  onDelta(delta: Delta, now: number): DeltaFit | null {
    const message = this.messages.get(delta.stream);
    if (message && message.status !== "streaming") return null;
    let reply = this.replies.get(delta.stream);
    if (!reply) {
      if (delta.from !== 0) return null;
      reply = new RunningReply(delta.stream, now);
      this.replies.set(delta.stream, reply);
    }
    const fit = reply.apply(delta, now);
    if (fit === "applied") this.streamsWithGap.delete(delta.stream);
    // The answer to a `follow` is on its way, and closes the gap.
    if (fit === "gap" && this.pendingFollowId !== null) return null;
    if (fit === "gap") {
      // The last `follow` did not close the gap: request the stream from its beginning, so that this does not loop.
      if (this.streamsWithGap.has(delta.stream)) this.replies.set(delta.stream, new RunningReply(delta.stream, now));
      this.streamsWithGap.add(delta.stream);
    }
    return fit;
  }

  onReset(message: ResetStream): void {
    this.replies.get(message.stream)?.reset();
  }
}
