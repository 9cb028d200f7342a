import type { ToolUse } from "../state/fold";

/** JSON is shown with its structure; anything else as it came. */
function laidOut(text: string): string {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? JSON.stringify(value, null, 2) : text;
  } catch {
    return text;
  }
}

function word(tool: ToolUse, live: boolean): string {
  if (tool.asking) return live ? "asks to run" : "was not run";
  if (tool.output === undefined) return live ? "runs" : "was cut off";
  return tool.failed ? "failed" : "answered";
}

interface Props {
  tools: ToolUse[];
  live: boolean;
  /** Say whether a tool that asks may run; null where one cannot. */
  onAnswer: ((call: string, allow: boolean) => void) | null;
}

export function Tools({ tools, live, onAnswer }: Props) {
  return (
    <>
      {tools.map((tool) => (
        <section class="tool-card" key={tool.call} data-state={word(tool, live)}>
          <details open={tool.asking && live}>
            <summary>
              <span class="tool-name">{tool.name}</span> <span class="quiet">{word(tool, live)}</span>
              {tool.output === undefined && !tool.asking && live && <span class="breath" />}
            </summary>
            <h3>Asked</h3>
            <pre>{laidOut(tool.arguments)}</pre>
            {tool.output !== undefined && (
              <>
                <h3>{tool.failed ? "What went wrong" : "Answered"}</h3>
                <pre>{laidOut(tool.output)}</pre>
              </>
            )}
          </details>
          {tool.asking && live && onAnswer && (
            <p class="tool-asks">
              <button type="button" class="solid-button" onClick={() => onAnswer(tool.call, true)}>
                Allow
              </button>
              <button type="button" class="plain-button" onClick={() => onAnswer(tool.call, false)}>
                Refuse
              </button>
            </p>
          )}
        </section>
      ))}
    </>
  );
}
