// All that the page knows of the server. Inputs go in with the time; what to do comes out as effects.

import type { Ack, ClientMessage, CommandAnswer, Error as Refused, MessageView, Send, ServerMessage } from "../protocol";
import { Link, type LinkEffect, type Phase } from "./link";
import { Outbox, type Outgoing, type Pending } from "./outbox";
import { type Place, branch, leaf } from "./tree";
import { Thread } from "./thread";

export type Effect =
  | { do: "connect" }
  | { do: "close" }
  | { do: "send"; message: ClientMessage }
  /** Something to see has changed, other than the text of a running reply. */
  | { do: "changed" }
  | { do: "grew"; stream: string }
  /** The list of conversations is another one. */
  | { do: "listed" }
  /** The conversation on the page got its id. */
  | { do: "named"; conversation: string }
  /** Look at another conversation. */
  | { do: "go"; conversation: string }
  | { do: "started"; stream: string }
  | { do: "ended"; stream: string }
  | { do: "kept" };

export interface Shown {
  places: Place[];
  pending: Outgoing | null;
}

const BACK_MS = 2_000;
const PATIENCE_MS = 1_000;
const TYPING_AGAIN_MS = 3_000;

export class Session {
  readonly link = new Link();
  thread: Thread | null = null;
  readonly outbox = new Outbox();
  notice: string | null = null;
  /** What a command said, until the next thing is done. */
  answer: CommandAnswer | null = null;
  /** The assistant that a new conversation shall be with; null: the server's own choice. */
  assistant: string | null = null;
  backUntil = 0;
  stopping = false;
  user: string | null = null;
  server: string | null = null;

  /** The last that the server said, if it was an error: a sentence, where a socket is closed with a few words. */
  private farewell: string | null = null;
  private frame = 65_536;
  private count = 0;
  private returned = false;
  private left = new Set<string>();
  private shows = new Map<string, string>();
  /** When to ask for the conversation, unless it was told by then. */
  private askAt: number | null = null;
  /** When the others were last told that the person writes; null: they think that nobody does. */
  private typedAt: number | null = null;

  get phase(): Phase {
    return this.link.phase;
  }

  /** Whether a reply is on its way, so that nothing more is sent for now. */
  get busy(): boolean {
    const pending = this.pending;
    return (pending !== null && !pending.refusal) || (this.thread?.running.length ?? 0) > 0;
  }

  /** What the conversation on the page has not got rid of. */
  get pending(): Outgoing | null {
    return this.outbox.of(this.thread?.id ?? null);
  }

  shown(): Shown {
    const thread = this.thread;
    const pending = this.pending;
    let places = thread ? branch(thread.messages, thread.view?.head) : [];
    if (pending && pending.command.type !== "send") {
      const target = pending.command.message;
      const cut = places.findIndex((place) => place.message.id === target);
      if (cut >= 0 && !pending.refusal) places = places.slice(0, cut);
    }
    return { places, pending };
  }

  // What the socket says

  connect(now: number): Effect[] {
    return this.linked(this.link.connect(now));
  }

  closed(code: number, reason: string, now: number, random: number): Effect[] {
    this.link.closed(code, this.farewell ?? reason, now, random);
    // Where nothing goes on without the person, they are told why in the one place they look at.
    if (this.phase === "refused" && this.farewell !== null) this.notice = null;
    this.farewell = null;
    if (this.thread) this.thread.awaited = null;
    return [{ do: "changed" }];
  }

  tick(now: number, random: number): Effect[] {
    const before = this.phase;
    const out = this.linked(this.link.tick(now, random));
    if (this.thread) {
      if (this.phase !== "live") this.thread.awaited = null;
      else if (this.askAt !== null && now >= this.askAt) {
        this.askAt = null;
        out.push(this.follow());
      }
    }
    const wasBack = this.backUntil !== 0 && now >= this.backUntil;
    if (wasBack) this.backUntil = 0;
    const lapsed = this.thread?.lapsed(now) ?? false;
    if (wasBack || lapsed || before !== this.phase) out.push({ do: "changed" });
    return out;
  }

  nudge(now: number): Effect[] {
    return [...this.linked(this.link.nudge(now)), { do: "changed" }];
  }

  doubt(now: number): Effect[] {
    return [...this.linked(this.link.doubt(now)), { do: "changed" }];
  }

  message(message: ServerMessage, now: number, clock: string): Effect[] {
    this.link.heard(now);
    this.farewell = message.type === "error" ? message.message : null;
    switch (message.type) {
      case "welcome": {
        this.user = message.user;
        this.server = message.server;
        this.frame = message.max_frame_bytes ?? this.frame;
        this.returned = this.link.welcomed(now);
        return this.resumed(now);
      }
      case "following": {
        const thread = this.thread;
        if (thread?.id !== message.conversation.id) return [];
        const before = new Set(thread.replies.keys());
        if (!thread.following(message, now)) return [this.follow()];
        if (this.returned) this.backUntil = now + BACK_MS;
        this.returned = false;
        this.askAt = null;
        if (thread.running.length === 0) this.stopping = false;
        const ended = [...before].filter((stream) => thread.messages.has(stream) && !thread.replies.has(stream));
        return [...ended.map((stream): Effect => ({ do: "ended", stream })), { do: "changed" }];
      }
      case "messages":
        if (this.thread?.id !== message.conversation) return [];
        this.thread.more(message, now);
        return [{ do: "changed" }];
      case "ack":
        return this.acknowledged(message, now, clock);
      case "message": {
        if (!this.ours(message.message.conversation)) return [];
        const thread = this.thread!;
        const known = thread.messages.get(message.message.id);
        thread.put(message.message, now);
        return [...this.turned(known, message.message), { do: "changed" }];
      }
      case "conversation":
        if (this.ours(message.conversation.id)) {
          this.thread!.changed(message.conversation);
          this.askAt = null;
        }
        return [{ do: "listed" }, { do: "changed" }];
      case "deleted":
        if (this.thread?.id === message.conversation) this.thread.deleted = true;
        return [{ do: "listed" }, { do: "changed" }];
      case "delta": {
        const thread = this.thread;
        const verdict = thread?.delta(message, now);
        if (verdict === "gap") return [this.follow()];
        if (verdict !== "taken") return [];
        if (!thread!.replies.get(message.stream)?.fold.end) return [{ do: "grew", stream: message.stream }];
        this.stopping = false;
        return [{ do: "grew", stream: message.stream }, { do: "changed" }];
      }
      case "reset":
        this.thread?.reset(message);
        return [];
      case "people":
        if (this.thread?.id !== message.conversation) return [];
        this.thread.peopled(message.people, this.user, now);
        return [{ do: "changed" }];
      case "typing":
        if (this.thread?.id !== message.conversation || message.user === this.user) return [];
        this.thread.types(message, now);
        return [{ do: "changed" }];
      case "command":
        return this.answered(message);
      case "approved":
      case "stopped":
        return [];
      case "unfollowed":
        this.left.delete(message.conversation);
        return [];
      case "error":
        return this.refused(message, now);
      case "pong":
        return [];
      default:
        return [];
    }
  }

  // What the person does

  /** Look at a conversation, or with null at an empty page. */
  open(conversation: string | null): Effect[] {
    if (conversation === (this.thread?.id ?? null) && !this.thread?.missing) return [];
    const out: Effect[] = [];
    if (this.thread && this.phase === "live") {
      this.left.add(this.thread.id);
      out.push(this.tell({ type: "unfollow", conversation: this.thread.id, id: this.next() }));
    }
    this.thread = conversation ? new Thread(conversation) : null;
    this.notice = null;
    this.answer = null;
    this.typedAt = null;
    this.stopping = false;
    this.askAt = null;
    if (conversation) this.left.delete(conversation);
    if (conversation && this.phase === "live") out.push(this.follow());
    return [...out, { do: "changed" }];
  }

  send(text: string, client_message_id: string, parts: Send["parts"] = []): Effect[] {
    const conversation = this.thread?.id ?? null;
    const parent = this.shown().places.at(-1)?.message.id ?? null;
    const command: Pending = { type: "send", id: this.next(), client_message_id, conversation, parent, text };
    if (parts.length) command.parts = parts;
    if (!conversation && this.assistant) command.assistant = this.assistant;
    this.typedAt = null;
    return this.submit(command, parent);
  }

  /** A command for the server: it goes out at once, also while a reply is written. */
  order(text: string, client_message_id: string): Effect[] {
    if (this.phase !== "live") return this.noted("A command can be given once the connection is back.");
    this.answer = null;
    this.notice = null;
    const conversation = this.thread?.id ?? null;
    const order: Send = { type: "send", id: this.next(), client_message_id, conversation, text };
    if (!conversation && this.assistant) order.assistant = this.assistant;
    return [this.tell(order), { do: "changed" }];
  }

  /** Say whether a tool that asked may run. */
  approve(message: string, call: string, allow: boolean): Effect[] {
    if (!this.thread || this.phase !== "live") return this.noted("That can be said once the connection is back.");
    return [this.tell({ type: "approve", id: this.next(), conversation: this.thread.id, message, call, allow })];
  }

  /** The person writes, or has emptied the field. The others are told now and then. */
  typing(writes: boolean, now: number): Effect[] {
    const thread = this.thread;
    if (!thread || this.phase !== "live" || !thread.people.some((each) => each.present && each.user !== this.user)) return [];
    if (writes && this.typedAt !== null && now - this.typedAt < TYPING_AGAIN_MS) return [];
    if (!writes && this.typedAt === null) return [];
    this.typedAt = writes ? now : null;
    return [this.tell({ type: "typing", conversation: thread.id, typing: writes })];
  }

  /** Whom a new conversation shall be with. */
  choose(assistant: string | null): Effect[] {
    this.assistant = assistant;
    return [{ do: "changed" }];
  }

  /** The command's answer was read. */
  hush(): Effect[] {
    this.answer = null;
    return [{ do: "changed" }];
  }

  edit(message: MessageView, text: string, client_message_id: string): Effect[] {
    const conversation = message.conversation;
    return this.submit(
      { type: "edit", id: this.next(), client_message_id, conversation, message: message.id, text },
      message.parent ?? null,
    );
  }

  regenerate(message: MessageView, client_message_id: string): Effect[] {
    const conversation = message.conversation;
    return this.submit(
      { type: "regenerate", id: this.next(), client_message_id, conversation, message: message.id },
      message.parent ?? null,
    );
  }

  show(message: string): Effect[] {
    if (!this.thread || this.phase !== "live") return this.noted("Another branch can be shown once the connection is back.");
    const end = leaf(this.thread.messages, message);
    const id = this.next();
    this.shows.set(id, end);
    return [this.tell({ type: "show", id, conversation: this.thread.id, message: end })];
  }

  /** Stop what is being written. What was never told to the server is taken back; its text is returned. */
  stop(): { effects: Effect[]; text: string | null } {
    const pending = this.pending;
    if (pending && !pending.refusal && !pending.told) {
      const text = pending.command.type === "regenerate" ? null : (pending.command.text ?? null);
      return { effects: this.discard(), text };
    }
    this.stopping = true;
    if (!this.thread || this.phase !== "live") return { effects: [{ do: "changed" }], text: null };
    return { effects: [this.halt(), { do: "changed" }], text: null };
  }

  /** Take back what was refused. */
  discard(): Effect[] {
    this.outbox.drop(this.pending);
    return [{ do: "kept" }, { do: "changed" }];
  }

  /** Send again what was refused. */
  again(): Effect[] {
    const pending = this.pending;
    if (!pending) return [];
    pending.refusal = null;
    pending.told = false;
    return [...this.flush(), { do: "changed" }];
  }

  noted(notice: string | null): Effect[] {
    this.notice = notice;
    return [{ do: "changed" }];
  }

  /** What a page before this one had not got rid of. */
  restore(outbox: Outgoing[]): void {
    for (const each of outbox) each.command = { ...each.command, id: this.next() };
    this.outbox.items = outbox;
  }

  private submit(command: Pending, parent: string | null): Effect[] {
    this.notice = null;
    this.answer = null;
    this.stopping = false;
    const before = this.pending;
    const item = { command, conversation: command.conversation ?? null, parent, told: false, refusal: null };
    this.outbox.put(item, before);
    return [...this.flush(), { do: "kept" }, { do: "changed" }];
  }

  private flush(): Effect[] {
    if (this.phase !== "live") return [];
    return this.outbox.due(this.frame).map((command) => this.tell(command));
  }

  private resumed(now: number): Effect[] {
    const out: Effect[] = [];
    this.left.clear();
    if (this.thread && !this.thread.missing) out.push(this.follow());
    else if (this.returned) {
      this.backUntil = now + BACK_MS;
      this.returned = false;
    }
    this.outbox.untold();
    out.push(...this.flush());
    if (this.stopping && this.thread) out.push(this.halt());
    return [...out, { do: "listed" }, { do: "changed" }];
  }

  private acknowledged(ack: Ack, now: number, clock: string): Effect[] {
    const item = this.outbox.asked(ack.re);
    if (!item) return [];
    this.outbox.drop(item);
    const out: Effect[] = [{ do: "kept" }];
    if (!item.command.conversation && (!this.thread || this.thread.id === ack.conversation)) {
      this.thread ??= new Thread(ack.conversation);
      if (!this.thread.view) this.askAt = now + PATIENCE_MS;
      out.push({ do: "named", conversation: ack.conversation });
    }
    if (this.thread?.id !== ack.conversation) return [...out, { do: "listed" }];
    const { command } = item;
    const parts = command.type === "send" ? command.parts : undefined;
    const said = command.type === "regenerate" ? null : { text: command.text ?? "", author: this.user, ...(parts && { parts }) };
    const known = this.thread.messages.get(ack.reply);
    this.thread.acknowledged(ack, said, item.parent, clock, now);
    out.push(...this.turned(known, this.thread.messages.get(ack.reply)!));
    if (this.stopping && this.phase === "live") out.push(this.halt());
    return [...out, { do: "listed" }, { do: "changed" }];
  }

  private answered(answer: CommandAnswer): Effect[] {
    const out: Effect[] = [];
    const item = this.outbox.asked(answer.re);
    if (item) {
      this.outbox.drop(item);
      out.push({ do: "kept" });
    }
    if (answer.conversation && answer.conversation !== this.thread?.id) out.push({ do: "go", conversation: answer.conversation });
    else this.answer = answer;
    return [...out, { do: "listed" }, { do: "changed" }];
  }

  private refused(error: Refused, now: number): Effect[] {
    const item = this.outbox.asked(error.re);
    const show = error.re ? this.shows.delete(error.re) : false;
    if (item) {
      item.refusal = { message: error.message, code: error.code };
    } else if (!show && this.thread && error.re === this.thread.awaited) {
      this.thread.awaited = null;
      this.thread.missing = error.code === "not_found";
      if (!this.thread.missing) {
        this.notice = error.message;
        this.askAt = now + PATIENCE_MS;
      }
    } else {
      this.notice = error.message;
    }
    return [{ do: "kept" }, { do: "changed" }];
  }

  /** A message of the conversation on the page; or of one that came to be by what we sent, whose `ack` is still to come. */
  private ours(conversation: string): boolean {
    if (this.thread) return this.thread.id === conversation;
    const first = this.pending;
    if (!first || !first.told || this.left.has(conversation)) return false;
    first.conversation = conversation;
    this.thread = new Thread(conversation);
    return true;
  }

  private turned(before: MessageView | undefined, after: MessageView): Effect[] {
    if (after.role !== "assistant") return [];
    const streams = after.status === "streaming";
    if (!streams) this.stopping = false;
    if (streams && !before) return [{ do: "started", stream: after.id }];
    if (!streams && before?.status === "streaming") return [{ do: "ended", stream: after.id }];
    return [];
  }

  private linked(effects: LinkEffect[]): Effect[] {
    return effects.map((effect) => (effect.do === "ping" ? this.tell({ type: "ping", id: this.next() }) : effect));
  }

  private follow(): Effect {
    return this.tell(this.thread!.follow(this.next()));
  }

  private halt(): Effect {
    return this.tell({ type: "stop", id: this.next(), conversation: this.thread!.id });
  }

  private tell(message: ClientMessage): Effect {
    return { do: "send", message };
  }

  private next(): string {
    this.count += 1;
    return `p${this.count}`;
  }
}
