// A running reply: the position in its stream, and the snapshot of the events up to that position.

import type { Delta, Where } from "../protocol";
import { ReplySnapshot } from "./replySnapshot";

/** `applied`: the delta is part of the snapshot now. `duplicate`: it was part of it before. `gap`: events before it are missing. */
export type DeltaFit = "applied" | "duplicate" | "gap";

export class RunningReply {
  readonly stream: string;
  /** Null before the first delta and after a reset: the next delta may have any epoch, and begins at offset 0. */
  epoch: string | null = null;
  offset = 0;
  snapshot = new ReplySnapshot();
  /** When the reply entered its present phase, in the caller's clock. */
  phaseStartedAt: number;

  constructor(stream: string, now: number) {
    this.stream = stream;
    this.phaseStartedAt = now;
  }

  get position(): Where | null {
    return this.epoch === null ? null : { stream: this.stream, epoch: this.epoch, offset: this.offset };
  }

  apply(delta: Delta, now: number): DeltaFit {
    if (this.epoch === null) {
      if (delta.from !== 0) return "gap";
      this.epoch = delta.epoch;
      this.offset = 0;
      this.snapshot = new ReplySnapshot();
    } else if (delta.epoch !== this.epoch) {
      return "gap";
    }
    if (delta.to <= this.offset) return "duplicate";
    // The server merges events. A delta that begins before the offset and ends after it cannot be split.
    if (delta.from !== this.offset) return "gap";
    const phase = this.snapshot.state?.phase;
    for (const event of delta.events) this.snapshot.apply(event);
    this.offset = delta.to;
    if (this.snapshot.state?.phase !== phase) this.phaseStartedAt = now;
    return "applied";
  }

  /** Forget the position. The snapshot stays until the stream is sent again, so that the shown text does not disappear. */
  reset(): void {
    this.epoch = null;
    this.offset = 0;
  }
}
