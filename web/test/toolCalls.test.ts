import { describe, expect, test } from "vitest";
import type { MessageView } from "../src/protocol";
import type { ToolCall } from "../src/state/replySnapshot";
import { splitAtToolCalls, toolCallsOf } from "../src/state/toolCalls";

function toolCall(id: string, textOffset: number): ToolCall {
  return { id, name: "find", arguments: "{}", textOffset, failed: false, refused: false, awaitingApproval: false };
}

describe("the tool calls of a reply", () => {
  test("are placed where they were made", () => {
    const [a, b, c] = [toolCall("a", 0), toolCall("b", 5), toolCall("c", 5)];
    expect(splitAtToolCalls("first then", [a, b, c])).toEqual([
      { toolCalls: [a], text: "first" },
      { toolCalls: [b, c], text: " then" },
    ]);
  });

  test("there is always a segment, and the segments contain all of the text", () => {
    expect(splitAtToolCalls("all", [])).toEqual([{ toolCalls: [], text: "all" }]);
    expect(splitAtToolCalls("", [])).toEqual([{ toolCalls: [], text: "" }]);
    for (let at = 0; at <= 12; at += 1) {
      const segments = splitAtToolCalls("a short text", [toolCall("a", 2), toolCall("b", at), toolCall("c", 99)]);
      expect(segments.map((each) => each.text).join("")).toBe("a short text");
      expect(segments.flatMap((each) => each.toolCalls).length).toBe(3);
    }
  });

  test("are read from a stored message, with their offsets and outputs", () => {
    const message: MessageView = {
      id: "r", conversation: "c", role: "assistant", status: "complete", created_at: "",
      parts: [
        { type: "text", text: "Let me look. " },
        { type: "tool_call", call: "1", name: "find", arguments: "{}" },
        { type: "tool_result", call: "1", name: "find", output: "3 rooms" },
        { type: "text", text: "Three." },
      ],
    };
    expect(toolCallsOf(message)).toEqual([{ ...toolCall("1", 13), output: "3 rooms" }]);
  });
});
