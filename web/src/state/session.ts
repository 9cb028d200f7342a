// Everything that the page knows about the server. It does no I/O and reads no clock: each input carries the time, and
// each method returns the effects to run.

import type { Ack, ClientMessage, CommandAnswer, Error as ErrorMessage, MessageView, Send, ServerMessage } from "../protocol";
import { Connection, type ConnectionEffect, type ConnectionPhase } from "./connection";
import { Conversation } from "./conversation";
import type { Effect } from "./effects";
import { type MessageNode, branchTo, newestLeaf } from "./messageTree";
import { Outbox, type OutboxCommand, type OutboxItem } from "./outbox";

export interface VisibleMessages {
  nodes: MessageNode[];
  pending: OutboxItem | null;
}

const RECONNECTED_NOTICE_MS = 2_000;
const REFETCH_DELAY_MS = 1_000;
const TYPING_REPEAT_MS = 3_000;

export class Session {
  readonly connection = new Connection();
  conversation: Conversation | null = null;
  readonly outbox = new Outbox();
  notice: string | null = null;
  /** The result of the last command, until the user does something else. */
  commandResult: CommandAnswer | null = null;
  /** The assistant of the next new conversation, or null for the server's default. */
  assistant: string | null = null;
  /** While the clock is before this time, the page says that the connection is back. 0 if there is nothing to say. */
  reconnectedNoticeUntil = 0;
  /** Whether the user has stopped the running reply. */
  stopping = false;
  user: string | null = null;
  serverVersion: string | null = null;

  /** The message of the last frame if it was an error. It is a whole sentence, unlike the reason of a close frame. */
  private lastErrorMessage: string | null = null;
  /** The largest message on the socket. */
  maxFrameBytes = 65_536;
  private commandCount = 0;
  private reconnected = false;
  /** The texts of the fragments that have come of frames that are too long for one, by group. */
  private fragments = new Map<string, string[]>();
  /** Conversations for which an `unfollow` was sent and not answered yet. */
  private unfollowing = new Set<string>();
  /** The ids of the `show` commands that were sent. */
  private showIds = new Set<string>();
  /** When to send `follow`, unless the conversation arrives before. */
  private refetchAt: number | null = null;
  /** When `typing: true` was last sent, or null if the other users do not see this user typing. */
  private typingSentAt: number | null = null;

  get phase(): ConnectionPhase {
    return this.connection.phase;
  }

  /** Whether a command is pending or a reply is running. Then no other message is sent. */
  get busy(): boolean {
    const pending = this.pending;
    return (pending !== null && !pending.error) || (this.conversation?.runningReplies.length ?? 0) > 0;
  }

  /** The outbox item of the conversation on the page. */
  get pending(): OutboxItem | null {
    return this.outbox.forConversation(this.conversation?.id ?? null);
  }

  visibleMessages(): VisibleMessages {
    const { conversation, pending } = this;
    let nodes = conversation ? branchTo(conversation.messages, conversation.view?.head) : [];
    if (pending && pending.command.type !== "send") {
      const target = pending.command.message;
      const index = nodes.findIndex((node) => node.message.id === target);
      if (index >= 0 && !pending.error) nodes = nodes.slice(0, index);
    }
    return { nodes, pending };
  }

  // Events of the socket

  connect(now: number): Effect[] {
    return this.fromConnection(this.connection.connect(now));
  }

  onClosed(code: number, reason: string, now: number, random: number): Effect[] {
    this.connection.onClosed(code, this.lastErrorMessage ?? reason, now, random);
    // The sign-in form shows the reason. Do not show it a second time as a notice.
    if (this.phase === "refused" && this.lastErrorMessage !== null) this.notice = null;
    this.lastErrorMessage = null;
    if (this.conversation) this.conversation.pendingFollowId = null;
    return [{ type: "render" }];
  }

  tick(now: number, random: number): Effect[] {
    const before = this.phase;
    const out = this.fromConnection(this.connection.tick(now, random));
    if (this.conversation) {
      if (this.phase !== "live") this.conversation.pendingFollowId = null;
      else if (this.refetchAt !== null && now >= this.refetchAt) {
        this.refetchAt = null;
        out.push(this.followEffect());
      }
    }
    const noticeExpired = this.reconnectedNoticeUntil !== 0 && now >= this.reconnectedNoticeUntil;
    if (noticeExpired) this.reconnectedNoticeUntil = 0;
    const typingExpired = this.conversation?.expireTyping(now) ?? false;
    if (noticeExpired || typingExpired || before !== this.phase) out.push({ type: "render" });
    return out;
  }

  retryNow(now: number): Effect[] {
    return [...this.fromConnection(this.connection.retryNow(now)), { type: "render" }];
  }

  onNetworkLost(now: number): Effect[] {
    return [...this.fromConnection(this.connection.onNetworkLost(now)), { type: "render" }];
  }

  /** Handle a frame from the server. `isoNow` is the present time in ISO-8601. */
  onMessage(message: ServerMessage, now: number, isoNow: string): Effect[] {
    this.connection.onReceived(now);
    this.lastErrorMessage = message.type === "error" ? message.message : null;
    switch (message.type) {
      case "welcome": {
        this.fragments.clear();
        this.user = message.user;
        this.serverVersion = message.server;
        this.maxFrameBytes = message.max_frame_bytes ?? this.maxFrameBytes;
        this.reconnected = this.connection.onWelcome(now);
        return this.onWelcome(now);
      }
      case "following": {
        const { conversation } = this;
        if (conversation?.id !== message.conversation.id) return [];
        const streams = [...conversation.replies.keys()];
        if (!conversation.onFollowing(message, now)) return [this.followEffect()];
        if (this.reconnected) this.reconnectedNoticeUntil = now + RECONNECTED_NOTICE_MS;
        this.reconnected = false;
        this.refetchAt = null;
        if (conversation.runningReplies.length === 0) this.stopping = false;
        const ended = streams.filter((stream) => conversation.messages.has(stream) && !conversation.replies.has(stream));
        return [...ended.map((stream): Effect => ({ type: "replyEnded", stream })), { type: "render" }];
      }
      case "messages":
        if (this.conversation?.id !== message.conversation) return [];
        this.conversation.onMessages(message, now);
        return [{ type: "render" }];
      case "ack":
        return this.onAck(message, now, isoNow);
      case "message": {
        if (!this.adoptConversation(message.message.conversation)) return [];
        const conversation = this.conversation!;
        const before = conversation.messages.get(message.message.id);
        conversation.putMessage(message.message, now);
        return [...this.replyEffects(before, message.message), { type: "render" }];
      }
      case "conversation":
        if (this.adoptConversation(message.conversation.id)) {
          this.conversation!.setView(message.conversation);
          this.refetchAt = null;
        }
        return [{ type: "refreshList" }, { type: "render" }];
      case "deleted":
        if (this.conversation?.id === message.conversation) this.conversation.deleted = true;
        return [{ type: "refreshList" }, { type: "render" }];
      case "delta": {
        const { conversation } = this;
        const before = conversation?.replies.get(message.stream)?.snapshot.toolCalls.length ?? 0;
        const fit = conversation?.onDelta(message, now);
        if (fit === "gap") return [this.followEffect()];
        if (fit !== "applied") return [];
        const updated: Effect = { type: "replyUpdated", stream: message.stream };
        const waiting = conversation!.replies.get(message.stream)?.snapshot.toolCalls.slice(before).find((each) => each.awaitingApproval);
        if (waiting) return [{ type: "approvalNeeded", tool: waiting.name }, updated, { type: "render" }];
        if (!conversation!.replies.get(message.stream)?.snapshot.end) return [updated];
        this.stopping = false;
        return [updated, { type: "render" }];
      }
      case "fragment": {
        const texts = this.fragments.get(message.group) ?? [];
        this.fragments.set(message.group, texts);
        texts.push(message.text);
        if (message.more) return [];
        this.fragments.delete(message.group);
        return this.onMessage(JSON.parse(texts.join("")) as ServerMessage, now, isoNow);
      }
      case "reset":
        this.conversation?.onReset(message);
        return [];
      case "people":
        if (this.conversation?.id !== message.conversation) return [];
        this.conversation.onPeople(message.people, this.user, now);
        return [{ type: "render" }];
      case "typing":
        if (this.conversation?.id !== message.conversation || message.user === this.user) return [];
        this.conversation.onTyping(message, now);
        return [{ type: "render" }];
      case "command":
        return this.onCommandAnswer(message);
      case "approved":
      case "stopped":
        return [];
      case "unfollowed":
        this.unfollowing.delete(message.conversation);
        return [];
      case "error":
        return this.onError(message, now);
      case "pong":
        return [];
      default:
        return [];
    }
  }

  // Actions of the user

  /** Show a conversation, or with null the page of a new one. */
  openConversation(id: string | null): Effect[] {
    if (id === (this.conversation?.id ?? null) && !this.conversation?.notFound) return [];
    const out: Effect[] = [];
    if (this.conversation && this.phase === "live") {
      this.unfollowing.add(this.conversation.id);
      out.push(this.sendEffect({ type: "unfollow", conversation: this.conversation.id, id: this.nextId() }));
    }
    this.conversation = id ? new Conversation(id) : null;
    this.notice = null;
    this.commandResult = null;
    this.typingSentAt = null;
    this.stopping = false;
    this.refetchAt = null;
    if (id) this.unfollowing.delete(id);
    if (id && this.phase === "live") out.push(this.followEffect());
    return [...out, { type: "render" }];
  }

  send(text: string, client_message_id: string, parts: Send["parts"] = []): Effect[] {
    const conversation = this.conversation?.id ?? null;
    const parent = this.visibleMessages().nodes.at(-1)?.message.id ?? null;
    const command: OutboxCommand = { type: "send", id: this.nextId(), client_message_id, conversation, parent, text };
    // What others write meanwhile stands before it, and is no reason for a branch.
    if (parent) command.append = true;
    if (parts.length) command.parts = parts;
    if (!conversation && this.assistant) command.assistant = this.assistant;
    this.typingSentAt = null;
    return this.submit(command, parent);
  }

  /** Send a slash command. It is sent at once, even while a reply is running. Offline it waits in the outbox. */
  sendCommand(text: string, client_message_id: string): Effect[] {
    const conversation = this.conversation?.id ?? null;
    const command: OutboxCommand = { type: "send", id: this.nextId(), client_message_id, conversation, text };
    if (!conversation && this.assistant) command.assistant = this.assistant;
    if (this.phase !== "live") {
      if (this.pending) return this.setNotice("You can send a command when the connection is back.");
      return this.submit(command, null);
    }
    this.commandResult = null;
    this.notice = null;
    return [this.sendEffect(command), { type: "render" }];
  }

  /** Allow or refuse a tool call that waits for approval. `message` is the id of the reply. */
  approve(message: string, call: string, allow: boolean): Effect[] {
    if (!this.conversation || this.phase !== "live") return this.setNotice("You can allow or refuse a tool when the connection is back.");
    return [this.sendEffect({ type: "approve", id: this.nextId(), conversation: this.conversation.id, message, call, allow })];
  }

  /** Tell the other users that this user is typing or has emptied the field. Sends at most one frame per 3 s while typing. */
  setTyping(typing: boolean, now: number): Effect[] {
    const { conversation } = this;
    if (!conversation || this.phase !== "live" || !conversation.participants.some((each) => each.present && each.user !== this.user)) return [];
    if (typing && this.typingSentAt !== null && now - this.typingSentAt < TYPING_REPEAT_MS) return [];
    if (!typing && this.typingSentAt === null) return [];
    this.typingSentAt = typing ? now : null;
    return [this.sendEffect({ type: "typing", conversation: conversation.id, typing })];
  }

  /** Set the assistant of the next new conversation. */
  chooseAssistant(assistant: string | null): Effect[] {
    this.assistant = assistant;
    return [{ type: "render" }];
  }

  dismissCommandResult(): Effect[] {
    this.commandResult = null;
    return [{ type: "render" }];
  }

  edit(message: MessageView, text: string, client_message_id: string): Effect[] {
    const conversation = message.conversation;
    return this.submit(
      { type: "edit", id: this.nextId(), client_message_id, conversation, message: message.id, text },
      message.parent ?? null,
    );
  }

  regenerate(message: MessageView, client_message_id: string): Effect[] {
    const conversation = message.conversation;
    return this.submit(
      { type: "regenerate", id: this.nextId(), client_message_id, conversation, message: message.id },
      message.parent ?? null,
    );
  }

  /** Show the newest branch through a message. */
  showBranch(message: string): Effect[] {
    if (!this.conversation || this.phase !== "live") return this.setNotice("You can show another branch when the connection is back.");
    const head = newestLeaf(this.conversation.messages, message);
    const id = this.nextId();
    this.showIds.add(id);
    return [this.sendEffect({ type: "show", id, conversation: this.conversation.id, message: head })];
  }

  /** Stop the running reply. A pending message that was not sent yet is removed instead; `text` is its text. */
  stop(): { effects: Effect[]; text: string | null } {
    const pending = this.pending;
    if (pending && !pending.error && !pending.sent) {
      const text = pending.command.type === "regenerate" ? null : (pending.command.text ?? null);
      return { effects: this.discardPending(), text };
    }
    this.stopping = true;
    if (!this.conversation || this.phase !== "live") return { effects: [{ type: "render" }], text: null };
    return { effects: [this.stopEffect(), { type: "render" }], text: null };
  }

  discardPending(): Effect[] {
    this.outbox.remove(this.pending);
    return [{ type: "saveOutbox" }, { type: "render" }];
  }

  /** Send the pending command again after an error. */
  resend(): Effect[] {
    const pending = this.pending;
    if (!pending) return [];
    pending.error = null;
    pending.sent = false;
    return [...this.sendOutbox(), { type: "render" }];
  }

  setNotice(notice: string | null): Effect[] {
    this.notice = notice;
    return [{ type: "render" }];
  }

  /** Take over the outbox that the page saved before it was reloaded. */
  restoreOutbox(items: OutboxItem[]): void {
    for (const each of items) each.command = { ...each.command, id: this.nextId() };
    this.outbox.items = items;
  }

  private submit(command: OutboxCommand, parent: string | null): Effect[] {
    this.notice = null;
    this.commandResult = null;
    this.stopping = false;
    const item: OutboxItem = { command, conversation: command.conversation ?? null, parent, sent: false, error: null };
    this.outbox.add(item, this.pending);
    return [...this.sendOutbox(), { type: "saveOutbox" }, { type: "render" }];
  }

  private sendOutbox(): Effect[] {
    if (this.phase !== "live") return [];
    return this.outbox.takeUnsent(this.maxFrameBytes).map((command) => this.sendEffect(command));
  }

  private onWelcome(now: number): Effect[] {
    const out: Effect[] = [];
    this.unfollowing.clear();
    if (this.conversation && !this.conversation.notFound) out.push(this.followEffect());
    else if (this.reconnected) {
      this.reconnectedNoticeUntil = now + RECONNECTED_NOTICE_MS;
      this.reconnected = false;
    }
    this.outbox.markAllUnsent();
    out.push(...this.sendOutbox());
    if (this.stopping && this.conversation) out.push(this.stopEffect());
    return [...out, { type: "refreshList" }, { type: "render" }];
  }

  private onAck(ack: Ack, now: number, isoNow: string): Effect[] {
    const item = this.outbox.byCommandId(ack.re);
    if (!item) return [];
    this.outbox.remove(item);
    const out: Effect[] = [{ type: "saveOutbox" }];
    if (!item.command.conversation && (!this.conversation || this.conversation.id === ack.conversation)) {
      this.conversation ??= new Conversation(ack.conversation);
      if (!this.conversation.view) this.refetchAt = now + REFETCH_DELAY_MS;
      out.push({ type: "setConversationUrl", conversation: ack.conversation });
    }
    if (this.conversation?.id !== ack.conversation) return [...out, { type: "refreshList" }];
    const { command } = item;
    const parts = command.type === "send" ? command.parts : undefined;
    const content = command.type === "regenerate" ? null : { text: command.text ?? "", author: this.user, ...(parts && { parts }) };
    const before = this.conversation.messages.get(ack.reply);
    this.conversation.onAck(ack, content, item.parent, isoNow, now);
    out.push(...this.replyEffects(before, this.conversation.messages.get(ack.reply)!));
    if (this.stopping && this.phase === "live") out.push(this.stopEffect());
    return [...out, { type: "refreshList" }, { type: "render" }];
  }

  private onCommandAnswer(result: CommandAnswer): Effect[] {
    const out: Effect[] = [];
    const item = this.outbox.byCommandId(result.re);
    if (item) {
      this.outbox.remove(item);
      out.push({ type: "saveOutbox" });
    }
    const { conversation } = result;
    if (conversation && conversation !== this.conversation?.id) out.push({ type: "openConversation", conversation });
    else this.commandResult = result;
    return [...out, { type: "refreshList" }, { type: "render" }];
  }

  private onError(error: ErrorMessage, now: number): Effect[] {
    const item = this.outbox.byCommandId(error.re);
    const isShow = error.re ? this.showIds.delete(error.re) : false;
    if (item) {
      item.error = { message: error.message, code: error.code };
    } else if (!isShow && this.conversation && error.re === this.conversation.pendingFollowId) {
      this.conversation.pendingFollowId = null;
      this.conversation.notFound = error.code === "not_found";
      if (!this.conversation.notFound) {
        this.notice = error.message;
        this.refetchAt = now + REFETCH_DELAY_MS;
      }
    } else {
      this.notice = error.message;
    }
    return [{ type: "saveOutbox" }, { type: "render" }];
  }

  /**
   * Whether a frame belongs to the conversation on the page. The first frames of a new conversation may arrive before the
   * `ack` of the message that created it: then this conversation becomes the one on the page.
   */
  private adoptConversation(id: string): boolean {
    if (this.conversation) return this.conversation.id === id;
    const first = this.pending;
    if (!first || !first.sent || this.unfollowing.has(id)) return false;
    first.conversation = id;
    this.conversation = new Conversation(id);
    return true;
  }

  private replyEffects(before: MessageView | undefined, after: MessageView): Effect[] {
    if (after.role !== "assistant") return [];
    const running = after.status === "streaming";
    if (!running) this.stopping = false;
    if (running && !before) return [{ type: "replyStarted", stream: after.id }];
    if (!running && before?.status === "streaming") return [{ type: "replyEnded", stream: after.id }];
    return [];
  }

  private fromConnection(effects: ConnectionEffect[]): Effect[] {
    return effects.map((effect) => (effect.type === "ping" ? this.sendEffect({ type: "ping", id: this.nextId() }) : effect));
  }

  private followEffect(): Effect {
    return this.sendEffect(this.conversation!.follow(this.nextId()));
  }

  private stopEffect(): Effect {
    return this.sendEffect({ type: "stop", id: this.nextId(), conversation: this.conversation!.id });
  }

  private sendEffect(message: ClientMessage): Effect {
    return { type: "send", message };
  }

  private nextId(): string {
    this.commandCount += 1;
    return `p${this.commandCount}`;
  }
}
