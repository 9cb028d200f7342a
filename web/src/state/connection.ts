// The state machine of the WebSocket connection: when to open a socket, when to regard it as dead, when to reconnect. It
// does no I/O and reads no clock. `now` is in milliseconds, from any monotonic clock.

import { PROTOCOL_ERRORS } from "../protocol";
import { backoffDelay } from "./backoff";

export type ConnectionEffect = { type: "connect" } | { type: "close" } | { type: "ping" };

/**
 * `connecting`: the first attempt. `offline`: several attempts have failed, or the browser reported that the network is
 * down; attempts continue. `refused`: the server closed the socket for good; only `connect` tries again.
 */
export type ConnectionPhase = "idle" | "connecting" | "live" | "reconnecting" | "offline" | "refused";

export const PING_AFTER_MS = 20_000;
export const PONG_TIMEOUT_MS = 10_000;
/** The pong timeout if there is a reason for doubt: the machine was asleep, or the network changed. */
export const SHORT_PONG_TIMEOUT_MS = 3_000;
export const HANDSHAKE_TIMEOUT_MS = 10_000;
const ATTEMPTS_BEFORE_OFFLINE = 3;

/** Whether a client reconnects after this close code. */
export function shouldReconnect(code: number): boolean {
  return !((code >= 4000 && code <= 4099) || PROTOCOL_ERRORS.includes(code));
}

export class Connection {
  refusal: { code: number; reason: string } | null = null;
  /** When the next attempt starts, or null during an attempt. */
  retryAt: number | null = null;
  attempts = 0;

  private state: "idle" | "opening" | "open" | "waiting" | "refused" = "idle";
  private hasBeenLive = false;
  private networkUp = true;
  private lastReceivedAt = 0;
  /** When the socket is regarded as dead, unless the server sends something before. */
  private deadline: number | null = null;
  private lastTickAt = 0;

  get phase(): ConnectionPhase {
    if (this.state === "open") return "live";
    if (this.state === "idle" || this.state === "refused") return this.state;
    if (!this.networkUp || this.attempts > ATTEMPTS_BEFORE_OFFLINE) return "offline";
    return this.hasBeenLive || this.attempts > 0 ? "reconnecting" : "connecting";
  }

  /** Open a socket now, without waiting for `retryAt`. Does nothing if a socket is open or opening. */
  connect(now: number): ConnectionEffect[] {
    if (this.state === "open" || this.state === "opening") return [];
    this.state = "opening";
    this.refusal = null;
    this.retryAt = null;
    this.lastTickAt = now;
    this.deadline = now + HANDSHAKE_TIMEOUT_MS;
    return [{ type: "connect" }];
  }

  /** Handle the server's `welcome`. Returns whether this is a reconnect. */
  onWelcome(now: number): boolean {
    const reconnected = this.hasBeenLive;
    this.state = "open";
    this.hasBeenLive = true;
    this.networkUp = true;
    this.attempts = 0;
    this.onReceived(now);
    return reconnected;
  }

  /** Handle any frame from the server: the socket is alive. */
  onReceived(now: number): void {
    this.lastReceivedAt = now;
    if (this.state !== "open") return;
    this.deadline = null;
    this.networkUp = true;
  }

  /** Handle a socket that was closed or could not be opened. `random` is from 0 to 1. */
  onClosed(code: number, reason: string, now: number, random: number): void {
    if (this.state !== "open" && this.state !== "opening") return;
    this.deadline = null;
    if (!shouldReconnect(code)) {
      this.state = "refused";
      this.refusal = { code, reason };
      return;
    }
    this.state = "waiting";
    this.retryAt = now + backoffDelay(this.attempts, random);
    this.attempts += 1;
  }

  /** Check all timers. Call it about once a second. */
  tick(now: number, random: number): ConnectionEffect[] {
    const slept = now - this.lastTickAt > PING_AFTER_MS + PONG_TIMEOUT_MS;
    this.lastTickAt = now;
    if (this.state === "waiting" && this.retryAt !== null && now >= this.retryAt) return this.connect(now);
    if (this.deadline !== null && now >= this.deadline) {
      this.onClosed(1006, "", now, random);
      return [{ type: "close" }];
    }
    if (this.state === "open" && this.deadline === null && now - this.lastReceivedAt >= PING_AFTER_MS) {
      return this.ping(now, slept ? SHORT_PONG_TIMEOUT_MS : PONG_TIMEOUT_MS);
    }
    return [];
  }

  /** Reconnect or ping now, without waiting for the timer: the page became visible, or the network is back. */
  retryNow(now: number): ConnectionEffect[] {
    this.networkUp = true;
    if (this.state === "waiting") return this.connect(now);
    if (this.state === "open" && now - this.lastReceivedAt > SHORT_PONG_TIMEOUT_MS) return this.ping(now, SHORT_PONG_TIMEOUT_MS);
    return [];
  }

  /** Ping the server, because the browser reported that the network is down. A server on the same machine may still answer. */
  onNetworkLost(now: number): ConnectionEffect[] {
    this.networkUp = false;
    return this.state === "open" ? this.ping(now, SHORT_PONG_TIMEOUT_MS) : [];
  }

  private ping(now: number, timeout: number): ConnectionEffect[] {
    this.deadline = Math.min(this.deadline ?? Infinity, now + timeout);
    return [{ type: "ping" }];
  }
}
