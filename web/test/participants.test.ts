import { describe, expect, test } from "vitest";
import type { ClientMessage, PersonView, ServerMessage } from "../src/protocol";
import type { Effect } from "../src/state/effects";
import { Session } from "../src/state/session";

const AT = "2026-01-01T00:00:00Z";
const VIEW = { id: "c", title: "", assistant: "default", revision: 0, created_at: AT, updated_at: AT };
const ADA: PersonView = { user: "ada", standing: "owner", name: "Ada", present: true };
const BEN: PersonView = { user: "ben", standing: "member", name: "Ben", present: true };

function sent(effects: Effect[]): ClientMessage[] {
  return effects.flatMap((effect) => (effect.type === "send" ? [effect.message] : []));
}

function receive(session: Session, message: ServerMessage, now = 0): Effect[] {
  return session.onMessage(message, now, AT);
}

function openSession(standing: "owner" | "viewer" = "owner"): Session {
  const session = new Session();
  session.openConversation("c");
  session.connect(0);
  const [follow] = sent(receive(session, { type: "welcome", user: "ada", server: "0" }));
  receive(session, { type: "following", re: follow!.id!, conversation: { ...VIEW, standing }, messages: [] });
  receive(session, { type: "people", conversation: "c", people: [ADA, BEN] });
  return session;
}

describe("participants", () => {
  test("a user who is typing is shown until they stop, leave, or the time is up", () => {
    const session = openSession();
    receive(session, { type: "typing", conversation: "c", user: "ben", typing: true }, 1000);
    expect(session.conversation!.typingNames).toEqual(["Ben"]);
    receive(session, { type: "typing", conversation: "c", user: "ben", typing: false }, 1500);
    expect(session.conversation!.typingNames).toEqual([]);
    receive(session, { type: "typing", conversation: "c", user: "ben", typing: true }, 2000);
    session.tick(8000, 0);
    expect(session.conversation!.typingNames).toEqual(["Ben"]);
    expect(session.tick(9000, 0)).toContainEqual({ type: "render" });
    expect(session.conversation!.typingNames).toEqual([]);
    receive(session, { type: "typing", conversation: "c", user: "ben", typing: true }, 9500);
    receive(session, { type: "people", conversation: "c", people: [ADA] }, 9600);
    expect(session.conversation!.typingNames).toEqual([]);
  });

  test("the user's own typing is not shown", () => {
    const session = openSession();
    receive(session, { type: "typing", conversation: "c", user: "ada", typing: true });
    expect(session.conversation!.typingNames).toEqual([]);
  });

  test("the start of typing is sent at most every 3 s, and its end once", () => {
    const session = openSession();
    const frames = [0, 1000, 2999, 3000].flatMap((now) => sent(session.setTyping(true, now)));
    expect(frames).toEqual([0, 3000].map(() => ({ type: "typing", conversation: "c", typing: true })));
    expect(sent(session.setTyping(false, 3100))).toEqual([{ type: "typing", conversation: "c", typing: false }]);
    expect(sent(session.setTyping(false, 3200))).toEqual([]);
  });

  test("typing is not sent if no other user is present", () => {
    const session = openSession();
    receive(session, { type: "people", conversation: "c", people: [ADA, { ...BEN, present: false }] });
    expect(session.setTyping(true, 0)).toEqual([]);
  });

  test("a viewer cannot write", () => {
    expect(openSession().conversation!.canWrite).toBe(true);
    expect(openSession("viewer").conversation!.canWrite).toBe(false);
  });
});

describe("commands", () => {
  test("are sent at once, add no message, and show their result until the next action", () => {
    const session = openSession();
    const [command] = sent(session.sendCommand("/help", "k"));
    expect(command).toMatchObject({ type: "send", text: "/help", conversation: "c" });
    expect(session.pending).toBeNull();
    receive(session, { type: "command", re: command!.id!, name: "help", text: "There is:" });
    expect(session.commandResult?.text).toBe("There is:");
    session.send("Hello", "k2");
    expect(session.commandResult).toBeNull();
  });

  test("a result that names another conversation opens it", () => {
    const session = openSession();
    const [command] = sent(session.sendCommand("/new", "k"));
    const effects = receive(session, { type: "command", re: command!.id!, name: "new", text: "A new one.", conversation: "d" });
    expect(effects).toContainEqual({ type: "openConversation", conversation: "d" });
  });

  test("wait in the outbox only while there is no connection", () => {
    const session = new Session();
    session.sendCommand("/help", "k");
    expect(session.outbox.items.map((each) => each.command)).toMatchObject([{ type: "send", text: "/help" }]);
    session.sendCommand("/stop", "k2");
    expect(session.notice).toMatch(/connection/);
    expect(session.outbox.items).toHaveLength(1);
  });
});

describe("a tool call that waits for approval", () => {
  test("gets the user's decision", () => {
    const session = openSession();
    expect(sent(session.approve("r", "1", false))).toMatchObject([{ type: "approve", conversation: "c", message: "r", call: "1", allow: false }]);
  });
});

describe("a new conversation", () => {
  test("has the chosen assistant and the attachments of the message", () => {
    const session = new Session();
    session.connect(0);
    receive(session, { type: "welcome", user: "ada", server: "0" });
    session.chooseAssistant("poet");
    const [send] = sent(session.send("", "k", [{ type: "image", attachment: "a1" }]));
    expect(send).toMatchObject({ assistant: "poet", parts: [{ type: "image", attachment: "a1" }], conversation: null });
    receive(session, { type: "ack", re: send!.id!, conversation: "c", message: "q", reply: "r" });
    expect(session.conversation!.messages.get("q")).toMatchObject({ author: "ada", parts: [{ attachment: "a1" }] });
  });
});
