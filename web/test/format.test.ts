import { describe, expect, test } from "vitest";
import type { MessageView } from "../src/protocol";
import { replyStats } from "../src/ui/format";

const REPLY: MessageView = {
  id: "r", conversation: "c", role: "assistant", status: "complete", created_at: "2026-01-01T00:00:00Z", timings: { first_token_ms: 11_000 },
};
const CALL = { type: "tool_call", call: "1", name: "find", arguments: "{}" } as const;
const TEXT = { type: "text", text: "So." } as const;

describe("the statistics below a reply", () => {
  test("contain the time to the first token", () => {
    expect(replyStats(REPLY)).toEqual(["first token in 11 s"]);
    expect(replyStats({ ...REPLY, parts: [TEXT, CALL] })).toEqual(["first token in 11 s"]);
  });

  test("omit the time to the first token if a tool call came first", () => {
    expect(replyStats({ ...REPLY, parts: [CALL, TEXT] })).toEqual([]);
    expect(replyStats({ ...REPLY, parts: [CALL] })).toEqual([]);
  });
});
