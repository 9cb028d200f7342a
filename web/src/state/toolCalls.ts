import type { MessageView } from "../protocol";
import type { ToolCall } from "./replySnapshot";

/** The tool calls of a stored reply, from its parts. */
export function toolCallsOf(message: MessageView): ToolCall[] {
  const toolCalls: ToolCall[] = [];
  let textOffset = 0;
  const places = message.places ? utf16Offsets(message.text ?? "", message.places) : null;
  for (const [index, part] of (message.parts ?? []).entries()) {
    if (places) textOffset = places[index] ?? textOffset;
    if (part.type === "text") {
      textOffset += part.text.length;
    } else if (part.type === "tool_call") {
      toolCalls.push({ id: part.call, name: part.name, arguments: part.arguments, textOffset, failed: false, refused: false, awaitingApproval: false });
    } else if (part.type === "tool_result") {
      const toolCall = toolCalls.find((each) => each.id === part.call && each.output === undefined);
      if (toolCall) Object.assign(toolCall, { output: part.output, failed: part.failed ?? false, refused: part.refused ?? false });
    }
  }
  return toolCalls;
}

/** Convert ascending offsets in code points to offsets in UTF-16. */
function utf16Offsets(text: string, places: number[]): number[] {
  let codePoints = 0;
  let offset = 0;
  return places.map((place) => {
    while (codePoints < place && offset < text.length) {
      offset += text.codePointAt(offset)! > 0xffff ? 2 : 1;
      codePoints += 1;
    }
    return offset;
  });
}

export interface ReplySegment {
  /** The tool calls that came directly before `text`. */
  toolCalls: ToolCall[];
  text: string;
}

/** Split a reply's text at its tool calls, so that the page shows each call at its place. Returns at least one segment. */
export function splitAtToolCalls(text: string, toolCalls: ToolCall[]): ReplySegment[] {
  const segments: ReplySegment[] = [];
  let start = 0;
  let pending: ToolCall[] = [];
  for (const toolCall of toolCalls) {
    const end = Math.max(start, Math.min(toolCall.textOffset, text.length));
    if (end > start) {
      segments.push({ toolCalls: pending, text: text.slice(start, end) });
      pending = [];
      start = end;
    }
    pending = [...pending, toolCall];
  }
  return [...segments, { toolCalls: pending, text: text.slice(start) }];
}
