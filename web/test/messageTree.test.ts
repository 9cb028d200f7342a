import { describe, expect, test } from "vitest";
import type { MessageView } from "../src/protocol";
import { branchTo, newestLeaf } from "../src/state/messageTree";

function tree(...edges: [string, string | null, ("user" | "assistant")?][]): Map<string, MessageView> {
  return new Map(
    edges.map(([id, parent, role]) => [
      id,
      { id, parent, role: role ?? (id.startsWith("q") ? "user" : "assistant"), conversation: "c", status: "complete", created_at: "" },
    ]),
  );
}

const messages = tree(["q1", null], ["a1", "q1"], ["q2", "a1"], ["a2", "q2"], ["a1b", "q1"], ["q2b", "a1"], ["a2b", "q2b"]);

describe("the visible branch", () => {
  test("goes from the first message to the head", () => {
    expect(branchTo(messages, "a2").map((node) => node.message.id)).toEqual(["q1", "a1", "q2", "a2"]);
  });

  test("contains the siblings of each message", () => {
    const siblings = branchTo(messages, "a2").map((node) => node.siblings.map((each) => each.id));
    expect(siblings).toEqual([["q1"], ["a1", "a1b"], ["q2", "q2b"], ["a2"]]);
  });

  test("is the newest branch if the head is unknown", () => {
    expect(branchTo(messages, "gone").at(-1)?.message.id).toBe("a2b");
    expect(branchTo(new Map(), null)).toEqual([]);
  });

  test("ends if the parents form a cycle", () => {
    const cycle = tree(["a", "b"], ["b", "a"]);
    expect(branchTo(cycle, "a")).toHaveLength(2);
    expect(["a", "b"]).toContain(newestLeaf(cycle, "a"));
  });
});

test("selecting a branch shows its newest leaf", () => {
  expect(newestLeaf(messages, "a1")).toBe("a2b");
  expect(newestLeaf(messages, "a1b")).toBe("a1b");
});
