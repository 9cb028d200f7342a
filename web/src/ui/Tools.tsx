import type { MessageView } from "../protocol";
import type { ToolUse } from "../state/fold";

/** The tools of a reply that is done, from its parts. */
export function toolsOf(message: MessageView): ToolUse[] {
  const tools: ToolUse[] = [];
  for (const part of message.parts ?? []) {
    if (part.type === "tool_call") {
      tools.push({ call: part.call, name: part.name, arguments: part.arguments, at: 0, failed: false });
    } else if (part.type === "tool_result") {
      const tool = tools.find((each) => each.call === part.call);
      if (tool) Object.assign(tool, { output: part.output, failed: part.failed ?? false });
    }
  }
  return tools;
}

export function Tools({ tools }: { tools: ToolUse[] }) {
  return (
    <>
      {tools.map((tool) => (
        <details class="reasoning" key={tool.call}>
          <summary>
            {tool.name} <span class="quiet">{tool.output === undefined ? "runs" : tool.failed ? "failed" : "answered"}</span>
            {tool.output === undefined && <span class="breath" />}
          </summary>
          <pre class="reasoning-text">{tool.arguments}</pre>
          {tool.output !== undefined && <pre class="reasoning-text">{tool.output}</pre>}
        </details>
      ))}
    </>
  );
}
