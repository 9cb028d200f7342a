// A running reply: a cursor on its stream, and the fold of what the cursor has passed.

import type { Delta, ResetStream, Where } from "../protocol";
import { Fold } from "./fold";

/** `taken`: it is part of the fold now. `known`: all of it was, already. `gap`: something is missing, ask again. */
export type Verdict = "taken" | "known" | "gap";

export class Reply {
  readonly stream: string;
  /** Null until the first delta, and after a reset: then any epoch may begin, at 0. */
  epoch: string | null = null;
  offset = 0;
  fold = new Fold();
  /** When the present waiting began, in the clock of whoever calls. */
  since: number;

  constructor(stream: string, now: number) {
    this.stream = stream;
    this.since = now;
  }

  get position(): Where | null {
    return this.epoch === null ? null : { stream: this.stream, epoch: this.epoch, offset: this.offset };
  }

  take(delta: Delta, now: number): Verdict {
    if (this.epoch === null) {
      if (delta.from !== 0) return "gap";
      this.epoch = delta.epoch;
      this.offset = 0;
      this.fold = new Fold();
    } else if (delta.epoch !== this.epoch) {
      return "gap";
    }
    if (delta.to <= this.offset) return "known";
    // Events come joined: a delta that begins before the cursor and ends behind it cannot be cut.
    if (delta.from !== this.offset) return "gap";
    const phase = this.fold.state?.phase;
    for (const event of delta.events) this.fold.apply(event);
    this.offset = delta.to;
    if (this.fold.state?.phase !== phase) this.since = now;
    return "taken";
  }

  /** What is shown stays until the stream is told again, so that nothing jumps. */
  reset(_message: ResetStream): void {
    this.epoch = null;
    this.offset = 0;
  }
}
