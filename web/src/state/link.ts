// The life of the socket: when to open one, when to call it dead, when to come back. No socket and no clock in here;
// `now` is milliseconds on any clock that only goes forward.

import { SPEAKS_WRONGLY } from "../protocol";
import { delay } from "./backoff";

export type LinkEffect = { do: "connect" } | { do: "close" } | { do: "ping" };

/** `connecting`: for the first time. `offline`: still trying, but with little hope. `refused`: something must change first. */
export type Phase = "idle" | "connecting" | "live" | "reconnecting" | "offline" | "refused";

export const SILENCE_MS = 20_000;
export const PATIENCE_MS = 10_000;
/** After a sleep, or when the machine says that its network went: the answer to a ping is due sooner. */
export const SUSPICION_MS = 3_000;
export const HANDSHAKE_MS = 10_000;
const HOPEFUL_ATTEMPTS = 3;

export function reconnects(code: number): boolean {
  return !((code >= 4000 && code <= 4099) || SPEAKS_WRONGLY.includes(code));
}

export class Link {
  refusal: { code: number; reason: string } | null = null;
  /** When the next attempt is due; null while one is under way. */
  retryAt: number | null = null;
  attempt = 0;

  private state: "idle" | "opening" | "open" | "waiting" | "refused" = "idle";
  private wasLive = false;
  private network = true;
  private heardAt = 0;
  private due: number | null = null;
  private tickedAt = 0;

  get phase(): Phase {
    if (this.state === "open") return "live";
    if (this.state === "idle" || this.state === "refused") return this.state;
    if (!this.network || this.attempt > HOPEFUL_ATTEMPTS) return "offline";
    return this.wasLive || this.attempt > 0 ? "reconnecting" : "connecting";
  }

  /** Open one now, whatever was planned. */
  connect(now: number): LinkEffect[] {
    if (this.state === "open" || this.state === "opening") return [];
    this.state = "opening";
    this.refusal = null;
    this.retryAt = null;
    this.tickedAt = now;
    this.due = now + HANDSHAKE_MS;
    return [{ do: "connect" }];
  }

  /** The server said welcome. Returns whether this was a return after a cut. */
  welcomed(now: number): boolean {
    const back = this.wasLive;
    this.state = "open";
    this.wasLive = true;
    this.network = true;
    this.attempt = 0;
    this.heard(now);
    return back;
  }

  heard(now: number): void {
    this.heardAt = now;
    if (this.state !== "open") return;
    this.due = null;
    this.network = true;
  }

  /** The socket is gone, or never came to be. `random` is from 0 to 1. */
  closed(code: number, reason: string, now: number, random: number): void {
    if (this.state !== "open" && this.state !== "opening") return;
    this.due = null;
    if (!reconnects(code)) {
      this.state = "refused";
      this.refusal = { code, reason };
      return;
    }
    this.state = "waiting";
    this.retryAt = now + delay(this.attempt, random);
    this.attempt += 1;
  }

  tick(now: number, random: number): LinkEffect[] {
    const slept = now - this.tickedAt > SILENCE_MS + PATIENCE_MS;
    this.tickedAt = now;
    if (this.state === "waiting" && this.retryAt !== null && now >= this.retryAt) return this.connect(now);
    if (this.due !== null && now >= this.due) {
      this.closed(1006, "", now, random);
      return [{ do: "close" }];
    }
    if (this.state === "open" && this.due === null && now - this.heardAt >= SILENCE_MS) {
      return this.probe(now, slept ? SUSPICION_MS : PATIENCE_MS);
    }
    return [];
  }

  /** Somebody looks at the page again, or the network is back: do not wait for the clock. */
  nudge(now: number): LinkEffect[] {
    this.network = true;
    if (this.state === "waiting") return this.connect(now);
    if (this.state === "open" && now - this.heardAt > SUSPICION_MS) return this.probe(now, SUSPICION_MS);
    return [];
  }

  /** The machine says that its network went. A server on the machine itself may well still answer. */
  doubt(now: number): LinkEffect[] {
    this.network = false;
    return this.state === "open" ? this.probe(now, SUSPICION_MS) : [];
  }

  private probe(now: number, patience: number): LinkEffect[] {
    this.due = Math.min(this.due ?? Infinity, now + patience);
    return [{ do: "ping" }];
  }
}
