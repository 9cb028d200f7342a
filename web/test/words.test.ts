import { describe, expect, test } from "vitest";
import type { MessageView } from "../src/protocol";
import { figures } from "../src/ui/words";

const REPLY: MessageView = {
  id: "r", conversation: "c", role: "assistant", status: "complete", created_at: "2026-01-01T00:00:00Z", timings: { first_token_ms: 11_000 },
};
const CALL = { type: "tool_call", call: "1", name: "find", arguments: "{}" } as const;
const TEXT = { type: "text", text: "So." } as const;

describe("the figures below a reply", () => {
  test("tell how long one waited for the first word", () => {
    expect(figures(REPLY)).toEqual(["first token in 11 s"]);
    expect(figures({ ...REPLY, parts: [TEXT, CALL] })).toEqual(["first token in 11 s"]);
  });

  test("do not tell how long a tool took, or a person's word for it", () => {
    expect(figures({ ...REPLY, parts: [CALL, TEXT] })).toEqual([]);
    expect(figures({ ...REPLY, parts: [CALL] })).toEqual([]);
  });
});
