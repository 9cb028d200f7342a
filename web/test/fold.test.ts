import { describe, expect, test } from "vitest";
import { type Event, Fold } from "../src/state/fold";

function folded(...events: Event[]): Fold {
  const fold = new Fold();
  for (const event of events) fold.apply(event);
  return fold;
}

describe("the fold of a stream", () => {
  test("joined neighbours add up to the same as single events", () => {
    const single = folded({ type: "text", text: "a" }, { type: "text", text: "b" });
    expect(folded({ type: "text", text: "ab" })).toEqual(single);
  });

  test("a rewind carries what is kept", () => {
    const fold = folded({ type: "text", text: "a wrong turn" }, { type: "rewound", to: 1, text: "a " }, { type: "text", text: "right one" });
    expect(fold.text).toBe("a right one");
  });

  test("nothing counts behind the end", () => {
    const fold = folded({ type: "finished", reason: "stop" }, { type: "text", text: "ghost" });
    expect(fold.text).toBe("");
    expect(fold.end?.type).toBe("finished");
  });

  test("a tool's result finds its start", () => {
    const fold = folded(
      { type: "text", text: "Let me look. " },
      { type: "tool_started", call: "1", name: "find", arguments: "{}" },
      { type: "tool_finished", call: "1", output: "3 rooms" },
    );
    expect(fold.tools).toEqual([{ call: "1", name: "find", arguments: "{}", at: 13, output: "3 rooms", failed: false, asking: false }]);
  });

  test("a tool that asks is the one that starts once it may", () => {
    const ask: Event = { type: "tool_asked", call: "1", name: "send", arguments: "{}" };
    const start: Event = { type: "tool_started", call: "1", name: "send", arguments: "{}" };
    expect(folded(ask).tools).toMatchObject([{ call: "1", asking: true }]);
    expect(folded(ask, start).tools).toMatchObject([{ call: "1", asking: false }]);
    expect(folded(ask, { type: "tool_finished", call: "1", output: "no", failed: true }).tools).toMatchObject([{ asking: false, output: "no" }]);
  });

  test("an event of a later protocol is passed over", () => {
    expect(folded({ type: "fanfare" } as unknown as Event).text).toBe("");
  });
});
