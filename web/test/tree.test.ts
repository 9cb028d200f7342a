import { describe, expect, test } from "vitest";
import type { MessageView } from "../src/protocol";
import { branch, leaf } from "../src/state/tree";

function tree(...edges: [string, string | null, ("user" | "assistant")?][]): Map<string, MessageView> {
  return new Map(
    edges.map(([id, parent, role]) => [
      id,
      { id, parent, role: role ?? (id.startsWith("q") ? "user" : "assistant"), conversation: "c", status: "complete", created_at: "" },
    ]),
  );
}

const messages = tree(["q1", null], ["a1", "q1"], ["q2", "a1"], ["a2", "q2"], ["a1b", "q1"], ["q2b", "a1"], ["a2b", "q2b"]);

describe("the branch that is shown", () => {
  test("goes from the first message to the head", () => {
    expect(branch(messages, "a2").map((place) => place.message.id)).toEqual(["q1", "a1", "q2", "a2"]);
  });

  test("knows what stands in the same place", () => {
    const siblings = branch(messages, "a2").map((place) => place.siblings.map((each) => each.id));
    expect(siblings).toEqual([["q1"], ["a1", "a1b"], ["q2", "q2b"], ["a2"]]);
  });

  test("is the newest one where the head is not known", () => {
    expect(branch(messages, "gone").at(-1)?.message.id).toBe("a2b");
    expect(branch(new Map(), null)).toEqual([]);
  });

  test("ends even where the parents go in a circle", () => {
    const circle = tree(["a", "b"], ["b", "a"]);
    expect(branch(circle, "a")).toHaveLength(2);
    expect(["a", "b"]).toContain(leaf(circle, "a"));
  });
});

test("picking a branch goes to its newest end", () => {
  expect(leaf(messages, "a1")).toBe("a2b");
  expect(leaf(messages, "a1b")).toBe("a1b");
});
