// Times, queue positions and speeds as text.

import type { MessageView, State } from "../protocol";
import { toolCallsOf } from "../state/toolCalls";

export function ordinal(n: number): string {
  const tens = n % 100;
  const suffix = tens > 10 && tens < 14 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th");
  return `${n}${suffix}`;
}

function formatDuration(ms: number): string {
  if (ms < 95) return `${Math.max(1, Math.round(ms))} ms`;
  if (ms < 9_950) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.round(ms / 1000)} s`;
}

function formatPercent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** The state of a reply that has no text yet. `waitedMs` is the time since the reply entered this state. */
export function waitingText(state: State | null, waitedMs: number): string {
  if (!state) return "Waiting for the first word";
  const model = state.model ?? "the model";
  const time = waitedMs >= 2_000 ? ` (${Math.floor(waitedMs / 1000)} s)` : "";
  switch (state.phase) {
    case "queued":
      if (!state.place) return `Waiting for a free slot${time}`;
      return state.place === 1 ? "Waiting, next in line" : `Waiting, ${ordinal(state.place)} in line`;
    case "loading":
      return `Loading ${model}${state.progress ? `, ${formatPercent(state.progress)}` : ""}${time}`;
    case "reading":
      return `Reading your message${state.progress ? `, ${formatPercent(state.progress)}` : time}`;
    case "answering":
      return `Waiting for the first word${time}`;
  }
}

/** The model, the token rate and the time to the first token of a complete reply. */
export function replyStats(message: MessageView): string[] {
  const out: string[] = [];
  if (message.model) out.push(message.model);
  const timings = message.timings;
  if (timings?.tokens_per_second) {
    const rate = timings.tokens_per_second;
    out.push(`${rate >= 20 ? Math.round(rate).toLocaleString("en") : rate.toFixed(1)} tok/s`);
  }
  // If a tool call came before the text, the time to the first token includes the tool and the wait for approval: omit it.
  const afterToolCall = toolCallsOf(message)[0]?.textOffset === 0;
  if (timings?.first_token_ms != null && !afterToolCall) out.push(`first token in ${formatDuration(timings.first_token_ms)}`);
  return out;
}

/** The heading of the list section for a conversation that was updated at `iso`. */
export function dayHeading(iso: string, now: Date): string {
  const then = new Date(iso);
  const start = (date: Date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  const days = Math.round((start(now) - start(then)) / 86_400_000);
  if (Number.isNaN(days)) return "Earlier";
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  return days < 7 ? "This week" : "Earlier";
}

/** A size of a file in words: "512 bytes", "1.5 KiB". */
export function formatSize(bytes: number): string {
  if (bytes < 1024) return `${bytes} ${bytes === 1 ? "byte" : "bytes"}`;
  const [value, unit] = bytes < 1024 * 1024 ? [bytes / 1024, "KiB"] : [bytes / (1024 * 1024), "MiB"];
  return `${value.toLocaleString("en", { maximumSignificantDigits: 3 })} ${unit}`;
}
