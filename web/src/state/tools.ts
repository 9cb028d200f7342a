import type { MessageView } from "../protocol";
import type { ToolUse } from "./fold";

/** The tools of a reply that is done, from its parts. */
export function toolsOf(message: MessageView): ToolUse[] {
  const tools: ToolUse[] = [];
  let at = 0;
  for (const part of message.parts ?? []) {
    if (part.type === "text") {
      at += part.text.length;
    } else if (part.type === "tool_call") {
      tools.push({ call: part.call, name: part.name, arguments: part.arguments, at, failed: false, asking: false });
    } else if (part.type === "tool_result") {
      const tool = tools.find((each) => each.call === part.call && each.output === undefined);
      if (tool) Object.assign(tool, { output: part.output, failed: part.failed ?? false });
    }
  }
  return tools;
}

export interface Segment {
  /** The tools that were used before `text` was said. */
  tools: ToolUse[];
  text: string;
}

/** A reply cut where its tools were used, so that each stands where it was used. There is one segment at least. */
export function segments(text: string, tools: ToolUse[]): Segment[] {
  const out: Segment[] = [];
  let from = 0;
  let used: ToolUse[] = [];
  for (const tool of tools) {
    const at = Math.max(from, Math.min(tool.at, text.length));
    if (at > from) {
      out.push({ tools: used, text: text.slice(from, at) });
      used = [];
      from = at;
    }
    used = [...used, tool];
  }
  return [...out, { tools: used, text: text.slice(from) }];
}
