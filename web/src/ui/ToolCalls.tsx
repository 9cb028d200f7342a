import type { ToolCall } from "../state/replySnapshot";

/** Indent a JSON object or array. Other text is returned unchanged. */
function indentJson(text: string): string {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? JSON.stringify(value, null, 2) : text;
  } catch {
    return text;
  }
}

function stateLabel(toolCall: ToolCall, live: boolean): string {
  if (toolCall.awaitingApproval) return live ? "asks to run" : "was not run";
  if (toolCall.output === undefined) return live ? "runs" : "was cut off";
  if (toolCall.refused) return "refused";
  return toolCall.failed ? "failed" : "answered";
}

interface Props {
  toolCalls: ToolCall[];
  live: boolean;
  /** Allow or refuse a tool call, or null if that is not possible. */
  onApprove: ((call: string, allow: boolean) => void) | null;
}

export function ToolCalls({ toolCalls, live, onApprove }: Props) {
  return (
    <>
      {toolCalls.map((toolCall) => (
        <section class="tool-card" key={toolCall.id} data-state={stateLabel(toolCall, live)}>
          <details open={toolCall.awaitingApproval && live}>
            <summary>
              <span class="tool-name">{toolCall.name}</span> <span class="muted">{stateLabel(toolCall, live)}</span>
              {toolCall.output === undefined && !toolCall.awaitingApproval && live && <span class="pulse" />}
            </summary>
            <h3>Arguments</h3>
            <pre>{indentJson(toolCall.arguments)}</pre>
            {toolCall.output !== undefined && (
              <>
                <h3>{toolCall.refused ? "Why it did not run" : toolCall.failed ? "Error" : "Result"}</h3>
                <pre>{indentJson(toolCall.output)}</pre>
              </>
            )}
          </details>
          {toolCall.awaitingApproval && live && onApprove && (
            <p class="tool-approval">
              <button type="button" class="primary-button" onClick={() => onApprove(toolCall.id, true)}>
                Allow
              </button>
              <button type="button" class="secondary-button" onClick={() => onApprove(toolCall.id, false)}>
                Refuse
              </button>
            </p>
          )}
        </section>
      ))}
    </>
  );
}
