// The session with a real socket, a real clock and a browser around it.

import { type ClientMessage, CloseCode, PROTOCOL, type Send, type ServerMessage } from "../protocol";
import type { Outgoing } from "../state/outbox";
import { type Effect, Session } from "../state/session";
import { read, write } from "./keep";
import * as rest from "./rest";

export type Theme = "light" | "dark" | null;

const OUTBOX_KEY = "outbox";
const TICK_MS = 1_000;
const LIST_REST_MS = 250;

export class Client {
  readonly session = new Session();
  info: rest.Info | null = null;
  list: rest.Listed[] = [];
  next: string | null = null;
  query = "";
  listed = false;
  listError: string | null = null;
  /** A token is wanted before anything else can happen; the sentence says why. */
  locked: string | null = null;
  /** What the polite region says. */
  spoken = "";

  private token: string | null;
  private socket: WebSocket | null = null;
  private watchers = new Set<() => void>();
  private streams = new Map<string, Set<() => void>>();
  private listTimer = 0;
  private asked = 0;
  private here: string | null = null;
  private known: Promise<rest.CommandHelp[]> | null = null;
  private pictures = new Map<string, Promise<string>>();
  private invitation: string | null = null;

  constructor() {
    this.invitation = invitationOf(location.hash);
    this.token = this.tokenFromAddress() ?? read("session", "token") ?? read("local", "token");
    try {
      this.session.restore(JSON.parse(read("session", OUTBOX_KEY) ?? "[]") as Outgoing[]);
    } catch {
      write("session", OUTBOX_KEY, null);
    }
  }

  start(): void {
    this.here = conversationOf(location.pathname);
    this.session.open(this.here);
    window.addEventListener("popstate", () => {
      this.here = conversationOf(location.pathname);
      this.run(this.session.open(this.here));
    });
    window.addEventListener("online", () => this.run(this.session.nudge(now())));
    window.addEventListener("offline", () => this.run(this.session.doubt(now())));
    window.addEventListener("pageshow", () => this.run(this.session.nudge(now())));
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.run(this.session.nudge(now()));
    });
    window.setInterval(() => this.run(this.session.tick(now(), Math.random())), TICK_MS);
    this.run(this.session.connect(now()));
  }

  // Who looks

  watch(watcher: () => void): () => void {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  watchStream(stream: string, watcher: () => void): () => void {
    let group = this.streams.get(stream);
    if (!group) this.streams.set(stream, (group = new Set()));
    group.add(watcher);
    return () => group.delete(watcher);
  }

  // What a person does

  open(conversation: string | null): void {
    const path = conversation ? `/c/${encodeURIComponent(conversation)}` : "/";
    if (location.pathname !== path) history.pushState(null, "", path);
    this.here = conversation;
    this.run(this.session.open(conversation));
  }

  send(text: string, parts: Send["parts"] = []): void {
    if (parts.length === 0 && text.startsWith("/")) this.run(this.session.order(text, newId()));
    else this.run(this.session.send(text, newId(), parts));
  }

  typing(writes: boolean): void {
    this.run(this.session.typing(writes, now()));
  }

  approve(message: string, call: string, allow: boolean): void {
    this.run(this.session.approve(message, call, allow));
  }

  choose(assistant: string): void {
    this.run(this.session.choose(assistant));
  }

  hush(): void {
    this.run(this.session.hush());
  }

  /** What can be typed behind a `/`; none, where the server does not tell. */
  async commands(): Promise<rest.CommandHelp[]> {
    this.known ??= rest.commands(this.token).catch(() => {
      this.known = null;
      return [];
    });
    return this.known;
  }

  /** Give a file to the server, to be sent with the next message. */
  async attach(file: File): Promise<rest.Attachment> {
    const most = this.info?.upload_bytes;
    if (most !== undefined && file.size > most) {
      throw new Error(`This file is too large: ${mebibytes(file.size)}, and ${mebibytes(most)} is the most. Make it smaller and add it again.`);
    }
    return rest.attach(this.token, file);
  }

  /** What the server has under `path`, to be saved. */
  file(path: string): Promise<Blob> {
    return rest.file(this.token, path);
  }

  /** An attachment as something to show; the address is the page's own, and good until it is given back. */
  async picture(attachment: string): Promise<string> {
    let known = this.pictures.get(attachment);
    if (!known) {
      known = rest.attached(this.token, attachment).then((blob) => URL.createObjectURL(blob));
      this.pictures.set(attachment, known);
      known.catch(() => this.pictures.delete(attachment));
    }
    return known;
  }

  invite(standing: "member" | "viewer"): Promise<rest.Invitation> {
    return rest.invite(this.token, this.session.thread!.id, standing);
  }

  async dismiss(user: string): Promise<void> {
    await rest.dismiss(this.token, this.session.thread!.id, user);
    if (user === this.session.user) this.open(null);
  }

  edit(message: string, text: string): void {
    const found = this.session.thread?.messages.get(message);
    if (found) this.run(this.session.edit(found, text, newId()));
  }

  regenerate(message: string): void {
    const found = this.session.thread?.messages.get(message);
    if (found) this.run(this.session.regenerate(found, newId()));
  }

  show(message: string): void {
    this.run(this.session.show(message));
  }

  /** Returns the text that was taken back, if it was never sent. */
  stop(): string | null {
    const { effects, text } = this.session.stop();
    this.run(effects);
    return text;
  }

  /** Take back what was refused; returns its text. */
  discard(): string | null {
    const command = this.session.pending?.command;
    this.run(this.session.discard());
    return command && command.type !== "regenerate" ? (command.text ?? null) : null;
  }

  again(): void {
    this.run(this.session.again());
  }

  note(text: string | null): void {
    this.run(this.session.noted(text));
  }

  reconnect(): void {
    this.run(this.session.phase === "refused" ? this.session.connect(now()) : this.session.nudge(now()));
  }

  unlock(token: string, keep: boolean): void {
    this.token = token;
    this.locked = null;
    this.info = null;
    write("session", "token", token);
    write("local", "token", keep ? token : null);
    this.run([...this.session.connect(now()), { do: "changed" }]);
  }

  search(query: string): void {
    this.query = query;
    this.listSoon();
    this.changed();
  }

  async more(): Promise<void> {
    if (!this.next) return;
    await this.loadList(this.next);
  }

  async rename(conversation: string, title: string): Promise<void> {
    await this.attempt(() => rest.rename(this.token, conversation, title));
  }

  async remove(conversation: string): Promise<void> {
    const gone = await this.attempt(() => rest.remove(this.token, conversation));
    if (gone && this.session.thread?.id === conversation) this.open(null);
  }

  // How it is carried out

  private run(effects: Effect[]): void {
    let changed = false;
    for (const effect of effects) {
      switch (effect.do) {
        case "connect":
          void this.dial();
          break;
        case "close":
          this.hangUp();
          break;
        case "send":
          this.tell(effect.message);
          break;
        case "grew":
          for (const watcher of this.streams.get(effect.stream) ?? []) watcher();
          break;
        case "listed":
          this.listSoon();
          break;
        case "named":
          history.replaceState(null, "", `/c/${encodeURIComponent(effect.conversation)}`);
          break;
        case "go":
          this.open(effect.conversation);
          break;
        case "started":
          this.spoken = "The reply begins.";
          break;
        case "ended":
          this.spoken = this.ending(effect.stream);
          break;
        case "kept":
          write("session", OUTBOX_KEY, this.session.outbox.items.length ? JSON.stringify(this.session.outbox.items) : null);
          break;
        case "changed":
          changed = true;
          break;
      }
    }
    if (changed) this.changed();
  }

  private changed(): void {
    const here = this.session.thread?.id ?? null;
    if (this.here === null && here !== null) {
      // The conversation got its id while somebody may already write the next message.
      write("session", `draft.${here}`, read("session", "draft.new"));
      write("session", "draft.new", null);
    }
    this.here = here;
    for (const watcher of this.watchers) watcher();
  }

  private ending(stream: string): string {
    switch (this.session.thread?.messages.get(stream)?.status) {
      case "stopped":
        return "The reply was stopped.";
      case "interrupted":
        return "The reply broke off.";
      default:
        return "The reply is done.";
    }
  }

  private async dial(): Promise<void> {
    const attempt = ++this.asked;
    if (!this.info) {
      try {
        this.info = await rest.info(this.token);
      } catch (error) {
        if (attempt !== this.asked) return;
        const known = error instanceof rest.RestError && error.status === 401;
        if (known) this.lock(error.message);
        this.run(this.session.closed(known ? CloseCode.UNAUTHENTICATED : 1006, "", now(), Math.random()));
        return;
      }
      if (attempt !== this.asked) return;
    }
    if (this.info.auth && !this.token) {
      this.lock("");
      this.run(this.session.closed(CloseCode.UNAUTHENTICATED, "", now(), Math.random()));
      return;
    }
    if (this.invitation !== null) await this.join(this.invitation);
    if (attempt !== this.asked) return;
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`, PROTOCOL);
    this.socket = socket;
    socket.onopen = () => {
      if (this.token && this.info?.auth) this.tell({ type: "hello", token: this.token });
    };
    socket.onmessage = (event: MessageEvent<unknown>) => {
      if (socket !== this.socket || typeof event.data !== "string") return;
      this.run(this.session.message(JSON.parse(event.data) as ServerMessage, now(), new Date().toISOString()));
    };
    socket.onclose = (event) => {
      if (socket !== this.socket) return;
      this.socket = null;
      const refused: number[] = [CloseCode.UNAUTHENTICATED, CloseCode.FORBIDDEN, CloseCode.REVOKED];
      const effects = this.session.closed(event.code, event.reason, now(), Math.random());
      if (refused.includes(event.code)) this.lock(this.session.link.refusal?.reason ?? "");
      this.run(effects);
    };
    this.changed();
  }

  /** An invitation is taken once; it leaves the address, so that it is not passed on with it. */
  private async join(secret: string): Promise<void> {
    try {
      const joined = await rest.join(this.token, secret);
      history.replaceState(null, "", `/c/${encodeURIComponent(joined.id)}`);
      this.here = joined.id;
      this.run(this.session.open(joined.id));
    } catch (error) {
      if (error instanceof rest.RestError && error.status === 0) return;
      history.replaceState(null, "", location.pathname + location.search);
      this.note(error instanceof Error ? error.message : "The invitation could not be taken.");
    }
    this.invitation = null;
  }

  private hangUp(): void {
    const socket = this.socket;
    this.socket = null;
    this.asked += 1;
    socket?.close();
  }

  private tell(message: ClientMessage): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  private lock(reason: string): void {
    this.locked = this.token ? sentence(reason) || "The server does not take this token any more." : "";
    this.token = null;
    write("session", "token", null);
    write("local", "token", null);
  }

  private listSoon(): void {
    if (!this.listTimer) {
      this.listTimer = window.setTimeout(() => {
        this.listTimer = 0;
        void this.loadList();
      }, LIST_REST_MS);
    }
  }

  private async loadList(before?: string): Promise<void> {
    const query = this.query.trim();
    try {
      const page = await rest.conversations(this.token, { q: query, ...(before ? { before } : {}) });
      if (query !== this.query.trim()) return;
      // A search tells every message that it found; here, a conversation is found once.
      const all = before ? [...this.list, ...page.conversations] : page.conversations;
      this.list = all.filter((each, at) => all.findIndex((other) => other.id === each.id) === at);
      this.next = page.next ?? null;
      this.listed = true;
      this.listError = null;
    } catch (error) {
      this.listError = error instanceof Error ? error.message : "The conversations could not be read.";
    }
    this.changed();
  }

  private async attempt(action: () => Promise<unknown>): Promise<boolean> {
    try {
      await action();
      await this.loadList();
      return true;
    } catch (error) {
      this.listError = error instanceof Error ? error.message : "That did not work.";
      this.changed();
      return false;
    }
  }

  /** `#token=…` is taken once and leaves the address at once. */
  private tokenFromAddress(): string | null {
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    if (!token) return null;
    write("session", "token", token);
    history.replaceState(null, "", location.pathname + location.search);
    return token;
  }
}

function conversationOf(path: string): string | null {
  const match = /^\/c\/([^/]+)$/.exec(path);
  try {
    return match ? decodeURIComponent(match[1]!) : null;
  } catch {
    return null;
  }
}

function invitationOf(hash: string): string | null {
  return /^#\/join\/([\w-]+)$/.exec(hash)?.[1] ?? null;
}

function mebibytes(bytes: number): string {
  return `${(bytes / (1024 * 1024)).toLocaleString("en", { maximumSignificantDigits: 3 })} MiB`;
}

/** What a socket is closed with is half a sentence. */
function sentence(reason: string): string {
  const whole = reason.charAt(0).toUpperCase() + reason.slice(1);
  return !whole || /[.?!]$/.test(whole) ? whole : `${whole}.`;
}

/** Not `randomUUID`: browsers give that to secure pages only, and this one may be served over a plain network. */
function newId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function now(): number {
  return performance.now();
}
