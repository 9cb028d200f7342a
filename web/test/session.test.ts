import { describe, expect, test } from "vitest";
import type { ClientMessage, Delta, Follow, MessageView, ServerMessage } from "../src/protocol";
import { type Effect, Session } from "../src/state/session";
import { rng } from "./rng";

const AT = "2026-01-01T00:00:00Z";
const VIEW = { id: "c", title: "Slurs", assistant: "default", revision: 2, created_at: AT, updated_at: AT, head: "r" };
const QUESTION: MessageView = { id: "q", conversation: "c", role: "user", status: "complete", created_at: AT, revision: 1, text: "Hello" };
const REPLY: MessageView = { id: "r", conversation: "c", role: "assistant", status: "streaming", created_at: AT, revision: 2, parent: "q" };

function sent(effects: Effect[]): ClientMessage[] {
  return effects.flatMap((effect) => (effect.do === "send" ? [effect.message] : []));
}

function say(session: Session, message: ServerMessage, now = 0): Effect[] {
  return session.message(message, now, AT);
}

function welcome(session: Session, now = 0): Effect[] {
  session.connect(now);
  return say(session, { type: "welcome", user: "ada", server: "0" }, now);
}

function following(session: Session): Session {
  session.open("c");
  const [follow] = sent(welcome(session));
  say(session, { type: "following", re: follow!.id!, conversation: VIEW, messages: [QUESTION, REPLY] });
  return session;
}

function delta(from: number, to: number, text: string, epoch = "e"): Delta {
  return { type: "delta", stream: "r", epoch, from, to, events: [{ type: "text", text }] };
}

function text(session: Session): string {
  return session.thread?.replies.get("r")?.fold.text ?? session.thread?.messages.get("r")?.text ?? "";
}

describe("a refusal", () => {
  const REFUSED = { type: "error", code: "unauthenticated", message: "Your token has expired. Get a new one." } as const;

  test("is told in the sentence that came before the socket was closed", () => {
    const session = new Session();
    session.connect(0);
    say(session, REFUSED);
    session.closed(4001, "not authenticated", 0, 0);
    expect(session.link.refusal?.reason).toBe("Your token has expired. Get a new one.");
    expect(session.notice).toBeNull();
  });

  test("is not told in a sentence about something else", () => {
    const session = new Session();
    session.connect(0);
    say(session, REFUSED);
    say(session, { type: "pong" });
    session.closed(4004, "the token has expired", 0, 0);
    expect(session.link.refusal?.reason).toBe("the token has expired");
  });
});

describe("following", () => {
  test("after a refresh asks for everything", () => {
    const session = new Session();
    session.open("c");
    expect(sent(welcome(session))).toMatchObject([{ type: "follow", conversation: "c", since: 0, positions: [] }]);
  });

  test("after a cut asks for what it has not seen, and says so when it is back", () => {
    const session = following(new Session());
    say(session, delta(0, 3, "abc"));
    session.closed(1006, "", 10, 0);
    expect(session.phase).toBe("reconnecting");
    session.nudge(20);
    const [follow] = sent(say(session, { type: "welcome", user: "ada", server: "0" }, 30));
    expect(follow).toMatchObject({ since: 2, positions: [{ stream: "r", epoch: "e", offset: 3 }] });
    expect(session.backUntil).toBe(0);
    say(session, { type: "following", re: follow!.id!, conversation: VIEW, messages: [] }, 40);
    expect(session.backUntil).toBe(2040);
    session.tick(2040, 0);
    expect(session.backUntil).toBe(0);
  });

  test("takes each offset once", () => {
    const session = following(new Session());
    say(session, delta(0, 2, "ab"));
    expect(say(session, delta(0, 2, "ab"))).toEqual([]);
    say(session, delta(2, 3, "c"));
    expect(text(session)).toBe("abc");
  });

  test("asks again on a gap, and leaves alone what is still under way", () => {
    const session = following(new Session());
    say(session, delta(0, 1, "a"));
    const [follow] = sent(say(session, delta(2, 3, "c")));
    expect(follow).toMatchObject({ type: "follow", positions: [{ stream: "r", epoch: "e", offset: 1 }] });
    expect(say(session, delta(3, 4, "d"))).toEqual([]);
    say(session, { type: "following", re: follow!.id!, conversation: VIEW, messages: [] });
    say(session, delta(1, 4, "bcd"));
    expect(text(session)).toBe("abcd");
  });

  test("does not ask for ever: a second gap begins the stream again", () => {
    const session = following(new Session());
    say(session, delta(0, 1, "a"));
    for (const positions of [[{ stream: "r", epoch: "e", offset: 1 }], []]) {
      const [follow] = sent(say(session, delta(5, 6, "?")));
      expect((follow as Follow).positions).toEqual(positions);
      say(session, { type: "following", re: follow!.id!, conversation: VIEW, messages: [] });
    }
    say(session, delta(0, 6, "abcdef"));
    expect(text(session)).toBe("abcdef");
  });

  test("never joins two incarnations of a stream", () => {
    const session = following(new Session());
    say(session, delta(0, 3, "abc"));
    expect(sent(say(session, delta(3, 4, "X", "other")))).toMatchObject([{ type: "follow" }]);
    expect(text(session)).toBe("abc");
  });

  test("keeps the text on the page through a reset until it is told again", () => {
    const session = following(new Session());
    say(session, delta(0, 3, "abc"));
    say(session, { type: "reset", stream: "r", reason: "epoch", epoch: "f" });
    expect(text(session)).toBe("abc");
    say(session, delta(0, 1, "x", "f"));
    expect(text(session)).toBe("x");
  });

  test("lets the finished message stand in for its stream", () => {
    const session = following(new Session());
    say(session, delta(0, 1, "a"));
    const effects = say(session, { type: "message", message: { ...REPLY, status: "complete", text: "all of it", revision: 3 } });
    expect(effects).toContainEqual({ do: "ended", stream: "r" });
    expect(text(session)).toBe("all of it");
    expect(session.busy).toBe(false);
    expect(say(session, delta(1, 2, "b"))).toEqual([]);
  });

  test("knows all of a revision only when the last piece has come", () => {
    const session = new Session();
    session.open("c");
    const [first] = sent(welcome(session));
    say(session, { type: "following", re: first!.id!, conversation: VIEW, messages: [QUESTION], more: true });
    session.closed(1006, "", 0, 0);
    session.nudge(0);
    const [second] = sent(say(session, { type: "welcome", user: "ada", server: "0" }));
    expect(second).toMatchObject({ type: "follow", since: 0 });
    say(session, { type: "following", re: second!.id!, conversation: VIEW, messages: [QUESTION], more: true });
    say(session, { type: "messages", re: second!.id!, conversation: "c", messages: [REPLY] });
    expect(session.shown().places.map((place) => place.message.id)).toEqual(["q", "r"]);
    session.closed(1006, "", 0, 0);
    session.nudge(0);
    expect(sent(say(session, { type: "welcome", user: "ada", server: "0" }))).toMatchObject([{ type: "follow", since: 2 }]);
  });

  test("starts over where the server knows less than we do", () => {
    const session = following(new Session());
    session.closed(1006, "", 0, 0);
    session.nudge(0);
    const [first] = sent(say(session, { type: "welcome", user: "ada", server: "0" }));
    const [second] = sent(say(session, { type: "following", re: first!.id!, conversation: { ...VIEW, revision: 1 }, messages: [] }));
    expect(second).toMatchObject({ type: "follow", since: 0, positions: [] });
  });

  test("a conversation that is not there is missing, without a word about whose it is", () => {
    const session = new Session();
    session.open("c");
    const [follow] = sent(welcome(session));
    say(session, { type: "error", re: follow!.id!, code: "not_found", message: "There is no such conversation." });
    expect(session.thread?.missing).toBe(true);
  });
});

describe("sending", () => {
  test("shows the message at once, and its reply when it is stored", () => {
    const session = new Session();
    welcome(session);
    const [send] = sent(session.send("Hello", "m1"));
    expect(send).toMatchObject({ type: "send", client_message_id: "m1", conversation: null, text: "Hello" });
    expect(session.shown().pending?.command).toMatchObject({ text: "Hello" });
    const effects = say(session, { type: "ack", re: send!.id!, conversation: "c", reply: "r", message: "q" });
    expect(effects).toContainEqual({ do: "named", conversation: "c" });
    expect(effects).toContainEqual({ do: "started", stream: "r" });
    const { places, pending } = session.shown();
    expect(pending).toBeNull();
    expect(places.map((place) => place.message.id)).toEqual(["q", "r"]);
  });

  test("loses nothing where the reply is told before the ack", () => {
    const session = new Session();
    welcome(session);
    const [send] = sent(session.send("Hello", "m1"));
    say(session, { type: "message", message: QUESTION });
    say(session, { type: "message", message: REPLY });
    say(session, delta(0, 2, "ab"));
    say(session, { type: "ack", re: send!.id!, conversation: "c", reply: "r", message: "q" });
    say(session, delta(2, 3, "c"));
    expect(text(session)).toBe("abc");
  });

  test("waits for the connection, and tells again what was cut before its ack", () => {
    const session = new Session();
    session.send("Hello", "m1");
    expect(sent(welcome(session))).toMatchObject([{ type: "send", client_message_id: "m1" }]);
    session.closed(1006, "", 0, 0);
    session.nudge(0);
    expect(sent(say(session, { type: "welcome", user: "ada", server: "0" }))).toMatchObject([{ type: "send", client_message_id: "m1" }]);
  });

  test("can be taken back while nobody was told", () => {
    const session = new Session();
    session.send("Hello", "m1");
    expect(session.stop().text).toBe("Hello");
    expect(session.shown().pending).toBeNull();
  });

  test("says beside the message why it was refused, and sends it again when asked", () => {
    const session = new Session();
    welcome(session);
    const [send] = sent(session.send("Hello", "m1"));
    say(session, { type: "error", re: send!.id!, code: "busy", message: "Too many at once. Wait a moment." });
    expect(session.shown().pending?.refusal?.message).toBe("Too many at once. Wait a moment.");
    expect(session.busy).toBe(false);
    expect(sent(session.again())).toMatchObject([{ type: "send", client_message_id: "m1" }]);
  });

  test("is not told where it is longer than the server takes, and is given back", () => {
    const session = new Session();
    session.connect(0);
    say(session, { type: "welcome", user: "ada", server: "0", max_frame_bytes: 1024 });
    expect(sent(session.send("ä".repeat(600), "m1"))).toEqual([]);
    expect(session.shown().pending?.refusal?.code).toBe("too_large");
    expect(session.busy).toBe(false);
  });

  test("stays with its conversation when another one is opened", () => {
    const session = new Session();
    session.send("Hello", "m1");
    session.open("other");
    expect(session.shown().pending).toBeNull();
    const [follow, send] = sent(welcome(session));
    expect(follow).toMatchObject({ type: "follow", conversation: "other" });
    say(session, { type: "ack", re: send!.id!, conversation: "c", reply: "r", message: "q" });
    expect(session.thread?.id).toBe("other");
    expect(session.outbox.items).toEqual([]);
  });

  test("another wording stands where the old one stood", () => {
    const session = following(new Session());
    say(session, { type: "message", message: { ...REPLY, status: "complete", text: "x" } });
    session.edit(session.thread!.messages.get("q")!, "Good day", "m2");
    expect(session.shown().places).toEqual([]);
    const [edit] = session.outbox.items;
    say(session, { type: "ack", re: edit!.command.id, conversation: "c", reply: "r2", message: "q2" });
    expect(session.shown().places.map((place) => [place.message.id, place.siblings.length])).toEqual([
      ["q2", 2],
      ["r2", 1],
    ]);
  });

  test("another reply stands beside the old one", () => {
    const session = following(new Session());
    say(session, { type: "message", message: { ...REPLY, status: "complete", text: "x" } });
    const [again] = sent(session.regenerate(session.thread!.messages.get("r")!, "m3"));
    say(session, { type: "ack", re: again!.id!, conversation: "c", reply: "r2" });
    expect(session.shown().places.map((place) => [place.message.id, place.siblings.length])).toEqual([
      ["q", 1],
      ["r2", 2],
    ]);
    expect(sent(session.show("r"))).toMatchObject([{ type: "show", message: "r" }]);
  });
});

describe("stopping", () => {
  test("reaches the server, also when it was pressed during a cut", () => {
    const session = following(new Session());
    session.closed(1006, "", 0, 0);
    expect(sent(session.stop().effects)).toEqual([]);
    session.nudge(0);
    const told = sent(say(session, { type: "welcome", user: "ada", server: "0" }));
    expect(told.map((each) => each.type)).toEqual(["follow", "stop"]);
  });

  test("is over when the reply has ended", () => {
    const session = following(new Session());
    session.stop();
    say(session, { type: "delta", stream: "r", epoch: "e", from: 0, to: 1, events: [{ type: "finished", reason: "stopped" }] });
    expect(session.stopping).toBe(false);
    expect(session.busy).toBe(false);
  });
});

// A server as the protocol describes it, cut at random: what arrives must be what was written.
test.each([...Array(200).keys()])("seed %i: cuts, resets and repeats leave exactly the text", (seed) => {
  const random = rng(seed);
  const letters = [..."A slur joins two notes, and what it joins is played in one breath."];
  let epoch = "e0";
  let log: string[] = [];
  const session = new Session();
  session.open("c");
  let cursor = 0;
  let wire: ServerMessage[] = [];
  const pump = () => {
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
    if (message) answer(say(session, message));
  };
  answer(welcome(session));
  while (log.length < letters.length || cursor < log.length || wire.length > 0) {
    const dice = random();
    if (dice < 0.4 && log.length < letters.length) log.push(letters[log.length]!);
    else if (dice < 0.6) pump();
    else if (dice < 0.93) deliver();
    else if (dice < 0.97) {
      wire = [];
      session.closed(1006, "", 0, random());
      session.nudge(0);
      answer(say(session, { type: "welcome", user: "ada", server: "0" }));
    } else if (dice < 0.98) {
      if (wire[0]?.type === "delta") wire.shift();
    } else if (dice < 0.985) {
      // The server was killed and kept a part.
      epoch += "+";
      log = log.slice(0, Math.floor(random() * log.length));
      wire = [];
      cursor = 0;
      session.closed(1006, "", 0, random());
      session.nudge(0);
      answer(say(session, { type: "welcome", user: "ada", server: "0" }));
    }
  }
  // A frame that was dropped at the very end leaves a gap that the next one shows.
  log.push(".");
  pump();
  for (let i = 0; i < 20 && (wire.length > 0 || cursor < log.length); i++) {
    while (wire.length > 0) deliver();
    pump();
  }
  expect(text(session)).toBe(letters.join("") + ".");
});
