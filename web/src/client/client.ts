// The shell of the session: it runs the session's effects with a WebSocket, the REST API, the clock and the browser.

import { type ClientMessage, CloseCode, PROTOCOL, type Send, type ServerMessage } from "../protocol";
import type { Effect } from "../state/effects";
import type { OutboxItem } from "../state/outbox";
import { Session } from "../state/session";
import { conversationIdFromPath, PREFIX, invitationFromHash, pathOfConversation, tokenFromHash } from "./address";
import { ConversationList } from "./conversationList";
import { EngineHealth } from "./engineHealth";
import * as rest from "./rest";
import { read, write } from "./storage";

const OUTBOX_KEY = "outbox";
const TICK_INTERVAL_MS = 1_000;
const NEEDS_CONVERSATION = /^\/(?:model|system|title)\s+\S/i;

export class Client {
  readonly session = new Session();
  info: rest.ServerInfo | null = null;
  readonly conversations = new ConversationList(
    () => this.token,
    () => this.render(),
  );
  readonly engines = new EngineHealth(() => this.render());
  /** If not null, the page shows only the sign-in form, with this message. The message may be empty. */
  signInMessage: string | null = null;
  /** The text of the live region, for screen readers. */
  announcement = "";

  private token: string | null;
  private socket: WebSocket | null = null;
  private listeners = new Set<() => void>();
  private replyListeners = new Map<string, Set<() => void>>();
  /** Counts up with each attempt, so that an older attempt notices that it is obsolete. */
  private connectAttempt = 0;
  /** The conversation that the address bar shows. */
  private conversationId: string | null = null;
  private commandList: Promise<rest.CommandHelp[]> | null = null;
  private attachmentUrls = new Map<string, Promise<string>>();
  private invitation: string | null = null;
  /** What the user is asked to join. */
  invitationPreview: rest.InvitationPreview | null = null;

  constructor() {
    this.invitation = invitationFromHash(location.hash);
    this.token = this.takeTokenFromAddress() ?? read("session", "token") ?? read("local", "token");
    try {
      this.session.restoreOutbox(JSON.parse(read("session", OUTBOX_KEY) ?? "[]") as OutboxItem[]);
    } catch {
      write("session", OUTBOX_KEY, null);
    }
  }

  start(): void {
    this.conversationId = conversationIdFromPath(location.pathname);
    this.session.openConversation(this.conversationId);
    if (!this.conversationId && location.pathname !== PREFIX && location.pathname !== pathOfConversation(null)) {
      this.session.setNotice("There is no page at this address. This is a new conversation.");
      history.replaceState(null, "", pathOfConversation(null) + location.search + location.hash);
    }
    window.addEventListener("popstate", () => {
      this.conversationId = conversationIdFromPath(location.pathname);
      this.runEffects(this.session.openConversation(this.conversationId));
    });
    window.addEventListener("online", () => this.runEffects(this.session.retryNow(now())));
    window.addEventListener("offline", () => this.runEffects(this.session.onNetworkLost(now())));
    window.addEventListener("pageshow", () => this.runEffects(this.session.retryNow(now())));
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.runEffects(this.session.retryNow(now()));
    });
    window.setInterval(() => this.runEffects(this.session.tick(now(), Math.random())), TICK_INTERVAL_MS);
    this.engines.start();
    this.runEffects(this.session.connect(now()));
  }

  /** The assistant of the conversation on the page, and the model that answers next in it. */
  get answering(): { assistant: rest.ServerInfo["assistants"][number] | undefined; model: string; available: boolean } {
    const assistants = this.info?.assistants ?? [];
    const { conversation } = this.session;
    const name = conversation ? conversation.view?.assistant : this.session.assistant;
    const assistant = assistants.find((each) => each.name === name) ?? assistants.find((each) => each.name === "default") ?? assistants[0];
    const model = conversation?.view?.model ?? assistant?.model ?? this.info?.engine.model ?? "";
    const available = this.engines.isAvailable(assistant?.engine) || (assistant?.backup != null && this.engines.isAvailable(assistant.backup));
    return { assistant, model, available };
  }

  // Listeners of the components

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  subscribeToReply(stream: string, listener: () => void): () => void {
    let listeners = this.replyListeners.get(stream);
    if (!listeners) this.replyListeners.set(stream, (listeners = new Set()));
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  // Actions of the user

  openConversation(id: string | null): void {
    const path = pathOfConversation(id);
    if (location.pathname !== path) history.pushState(null, "", path);
    this.conversationId = id;
    this.runEffects(this.session.openConversation(id));
  }

  send(text: string, parts: Send["parts"] = []): void {
    if (parts.length === 0 && text.startsWith("/")) void this.sendCommand(text);
    else this.runEffects(this.session.send(text, newId(), parts));
  }

  /** Some commands set something of a conversation. If there is none yet, it is created first. */
  private async sendCommand(text: string): Promise<void> {
    if (!this.session.conversation && this.session.phase === "live" && NEEDS_CONVERSATION.test(text)) {
      try {
        this.openConversation((await rest.createConversation(this.token, this.session.assistant)).id);
      } catch (error) {
        this.setNotice(error instanceof Error ? error.message : "The conversation could not be created.");
        return;
      }
    }
    this.runEffects(this.session.sendCommand(text, newId()));
  }

  setTyping(typing: boolean): void {
    this.runEffects(this.session.setTyping(typing, now()));
  }

  approve(message: string, call: string, allow: boolean): void {
    this.runEffects(this.session.approve(message, call, allow));
  }

  chooseAssistant(assistant: string): void {
    this.runEffects(this.session.chooseAssistant(assistant));
  }

  dismissCommandResult(): void {
    this.runEffects(this.session.dismissCommandResult());
  }

  /** The slash commands of the server, or an empty list if the request fails. */
  async listCommands(): Promise<rest.CommandHelp[]> {
    this.commandList ??= rest.listCommands(this.token).catch(() => {
      this.commandList = null;
      return [];
    });
    return this.commandList;
  }

  /** Upload a file, so that the next message can refer to it. */
  async uploadAttachment(file: File): Promise<rest.Attachment> {
    const limit = this.info?.upload_bytes;
    if (limit !== undefined && file.size > limit) {
      throw new Error(`This file is too large: ${formatMebibytes(file.size)}. The limit is ${formatMebibytes(limit)}. Make it smaller and add it again.`);
    }
    return rest.uploadAttachment(this.token, file);
  }

  /** The text of a text file that was sent. */
  async attachmentText(attachment: string): Promise<string> {
    return (await rest.getAttachment(this.token, attachment)).text();
  }

  /** Download a file of the server, such as an export. */
  fetchFile(path: string): Promise<Blob> {
    return rest.getFile(this.token, path);
  }

  /** An object URL of an attachment. Each attachment is downloaded once. */
  async attachmentUrl(attachment: string): Promise<string> {
    let url = this.attachmentUrls.get(attachment);
    if (!url) {
      url = rest.getAttachment(this.token, attachment).then((blob) => URL.createObjectURL(blob));
      this.attachmentUrls.set(attachment, url);
      url.catch(() => this.attachmentUrls.delete(attachment));
    }
    return url;
  }

  invite(role: "member" | "viewer"): Promise<rest.Invitation> {
    return rest.createInvitation(this.token, this.session.conversation!.id, role);
  }

  async removeParticipant(user: string): Promise<void> {
    await rest.removeParticipant(this.token, this.session.conversation!.id, user);
    if (user === this.session.user) this.openConversation(null);
  }

  edit(message: string, text: string): void {
    const view = this.session.conversation?.messages.get(message);
    if (view) this.runEffects(this.session.edit(view, text, newId()));
  }

  regenerate(message: string): void {
    const view = this.session.conversation?.messages.get(message);
    if (view) this.runEffects(this.session.regenerate(view, newId()));
  }

  showBranch(message: string): void {
    this.runEffects(this.session.showBranch(message));
  }

  /** Stop the running reply. If the message was not sent yet: remove it and return its text. */
  stop(): string | null {
    const { effects, text } = this.session.stop();
    this.runEffects(effects);
    return text;
  }

  /** Remove the message that the server refused, and return its text. */
  discardPending(): string | null {
    const command = this.session.pending?.command;
    this.runEffects(this.session.discardPending());
    return command && command.type !== "regenerate" ? (command.text ?? null) : null;
  }

  resend(): void {
    this.runEffects(this.session.resend());
  }

  setNotice(text: string | null): void {
    this.runEffects(this.session.setNotice(text));
  }

  reconnect(): void {
    this.runEffects(this.session.phase === "refused" ? this.session.connect(now()) : this.session.retryNow(now()));
  }

  signIn(token: string, remember: boolean): void {
    this.token = token;
    this.signInMessage = null;
    this.info = null;
    write("session", "token", token);
    write("local", "token", remember ? token : null);
    this.runEffects([...this.session.connect(now()), { type: "render" }]);
  }

  async deleteConversation(id: string): Promise<void> {
    const deleted = await this.conversations.delete(id);
    if (deleted && this.session.conversation?.id === id) this.openConversation(null);
  }

  // Effects

  private runEffects(effects: Effect[]): void {
    let render = false;
    for (const effect of effects) {
      switch (effect.type) {
        case "connect":
          void this.openSocket();
          break;
        case "close":
          this.closeSocket();
          break;
        case "send":
          this.sendFrame(effect.message);
          break;
        case "replyUpdated":
          for (const listener of this.replyListeners.get(effect.stream) ?? []) listener();
          break;
        case "refreshList":
          this.conversations.scheduleLoad();
          break;
        case "setConversationUrl":
          history.replaceState(null, "", pathOfConversation(effect.conversation));
          break;
        case "openConversation":
          this.openConversation(effect.conversation);
          break;
        case "replyStarted":
          this.announcement = "The reply begins.";
          break;
        case "replyEnded":
          this.announcement = this.endAnnouncement(effect.stream);
          void this.engines.load();
          break;
        case "approvalNeeded":
          this.announcement = `The tool ${effect.tool} asks to run. Allow or refuse it.`;
          break;
        case "saveOutbox":
          write("session", OUTBOX_KEY, this.session.outbox.items.length ? JSON.stringify(this.session.outbox.items) : null);
          break;
        case "render":
          render = true;
          break;
      }
    }
    if (render) this.render();
  }

  /** Let every component render again. */
  private render(): void {
    const id = this.session.conversation?.id ?? null;
    if (this.conversationId === null && id !== null) {
      // The new conversation got its id. The user may have begun the next message: move its draft.
      for (const kind of ["draft", "attachments"]) {
        write("session", `${kind}.${id}`, read("session", `${kind}.new`));
        write("session", `${kind}.new`, null);
      }
    }
    this.conversationId = id;
    if (this.session.conversation?.view && !document.hidden) this.conversations.markSeen(this.session.conversation.view);
    for (const listener of this.listeners) listener();
  }

  private endAnnouncement(stream: string): string {
    switch (this.session.conversation?.messages.get(stream)?.status) {
      case "stopped":
        return "The reply was stopped.";
      case "interrupted":
        return "The reply broke off.";
      default:
        return "The reply is done.";
    }
  }

  private async openSocket(): Promise<void> {
    const attempt = ++this.connectAttempt;
    if (!this.info) {
      try {
        this.info = await rest.getServerInfo(this.token);
      } catch (error) {
        if (attempt !== this.connectAttempt) return;
        const unauthenticated = error instanceof rest.RestError && error.status === 401;
        if (unauthenticated) this.requireSignIn(error.message);
        this.runEffects(this.session.onClosed(unauthenticated ? CloseCode.UNAUTHENTICATED : 1006, "", now(), Math.random()));
        return;
      }
      if (attempt !== this.connectAttempt) return;
    }
    if (this.info.auth && !this.token) {
      this.requireSignIn("");
      this.runEffects(this.session.onClosed(CloseCode.UNAUTHENTICATED, "", now(), Math.random()));
      return;
    }
    if (this.invitation !== null && this.invitationPreview === null) await this.previewInvitation(this.invitation);
    if (attempt !== this.connectAttempt) return;
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${PREFIX}/ws`, PROTOCOL);
    this.socket = socket;
    socket.onopen = () => {
      if (this.token && this.info?.auth) this.sendFrame({ type: "hello", token: this.token });
    };
    socket.onmessage = (event: MessageEvent<unknown>) => {
      if (socket !== this.socket || typeof event.data !== "string") return;
      this.runEffects(this.session.onMessage(JSON.parse(event.data) as ServerMessage, now(), new Date().toISOString()));
    };
    socket.onclose = (event) => {
      if (socket !== this.socket) return;
      this.socket = null;
      const signInCodes: number[] = [CloseCode.UNAUTHENTICATED, CloseCode.FORBIDDEN, CloseCode.REVOKED];
      const effects = this.session.onClosed(event.code, event.reason, now(), Math.random());
      if (signInCodes.includes(event.code)) this.requireSignIn(this.session.connection.refusal?.reason ?? "");
      this.runEffects(effects);
    };
    this.render();
  }

  /** Ask the user about an invitation. Opening a link joins nothing. If the user takes part already, the conversation is shown. */
  private async previewInvitation(secret: string): Promise<void> {
    try {
      const preview = await rest.previewInvitation(this.token, secret);
      if (preview.conversation) this.showJoined(preview.conversation);
      else this.invitationPreview = preview;
    } catch (error) {
      this.onInvitationError(error);
    }
  }

  /** Accept the invitation that is shown. */
  async acceptInvitation(): Promise<void> {
    if (this.invitation === null) return;
    try {
      this.showJoined((await rest.acceptInvitation(this.token, this.invitation)).id);
      this.runEffects([{ type: "refreshList" }]);
    } catch (error) {
      this.onInvitationError(error);
    }
    this.render();
  }

  declineInvitation(): void {
    this.forgetInvitation(location.pathname + location.search);
    this.render();
  }

  private showJoined(conversation: string): void {
    this.forgetInvitation(pathOfConversation(conversation));
    this.conversationId = conversation;
    this.runEffects(this.session.openConversation(conversation));
  }

  private onInvitationError(error: unknown): void {
    if (error instanceof rest.RestError && error.status === 0) return;
    this.forgetInvitation(location.pathname + location.search);
    this.setNotice(error instanceof Error ? error.message : "The invitation could not be accepted.");
  }

  /** Remove the invitation from the address bar, so that a copied address does not contain it. */
  private forgetInvitation(address: string): void {
    history.replaceState(null, "", address);
    this.invitation = null;
    this.invitationPreview = null;
  }

  private closeSocket(): void {
    const socket = this.socket;
    this.socket = null;
    this.connectAttempt += 1;
    socket?.close();
  }

  private sendFrame(message: ClientMessage): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  private requireSignIn(reason: string): void {
    this.signInMessage = this.token ? toSentence(reason) || "The server no longer accepts this token." : "";
    this.token = null;
    write("session", "token", null);
    write("local", "token", null);
  }

  /** Take the token from `#token=…` and remove it from the address bar. */
  private takeTokenFromAddress(): string | null {
    const token = tokenFromHash(location.hash);
    if (!token) return null;
    write("session", "token", token);
    history.replaceState(null, "", location.pathname + location.search);
    return token;
  }
}

function formatMebibytes(bytes: number): string {
  return `${(bytes / (1024 * 1024)).toLocaleString("en", { maximumSignificantDigits: 3 })} MiB`;
}

/** The reason of a close frame begins in lower case and has no full stop: make it a sentence. */
function toSentence(reason: string): string {
  const text = reason.charAt(0).toUpperCase() + reason.slice(1);
  return !text || /[.?!]$/.test(text) ? text : `${text}.`;
}

/** A random id of 32 hex digits. `randomUUID` exists only on secure pages, and this page may be served over plain HTTP. */
function newId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function now(): number {
  return performance.now();
}
