import { describe, expect, test } from "vitest";
import { type StreamEvent, ReplySnapshot } from "../src/state/replySnapshot";

function snapshotOf(...events: StreamEvent[]): ReplySnapshot {
  const snapshot = new ReplySnapshot();
  for (const event of events) snapshot.apply(event);
  return snapshot;
}

describe("the snapshot of a reply", () => {
  test("is the same for merged events as for single events", () => {
    const single = snapshotOf({ type: "text", text: "a" }, { type: "text", text: "b" });
    expect(snapshotOf({ type: "text", text: "ab" })).toEqual(single);
  });

  test("is replaced by the text of a rewind", () => {
    const snapshot = snapshotOf({ type: "text", text: "a wrong turn" }, { type: "rewound", to: 1, text: "a " }, { type: "text", text: "right one" });
    expect(snapshot.text).toBe("a right one");
  });

  test("ignores events after the end", () => {
    const snapshot = snapshotOf({ type: "finished", reason: "stop" }, { type: "text", text: "ghost" });
    expect(snapshot.text).toBe("");
    expect(snapshot.end?.type).toBe("finished");
  });

  test("adds a tool's output to its call", () => {
    const snapshot = snapshotOf(
      { type: "text", text: "Let me look. " },
      { type: "tool_started", call: "1", name: "find", arguments: "{}" },
      { type: "tool_finished", call: "1", output: "3 rooms" },
    );
    expect(snapshot.toolCalls).toEqual([{ id: "1", name: "find", arguments: "{}", textOffset: 13, output: "3 rooms", failed: false, refused: false, awaitingApproval: false }]);
  });

  test("uses one tool call for the request for approval and the start", () => {
    const ask: StreamEvent = { type: "tool_asked", call: "1", name: "send", arguments: "{}" };
    const start: StreamEvent = { type: "tool_started", call: "1", name: "send", arguments: "{}" };
    expect(snapshotOf(ask).toolCalls).toMatchObject([{ id: "1", awaitingApproval: true }]);
    expect(snapshotOf(ask, start).toolCalls).toMatchObject([{ id: "1", awaitingApproval: false }]);
    expect(snapshotOf(ask, { type: "tool_finished", call: "1", output: "no", failed: true }).toolCalls).toMatchObject([{ awaitingApproval: false, output: "no" }]);
  });

  test("ignores events of unknown types", () => {
    expect(snapshotOf({ type: "fanfare" } as unknown as StreamEvent).text).toBe("");
  });
});
