// What the page says about time, places and speed.

import type { MessageView, State } from "../protocol";

export function ordinal(n: number): string {
  const tens = n % 100;
  const suffix = tens > 10 && tens < 14 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th");
  return `${n}${suffix}`;
}

function seconds(ms: number): string {
  if (ms < 95) return `${Math.max(1, Math.round(ms))} ms`;
  if (ms < 9_950) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.round(ms / 1000)} s`;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** What is really happening while one waits. `waited` is in milliseconds. */
export function waiting(state: State | null, waited: number): string {
  if (!state) return "Waiting for the first word";
  const model = state.model ?? "the model";
  const time = waited >= 2_000 ? ` (${Math.floor(waited / 1000)} s)` : "";
  switch (state.phase) {
    case "queued":
      if (!state.place) return `Waiting for a free place${time}`;
      return state.place === 1 ? "Waiting, next in line" : `Waiting, ${ordinal(state.place)} in line`;
    case "loading":
      return `Loading ${model}${state.progress ? `, ${percent(state.progress)}` : ""}${time}`;
    case "reading":
      return `Reading your message${state.progress ? `, ${percent(state.progress)}` : time}`;
    case "answering":
      return `Waiting for the first word${time}`;
  }
}

/** Model, pace and patience, for below a reply that is done. */
export function figures(message: MessageView): string[] {
  const out: string[] = [];
  if (message.model) out.push(message.model);
  const timings = message.timings;
  if (timings?.tokens_per_second) {
    const pace = timings.tokens_per_second;
    out.push(`${pace >= 20 ? Math.round(pace).toLocaleString("en") : pace.toFixed(1)} tok/s`);
  }
  // With a tool before the first word, that would be the time the tool took, and a person's word for it.
  const spoken = message.parts?.findIndex((part) => part.type === "text") ?? 0;
  const worked = message.parts?.findIndex((part) => part.type === "tool_call") ?? -1;
  const delayed = worked >= 0 && (spoken < 0 || worked < spoken);
  if (timings?.first_token_ms != null && !delayed) out.push(`first token in ${seconds(timings.first_token_ms)}`);
  return out;
}

/** The heading under which a conversation stands in the list. */
export function day(iso: string, now: Date): string {
  const then = new Date(iso);
  const start = (date: Date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  const days = Math.round((start(now) - start(then)) / 86_400_000);
  if (Number.isNaN(days)) return "Earlier";
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  return days < 7 ? "This week" : "Earlier";
}
