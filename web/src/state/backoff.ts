// The delay before a new connection attempt: 1, 2, 4 … 30 seconds. Each delay is shortened at random by up to half, so
// that the clients of a restarted server do not all connect at the same moment.

export const MAX_DELAY_MS = 30_000;

/** Milliseconds to wait before attempt `attempt` (the first is 0). `random` is from 0 to 1. */
export function backoffDelay(attempt: number, random: number): number {
  const step = Math.min(1000 * 2 ** Math.min(attempt, 16), MAX_DELAY_MS);
  return step * (1 - random / 2);
}
