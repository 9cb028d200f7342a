import { describe, expect, test } from "vitest";
import type { MessageView } from "../src/protocol";
import type { ToolUse } from "../src/state/fold";
import { segments, toolsOf } from "../src/state/tools";

function tool(call: string, at: number): ToolUse {
  return { call, name: "find", arguments: "{}", at, failed: false, asking: false };
}

describe("the tools of a reply", () => {
  test("each stands where it was used", () => {
    const [a, b, c] = [tool("a", 0), tool("b", 5), tool("c", 5)];
    expect(segments("first then", [a, b, c])).toEqual([
      { tools: [a], text: "first" },
      { tools: [b, c], text: " then" },
    ]);
  });

  test("without one there is one segment, and all of the text is in the segments", () => {
    expect(segments("all", [])).toEqual([{ tools: [], text: "all" }]);
    expect(segments("", [])).toEqual([{ tools: [], text: "" }]);
    for (let at = 0; at <= 12; at += 1) {
      const told = segments("a short text", [tool("a", 2), tool("b", at), tool("c", 99)]);
      expect(told.map((each) => each.text).join("")).toBe("a short text");
      expect(told.flatMap((each) => each.tools).length).toBe(3);
    }
  });

  test("a stored message tells them in their place, with what came back", () => {
    const message: MessageView = {
      id: "r", conversation: "c", role: "assistant", status: "complete", created_at: "",
      parts: [
        { type: "text", text: "Let me look. " },
        { type: "tool_call", call: "1", name: "find", arguments: "{}" },
        { type: "tool_result", call: "1", name: "find", output: "3 rooms" },
        { type: "text", text: "Three." },
      ],
    };
    expect(toolsOf(message)).toEqual([{ ...tool("1", 13), output: "3 rooms" }]);
  });
});
