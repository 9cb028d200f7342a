import type { Phase } from "../state/link";
import { useClient } from "./hooks";
import { Slur } from "./Mark";

const WORDS: Record<Phase, string> = {
  idle: "Connecting",
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  offline: "Offline",
  refused: "Not connected",
};

const SHAPES: Record<Phase, "whole" | "open" | "broken"> = {
  idle: "open",
  connecting: "open",
  live: "whole",
  reconnecting: "open",
  offline: "broken",
  refused: "broken",
};

export function Connection() {
  const client = useClient();
  const { phase, backUntil } = client.session;
  const word = phase === "live" && backUntil ? "Back, nothing lost" : WORDS[phase];
  const waits = (phase === "reconnecting" || phase === "offline" || phase === "refused") && client.locked === null;
  return (
    <div class="connection" data-phase={phase}>
      {waits && (
        <button type="button" class="plain-button" onClick={() => client.reconnect()}>
          Reconnect
        </button>
      )}
      <Slur state={SHAPES[phase]} />
      <span class="word">{word}</span>
    </div>
  );
}
