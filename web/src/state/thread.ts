// A conversation that is followed: its messages, and the replies that are being written in it.

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
import { Reply } from "./reply";

/** Somebody who writes says so again every few seconds. */
const TYPING_MS = 7_000;

export class Thread {
  readonly id: string;
  view: ConversationView | null = null;
  messages = new Map<string, MessageView>();
  replies = new Map<string, Reply>();
  /** There is no such conversation, or it is somebody else's. */
  missing = false;
  deleted = false;
  people: PersonView[] = [];
  /** Who else writes, and until when that holds unless it is said again. */
  private typists = new Map<string, number>();
  /** The id of the `follow` whose answer is awaited. What comes before it belongs to an older one. */
  awaited: string | null = null;
  private stuck = new Set<string>();
  private seen = 0;
  /** While what was missed comes in pieces: the last revision before it of which we know all. */
  private before: number | null = null;

  constructor(id: string) {
    this.id = id;
  }

  /** Whether the person may write here. */
  get writable(): boolean {
    return this.view?.standing !== "viewer";
  }

  /** What a person is called. */
  named(user: string): string {
    return this.people.find((each) => each.user === user)?.name || user;
  }

  peopled(people: PersonView[], user: string | null, now: number): void {
    this.people = people;
    for (const each of people) {
      if (each.user === user) continue;
      if (!each.typing) this.typists.delete(each.user);
      else if (!this.typists.has(each.user)) this.typists.set(each.user, now + TYPING_MS);
    }
    for (const typist of this.typists.keys()) {
      if (!people.some((each) => each.user === typist)) this.typists.delete(typist);
    }
  }

  types(told: TypingNow, now: number): void {
    if (told.typing) this.typists.set(told.user, now + TYPING_MS);
    else this.typists.delete(told.user);
  }

  /** Who writes now; whether somebody's time was up is `lapsed`'s to say. */
  get writers(): string[] {
    return [...this.typists.keys()].map((user) => this.named(user));
  }

  lapsed(now: number): boolean {
    const before = this.typists.size;
    for (const [user, until] of this.typists) if (now >= until) this.typists.delete(user);
    return this.typists.size !== before;
  }

  /** The last revision we know all of. */
  get revision(): number {
    return this.before ?? this.seen;
  }

  get running(): Reply[] {
    return [...this.replies.values()].filter((reply) => !reply.fold.end);
  }

  /** Ask for what was missed. */
  follow(id: string): Follow {
    this.awaited = id;
    const positions = [...this.replies.values()].flatMap((reply) => reply.position ?? []);
    return { type: "follow", id, conversation: this.id, since: this.revision, positions };
  }

  /** False: this answer contradicts what we know; forget it all and ask anew. */
  following(message: Following, now: number): boolean {
    if (this.awaited !== null && message.re !== this.awaited) return true;
    this.awaited = null;
    if (message.conversation.revision < this.revision) {
      this.seen = 0;
      this.before = null;
      this.replies.clear();
      return false;
    }
    if (this.revision === 0) this.messages.clear();
    this.before = this.revision;
    this.changed(message.conversation);
    this.pieces(message.messages, message.more ?? false, now);
    return true;
  }

  /** More of what was missed. */
  more(message: Messages, now: number): void {
    if (this.awaited === null) this.pieces(message.messages, message.more ?? false, now);
  }

  private pieces(messages: MessageView[], more: boolean, now: number): void {
    for (const each of messages) this.put(each, now);
    if (more) return;
    this.before = null;
    for (const [stream] of this.replies) {
      if (!this.messages.has(stream)) this.replies.delete(stream);
    }
  }

  changed(view: ConversationView): void {
    this.view = view;
    this.seen = Math.max(this.seen, view.revision);
  }

  put(message: MessageView, now: number): void {
    this.messages.set(message.id, message);
    this.seen = Math.max(this.seen, message.revision ?? 0);
    if (message.status !== "streaming") this.replies.delete(message.id);
    else if (!this.replies.has(message.id)) this.replies.set(message.id, new Reply(message.id, now));
  }

  /** Our own message is stored: show it and its reply before they are told. */
  acknowledged(ack: Ack, said: Pick<MessageView, "text" | "parts" | "author"> | null, parent: string | null, at: string, now: number): void {
    let above = parent;
    if (ack.message && said !== null && !this.messages.has(ack.message)) {
      this.put({ id: ack.message, conversation: this.id, role: "user", status: "complete", created_at: at, parent, ...said }, now);
    }
    if (ack.message) above = ack.message;
    if (!this.messages.has(ack.reply)) {
      this.put({ id: ack.reply, conversation: this.id, role: "assistant", status: "streaming", created_at: at, parent: above }, now);
    }
    this.view = this.view
      ? { ...this.view, head: ack.reply }
      : { id: this.id, title: "", assistant: "", revision: 0, created_at: at, updated_at: at, head: ack.reply };
  }

  /** `gap`: ask again with `follow`. `null`: it is none of our business. */
  delta(delta: Delta, now: number): "taken" | "known" | "gap" | null {
    if (this.awaited !== null) return null;
    const message = this.messages.get(delta.stream);
    if (message && message.status !== "streaming") return null;
    let reply = this.replies.get(delta.stream);
    if (!reply) {
      if (delta.from !== 0) return null;
      reply = new Reply(delta.stream, now);
      this.replies.set(delta.stream, reply);
    }
    const verdict = reply.take(delta, now);
    if (verdict === "taken") this.stuck.delete(delta.stream);
    if (verdict === "gap") {
      // Asked before and no wiser: begin this stream again rather than ask for ever.
      if (this.stuck.has(delta.stream)) this.replies.set(delta.stream, new Reply(delta.stream, now));
      this.stuck.add(delta.stream);
    }
    return verdict;
  }

  reset(message: ResetStream): void {
    this.replies.get(message.stream)?.reset(message);
  }
}
