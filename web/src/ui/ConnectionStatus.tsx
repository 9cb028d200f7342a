import type { ConnectionPhase } from "../state/connection";
import { useClient } from "./hooks";
import { ConnectionIcon } from "./Logo";

const LABELS: Record<ConnectionPhase, string> = {
  idle: "Connecting",
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  offline: "Offline",
  refused: "Not connected",
};

const ICON_STATES: Record<ConnectionPhase, "whole" | "partial" | "broken"> = {
  idle: "partial",
  connecting: "partial",
  live: "whole",
  reconnecting: "partial",
  offline: "broken",
  refused: "broken",
};

export function ConnectionStatus() {
  const client = useClient();
  const { phase, reconnectedNoticeUntil } = client.session;
  const label = phase === "live" && reconnectedNoticeUntil ? "Back, nothing lost" : LABELS[phase];
  const showReconnect = (phase === "reconnecting" || phase === "offline" || phase === "refused") && client.signInMessage === null;
  return (
    <div class="connection" data-phase={phase}>
      {showReconnect && (
        <button type="button" class="secondary-button" onClick={() => client.reconnect()}>
          Reconnect
        </button>
      )}
      <ConnectionIcon state={ICON_STATES[phase]} />
      <span class="connection-label">{label}</span>
    </div>
  );
}
