import { describe, expect, test } from "vitest";
import type { ClientMessage, Delta, Follow, MessageView, ServerMessage } from "../src/protocol";
import type { Effect } from "../src/state/effects";
import { Session } from "../src/state/session";
import { rng } from "./rng";

const AT = "2026-01-01T00:00:00Z";
const VIEW = { id: "c", title: "Slurs", assistant: "default", revision: 2, created_at: AT, updated_at: AT, head: "r" };
const QUESTION: MessageView = { id: "q", conversation: "c", role: "user", status: "complete", created_at: AT, revision: 1, text: "Hello" };
const REPLY: MessageView = { id: "r", conversation: "c", role: "assistant", status: "streaming", created_at: AT, revision: 2, parent: "q" };

function sent(effects: Effect[]): ClientMessage[] {
  return effects.flatMap((effect) => (effect.type === "send" ? [effect.message] : []));
}

function receive(session: Session, message: ServerMessage, now = 0): Effect[] {
  return session.onMessage(message, now, AT);
}

function welcome(session: Session, now = 0): Effect[] {
  session.connect(now);
  return receive(session, { type: "welcome", user: "ada", server: "0" }, now);
}

function followed(session: Session): Session {
  session.openConversation("c");
  const [follow] = sent(welcome(session));
  receive(session, { type: "following", re: follow!.id!, conversation: VIEW, messages: [QUESTION, REPLY] });
  return session;
}

function delta(from: number, to: number, text: string, epoch = "e"): Delta {
  return { type: "delta", stream: "r", epoch, from, to, events: [{ type: "text", text }] };
}

function text(session: Session): string {
  return session.conversation?.replies.get("r")?.snapshot.text ?? session.conversation?.messages.get("r")?.text ?? "";
}

describe("a refusal", () => {
  const REFUSED = { type: "error", code: "unauthenticated", message: "Your token has expired. Get a new one." } as const;

  test("has the message of the error frame before the close", () => {
    const session = new Session();
    session.connect(0);
    receive(session, REFUSED);
    session.onClosed(4001, "not authenticated", 0, 0);
    expect(session.connection.refusal?.reason).toBe("Your token has expired. Get a new one.");
    expect(session.notice).toBeNull();
  });

  test("does not have the message of an earlier error", () => {
    const session = new Session();
    session.connect(0);
    receive(session, REFUSED);
    receive(session, { type: "pong" });
    session.onClosed(4004, "the token has expired", 0, 0);
    expect(session.connection.refusal?.reason).toBe("the token has expired");
  });
});

describe("long frames and a long way", () => {
  test("fragments are joined, and other frames may come in between", () => {
    const session = followed(new Session());
    const whole = JSON.stringify({ type: "message", message: { ...REPLY, status: "complete", text: "All of it.", revision: 3 } });
    receive(session, { type: "fragment", group: "1", text: whole.slice(0, 20), more: true });
    receive(session, { type: "pong" });
    receive(session, { type: "fragment", group: "1", text: whole.slice(20) });
    expect(session.conversation!.messages.get("r")).toMatchObject({ status: "complete", text: "All of it." });
  });

  test("deltas that join are taken while a follow is on its way, and others ask for nothing", () => {
    const session = followed(new Session());
    receive(session, delta(0, 1, "a"));
    expect(sent(receive(session, delta(2, 3, "c")))).toMatchObject([{ type: "follow" }]);
    expect(sent(receive(session, delta(3, 4, "d")))).toEqual([]);
    receive(session, delta(1, 2, "b"));
    expect(text(session)).toBe("ab");
  });

  test("an older message does not replace a newer one", () => {
    const session = followed(new Session());
    receive(session, { type: "message", message: { ...REPLY, status: "complete", text: "new", revision: 4 } });
    receive(session, { type: "message", message: { ...REPLY, status: "complete", text: "old", revision: 3 } });
    expect(text(session)).toBe("new");
  });
});

describe("following", () => {
  test("asks for everything after a page reload", () => {
    const session = new Session();
    session.openConversation("c");
    expect(sent(welcome(session))).toMatchObject([{ type: "follow", conversation: "c", since: 0, positions: [] }]);
  });

  test("asks for the missed part after a reconnect, and shows a notice when it has arrived", () => {
    const session = followed(new Session());
    receive(session, delta(0, 3, "abc"));
    session.onClosed(1006, "", 10, 0);
    expect(session.phase).toBe("reconnecting");
    session.retryNow(20);
    const [follow] = sent(receive(session, { type: "welcome", user: "ada", server: "0" }, 30));
    expect(follow).toMatchObject({ since: 2, positions: [{ stream: "r", epoch: "e", offset: 3 }] });
    expect(session.reconnectedNoticeUntil).toBe(0);
    receive(session, { type: "following", re: follow!.id!, conversation: VIEW, messages: [] }, 40);
    expect(session.reconnectedNoticeUntil).toBe(2040);
    session.tick(2040, 0);
    expect(session.reconnectedNoticeUntil).toBe(0);
  });

  test("applies each offset once", () => {
    const session = followed(new Session());
    receive(session, delta(0, 2, "ab"));
    expect(receive(session, delta(0, 2, "ab"))).toEqual([]);
    receive(session, delta(2, 3, "c"));
    expect(text(session)).toBe("abc");
  });

  test("asks again after a gap, and ignores deltas until the answer", () => {
    const session = followed(new Session());
    receive(session, delta(0, 1, "a"));
    const [follow] = sent(receive(session, delta(2, 3, "c")));
    expect(follow).toMatchObject({ type: "follow", positions: [{ stream: "r", epoch: "e", offset: 1 }] });
    expect(receive(session, delta(3, 4, "d"))).toEqual([]);
    receive(session, { type: "following", re: follow!.id!, conversation: VIEW, messages: [] });
    receive(session, delta(1, 4, "bcd"));
    expect(text(session)).toBe("abcd");
  });

  test("requests the stream from its beginning after a second gap", () => {
    const session = followed(new Session());
    receive(session, delta(0, 1, "a"));
    for (const positions of [[{ stream: "r", epoch: "e", offset: 1 }], []]) {
      const [follow] = sent(receive(session, delta(5, 6, "?")));
      expect((follow as Follow).positions).toEqual(positions);
      receive(session, { type: "following", re: follow!.id!, conversation: VIEW, messages: [] });
    }
    receive(session, delta(0, 6, "abcdef"));
    expect(text(session)).toBe("abcdef");
  });

  test("never joins two epochs of a stream", () => {
    const session = followed(new Session());
    receive(session, delta(0, 3, "abc"));
    expect(sent(receive(session, delta(3, 4, "X", "other")))).toMatchObject([{ type: "follow" }]);
    expect(text(session)).toBe("abc");
  });

  test("keeps the text after a reset until the stream is sent again", () => {
    const session = followed(new Session());
    receive(session, delta(0, 3, "abc"));
    receive(session, { type: "reset", stream: "r", reason: "epoch", epoch: "f" });
    expect(text(session)).toBe("abc");
    receive(session, delta(0, 1, "x", "f"));
    expect(text(session)).toBe("x");
  });

  test("replaces the stream by the complete message", () => {
    const session = followed(new Session());
    receive(session, delta(0, 1, "a"));
    const effects = receive(session, { type: "message", message: { ...REPLY, status: "complete", text: "all of it", revision: 3 } });
    expect(effects).toContainEqual({ type: "replyEnded", stream: "r" });
    expect(text(session)).toBe("all of it");
    expect(session.busy).toBe(false);
    expect(receive(session, delta(1, 2, "b"))).toEqual([]);
  });

  test("counts a revision as complete only after the last frame", () => {
    const session = new Session();
    session.openConversation("c");
    const [first] = sent(welcome(session));
    receive(session, { type: "following", re: first!.id!, conversation: VIEW, messages: [QUESTION], more: true });
    session.onClosed(1006, "", 0, 0);
    session.retryNow(0);
    const [second] = sent(receive(session, { type: "welcome", user: "ada", server: "0" }));
    expect(second).toMatchObject({ type: "follow", since: 0 });
    receive(session, { type: "following", re: second!.id!, conversation: VIEW, messages: [QUESTION], more: true });
    receive(session, { type: "messages", re: second!.id!, conversation: "c", messages: [REPLY] });
    expect(session.visibleMessages().nodes.map((node) => node.message.id)).toEqual(["q", "r"]);
    session.onClosed(1006, "", 0, 0);
    session.retryNow(0);
    expect(sent(receive(session, { type: "welcome", user: "ada", server: "0" }))).toMatchObject([{ type: "follow", since: 2 }]);
  });

  test("starts over if the server has an older revision", () => {
    const session = followed(new Session());
    session.onClosed(1006, "", 0, 0);
    session.retryNow(0);
    const [first] = sent(receive(session, { type: "welcome", user: "ada", server: "0" }));
    const [second] = sent(receive(session, { type: "following", re: first!.id!, conversation: { ...VIEW, revision: 1 }, messages: [] }));
    expect(second).toMatchObject({ type: "follow", since: 0, positions: [] });
  });

  test("marks an unknown conversation as not found", () => {
    const session = new Session();
    session.openConversation("c");
    const [follow] = sent(welcome(session));
    receive(session, { type: "error", re: follow!.id!, code: "not_found", message: "There is no such conversation." });
    expect(session.conversation?.notFound).toBe(true);
  });
});

describe("sending", () => {
  test("shows the message at once, and the reply after the ack", () => {
    const session = new Session();
    welcome(session);
    const [send] = sent(session.send("Hello", "m1"));
    expect(send).toMatchObject({ type: "send", client_message_id: "m1", conversation: null, text: "Hello" });
    expect(session.visibleMessages().pending?.command).toMatchObject({ text: "Hello" });
    const effects = receive(session, { type: "ack", re: send!.id!, conversation: "c", reply: "r", message: "q" });
    expect(effects).toContainEqual({ type: "setConversationUrl", conversation: "c" });
    expect(effects).toContainEqual({ type: "replyStarted", stream: "r" });
    const { nodes, pending } = session.visibleMessages();
    expect(pending).toBeNull();
    expect(nodes.map((node) => node.message.id)).toEqual(["q", "r"]);
  });

  test("loses nothing if the reply arrives before the ack", () => {
    const session = new Session();
    welcome(session);
    const [send] = sent(session.send("Hello", "m1"));
    receive(session, { type: "message", message: QUESTION });
    receive(session, { type: "message", message: REPLY });
    receive(session, delta(0, 2, "ab"));
    receive(session, { type: "ack", re: send!.id!, conversation: "c", reply: "r", message: "q" });
    receive(session, delta(2, 3, "c"));
    expect(text(session)).toBe("abc");
  });

  test("waits for the connection, and repeats a message without an ack after a reconnect", () => {
    const session = new Session();
    session.send("Hello", "m1");
    expect(sent(welcome(session))).toMatchObject([{ type: "send", client_message_id: "m1" }]);
    session.onClosed(1006, "", 0, 0);
    session.retryNow(0);
    expect(sent(receive(session, { type: "welcome", user: "ada", server: "0" }))).toMatchObject([{ type: "send", client_message_id: "m1" }]);
  });

  test("can be undone before the message is sent", () => {
    const session = new Session();
    session.send("Hello", "m1");
    expect(session.stop().text).toBe("Hello");
    expect(session.visibleMessages().pending).toBeNull();
  });

  test("keeps the message with the error, and sends it again on request", () => {
    const session = new Session();
    welcome(session);
    const [send] = sent(session.send("Hello", "m1"));
    receive(session, { type: "error", re: send!.id!, code: "busy", message: "Too many at once. Wait a moment." });
    expect(session.visibleMessages().pending?.error?.message).toBe("Too many at once. Wait a moment.");
    expect(session.busy).toBe(false);
    expect(sent(session.resend())).toMatchObject([{ type: "send", client_message_id: "m1" }]);
  });

  test("does not send a message longer than the frame limit, and keeps it with an error", () => {
    const session = new Session();
    session.connect(0);
    receive(session, { type: "welcome", user: "ada", server: "0", max_frame_bytes: 1024 });
    expect(sent(session.send("ä".repeat(600), "m1"))).toEqual([]);
    expect(session.visibleMessages().pending?.error?.code).toBe("too_large");
    expect(session.busy).toBe(false);
  });

  test("keeps a pending message with its conversation when another one is opened", () => {
    const session = new Session();
    session.send("Hello", "m1");
    session.openConversation("other");
    expect(session.visibleMessages().pending).toBeNull();
    const [follow, send] = sent(welcome(session));
    expect(follow).toMatchObject({ type: "follow", conversation: "other" });
    receive(session, { type: "ack", re: send!.id!, conversation: "c", reply: "r", message: "q" });
    expect(session.conversation?.id).toBe("other");
    expect(session.outbox.items).toEqual([]);
  });

  test("shows an edited message in place of the old one", () => {
    const session = followed(new Session());
    receive(session, { type: "message", message: { ...REPLY, status: "complete", text: "x" } });
    session.edit(session.conversation!.messages.get("q")!, "Good day", "m2");
    expect(session.visibleMessages().nodes).toEqual([]);
    const [edit] = session.outbox.items;
    receive(session, { type: "ack", re: edit!.command.id, conversation: "c", reply: "r2", message: "q2" });
    expect(session.visibleMessages().nodes.map((node) => [node.message.id, node.siblings.length])).toEqual([
      ["q2", 2],
      ["r2", 1],
    ]);
  });

  test("adds a regenerated reply beside the old one", () => {
    const session = followed(new Session());
    receive(session, { type: "message", message: { ...REPLY, status: "complete", text: "x" } });
    const [again] = sent(session.regenerate(session.conversation!.messages.get("r")!, "m3"));
    receive(session, { type: "ack", re: again!.id!, conversation: "c", reply: "r2" });
    expect(session.visibleMessages().nodes.map((node) => [node.message.id, node.siblings.length])).toEqual([
      ["q", 1],
      ["r2", 2],
    ]);
    expect(sent(session.showBranch("r"))).toMatchObject([{ type: "show", message: "r" }]);
  });
});

describe("stopping", () => {
  test("is sent to the server, also after a disconnect", () => {
    const session = followed(new Session());
    session.onClosed(1006, "", 0, 0);
    expect(sent(session.stop().effects)).toEqual([]);
    session.retryNow(0);
    const frames = sent(receive(session, { type: "welcome", user: "ada", server: "0" }));
    expect(frames.map((each) => each.type)).toEqual(["follow", "stop"]);
  });

  test("ends when the reply ends", () => {
    const session = followed(new Session());
    session.stop();
    receive(session, { type: "delta", stream: "r", epoch: "e", from: 0, to: 1, events: [{ type: "finished", reason: "stopped" }] });
    expect(session.stopping).toBe(false);
    expect(session.busy).toBe(false);
  });
});

// A simulated server that disconnects at random. The received text must be the written text.
test.each([...Array(200).keys()])("seed %i: the text is exact despite disconnects, resets and repeats", (seed) => {
  const random = rng(seed);
  const letters = [..."A slur joins two notes, and what it joins is played in one breath."];
  let epoch = "e0";
  let log: string[] = [];
  const session = new Session();
  session.openConversation("c");
  let cursor = 0;
  let wire: ServerMessage[] = [];
  const sendDelta = () => {
    if (cursor < log.length) {
      const to = cursor + 1 + Math.floor(random() * (log.length - cursor));
      wire.push(delta(cursor, to, log.slice(cursor, to).join(""), epoch));
      cursor = to;
    }
  };
  const answer = (effects: Effect[]) => {
    for (const message of sent(effects)) {
      if (message.type !== "follow") continue;
      const held = message.positions?.[0];
      const good = held && held.epoch === epoch && held.offset <= log.length;
      cursor = good ? held.offset : 0;
      wire.push({ type: "following", re: message.id!, conversation: VIEW, messages: message.since === 0 ? [QUESTION, REPLY] : [] });
      if (held && !good) wire.push({ type: "reset", stream: "r", reason: "epoch", epoch });
    }
  };
  const deliver = () => {
    const message = wire.shift();
    if (message) answer(receive(session, message));
  };
  answer(welcome(session));
  while (log.length < letters.length || cursor < log.length || wire.length > 0) {
    const dice = random();
    if (dice < 0.4 && log.length < letters.length) log.push(letters[log.length]!);
    else if (dice < 0.6) sendDelta();
    else if (dice < 0.93) deliver();
    else if (dice < 0.97) {
      wire = [];
      session.onClosed(1006, "", 0, random());
      session.retryNow(0);
      answer(receive(session, { type: "welcome", user: "ada", server: "0" }));
    } else if (dice < 0.98) {
      if (wire[0]?.type === "delta") wire.shift();
    } else if (dice < 0.985) {
      // The server restarts and has only a part of the log.
      epoch += "+";
      log = log.slice(0, Math.floor(random() * log.length));
      wire = [];
      cursor = 0;
      session.onClosed(1006, "", 0, random());
      session.retryNow(0);
      answer(receive(session, { type: "welcome", user: "ada", server: "0" }));
    }
  }
  // If the last frame was dropped, the next frame shows the gap.
  log.push(".");
  sendDelta();
  for (let i = 0; i < 20 && (wire.length > 0 || cursor < log.length); i++) {
    while (wire.length > 0) deliver();
    sendDelta();
  }
  expect(text(session)).toBe(letters.join("") + ".");
});
