import { describe, expect, test } from "vitest";
import type { ClientMessage, PersonView, ServerMessage } from "../src/protocol";
import { type Effect, Session } from "../src/state/session";

const AT = "2026-01-01T00:00:00Z";
const VIEW = { id: "c", title: "", assistant: "default", revision: 0, created_at: AT, updated_at: AT };
const ADA: PersonView = { user: "ada", standing: "owner", name: "Ada", present: true };
const BEN: PersonView = { user: "ben", standing: "member", name: "Ben", present: true };

function sent(effects: Effect[]): ClientMessage[] {
  return effects.flatMap((effect) => (effect.do === "send" ? [effect.message] : []));
}

function say(session: Session, message: ServerMessage, now = 0): Effect[] {
  return session.message(message, now, AT);
}

function together(standing: "owner" | "viewer" = "owner"): Session {
  const session = new Session();
  session.open("c");
  session.connect(0);
  const [follow] = sent(say(session, { type: "welcome", user: "ada", server: "0" }));
  say(session, { type: "following", re: follow!.id!, conversation: { ...VIEW, standing }, messages: [] });
  say(session, { type: "people", conversation: "c", people: [ADA, BEN] });
  return session;
}

describe("people together", () => {
  test("who writes is named until they stop, leave, or time is up", () => {
    const session = together();
    say(session, { type: "typing", conversation: "c", user: "ben", typing: true }, 1000);
    expect(session.thread!.writers).toEqual(["Ben"]);
    say(session, { type: "typing", conversation: "c", user: "ben", typing: false }, 1500);
    expect(session.thread!.writers).toEqual([]);
    say(session, { type: "typing", conversation: "c", user: "ben", typing: true }, 2000);
    session.tick(8000, 0);
    expect(session.thread!.writers).toEqual(["Ben"]);
    expect(session.tick(9000, 0)).toContainEqual({ do: "changed" });
    expect(session.thread!.writers).toEqual([]);
    say(session, { type: "typing", conversation: "c", user: "ben", typing: true }, 9500);
    say(session, { type: "people", conversation: "c", people: [ADA] }, 9600);
    expect(session.thread!.writers).toEqual([]);
  });

  test("oneself is never said to write", () => {
    const session = together();
    say(session, { type: "typing", conversation: "c", user: "ada", typing: true });
    expect(session.thread!.writers).toEqual([]);
  });

  test("the others are told now and then that the person writes, and once that not", () => {
    const session = together();
    const told = [0, 1000, 2999, 3000].flatMap((now) => sent(session.typing(true, now)));
    expect(told).toEqual([0, 3000].map(() => ({ type: "typing", conversation: "c", typing: true })));
    expect(sent(session.typing(false, 3100))).toEqual([{ type: "typing", conversation: "c", typing: false }]);
    expect(sent(session.typing(false, 3200))).toEqual([]);
  });

  test("where nobody else is here, nobody is told", () => {
    const session = together();
    say(session, { type: "people", conversation: "c", people: [ADA, { ...BEN, present: false }] });
    expect(session.typing(true, 0)).toEqual([]);
  });

  test("who may only read cannot write", () => {
    expect(together().thread!.writable).toBe(true);
    expect(together("viewer").thread!.writable).toBe(false);
  });
});

describe("commands", () => {
  test("go out at once, stay out of the conversation, and their answer is shown until the next thing is done", () => {
    const session = together();
    const [order] = sent(session.order("/help", "k"));
    expect(order).toMatchObject({ type: "send", text: "/help", conversation: "c" });
    expect(session.pending).toBeNull();
    say(session, { type: "command", re: order!.id!, name: "help", text: "There is:" });
    expect(session.answer?.text).toBe("There is:");
    session.send("Hello", "k2");
    expect(session.answer).toBeNull();
  });

  test("one that leads to another conversation opens it", () => {
    const session = together();
    const [order] = sent(session.order("/new", "k"));
    const effects = say(session, { type: "command", re: order!.id!, name: "new", text: "A new one.", conversation: "d" });
    expect(effects).toContainEqual({ do: "go", conversation: "d" });
  });

  test("are not kept for later", () => {
    const session = new Session();
    session.order("/help", "k");
    expect(session.notice).toMatch(/connection/);
    expect(session.outbox.items).toEqual([]);
  });
});

describe("a tool that asks", () => {
  test("is told the person's word", () => {
    const session = together();
    expect(sent(session.approve("r", "1", false))).toMatchObject([{ type: "approve", conversation: "c", message: "r", call: "1", allow: false }]);
  });
});

describe("a new conversation", () => {
  test("is with the assistant that was chosen, and takes what came beside the text", () => {
    const session = new Session();
    session.connect(0);
    say(session, { type: "welcome", user: "ada", server: "0" });
    session.choose("poet");
    const [send] = sent(session.send("", "k", [{ type: "image", attachment: "a1" }]));
    expect(send).toMatchObject({ assistant: "poet", parts: [{ type: "image", attachment: "a1" }], conversation: null });
    say(session, { type: "ack", re: send!.id!, conversation: "c", message: "q", reply: "r" });
    expect(session.thread!.messages.get("q")).toMatchObject({ author: "ada", parts: [{ attachment: "a1" }] });
  });
});
