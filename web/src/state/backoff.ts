// When to come back after a cut: 1, 2, 4 … 30 seconds, each shortened at random by up to half so that a server that
// restarts is not met by everybody at once.

export const LONGEST_MS = 30_000;

/** Milliseconds to wait before attempt `attempt` (the first is 0). `random` is from 0 to 1. */
export function delay(attempt: number, random: number): number {
  const step = Math.min(1000 * 2 ** Math.min(attempt, 16), LONGEST_MS);
  return step * (1 - random / 2);
}
