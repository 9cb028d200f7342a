import { describe, expect, test } from "vitest";
import { delay } from "../src/state/backoff";
import { Link, reconnects } from "../src/state/link";

function live(now = 0): Link {
  const link = new Link();
  link.connect(now);
  link.welcomed(now);
  return link;
}

describe("coming back", () => {
  test("waits 1, 2, 4 … 30 seconds, shortened by up to half", () => {
    expect([0, 1, 2, 3, 4, 5, 40].map((attempt) => delay(attempt, 0))).toEqual([1e3, 2e3, 4e3, 8e3, 16e3, 3e4, 3e4]);
    expect(delay(2, 1)).toBe(2000);
  });

  test("is tried when its time has come, not before", () => {
    const link = live();
    link.closed(1006, "", 100, 0);
    expect(link.phase).toBe("reconnecting");
    expect(link.tick(1000, 0)).toEqual([]);
    expect(link.tick(1100, 0)).toEqual([{ do: "connect" }]);
  });

  test("is tried at once when a person asks, or looks at the page", () => {
    const link = live();
    link.closed(1006, "", 0, 0);
    expect(link.nudge(1)).toEqual([{ do: "connect" }]);
  });

  test("loses hope after a few attempts, and goes on", () => {
    const link = live();
    let now = 0;
    for (let i = 0; i < 4; i++) {
      link.closed(1006, "", now, 0);
      now = link.retryAt!;
      expect(link.tick(now, 0)).toEqual([{ do: "connect" }]);
    }
    expect(link.phase).toBe("offline");
    expect(link.welcomed(now)).toBe(true);
    expect(link.phase).toBe("live");
    link.closed(1006, "", now, 0);
    expect(link.retryAt).toBe(now + 1000);
  });

  test("does not happen after a close that says do not", () => {
    const link = live();
    link.closed(4001, "Your token ran out.", 0, 0);
    expect(link.phase).toBe("refused");
    expect(link.refusal).toEqual({ code: 4001, reason: "Your token ran out." });
    expect(link.tick(1e9, 0)).toEqual([]);
    expect(link.connect(2)).toEqual([{ do: "connect" }]);
  });

  test("is right after the codes that say so", () => {
    expect([1000, 1001, 1006, 1011, 1012, 4100, 4101, 4102].every(reconnects)).toBe(true);
    expect([4000, 4001, 4003, 4004, 4099, 1002, 1009].some(reconnects)).toBe(false);
  });
});

describe("the heartbeat", () => {
  test("pings after 20 s of silence and calls the socket dead 10 s later", () => {
    const link = live();
    expect(link.tick(19_000, 0)).toEqual([]);
    expect(link.tick(20_000, 0)).toEqual([{ do: "ping" }]);
    expect(link.tick(29_000, 0)).toEqual([]);
    expect(link.tick(30_000, 0)).toEqual([{ do: "close" }]);
    expect(link.phase).toBe("reconnecting");
  });

  test("is satisfied with any sign of life", () => {
    const link = live();
    link.tick(20_000, 0);
    link.heard(25_000);
    expect(link.tick(40_000, 0)).toEqual([]);
    expect(link.tick(45_000, 0)).toEqual([{ do: "ping" }]);
  });

  test("has little patience after the machine slept", () => {
    const link = live();
    expect(link.tick(1e7, 0)).toEqual([{ do: "ping" }]);
    expect(link.tick(1e7 + 3000, 0)).toEqual([{ do: "close" }]);
  });

  test("doubts the socket when the network goes, and believes an answer", () => {
    const link = live();
    expect(link.doubt(1000)).toEqual([{ do: "ping" }]);
    link.heard(1500);
    expect(link.tick(5000, 0)).toEqual([]);
    expect(link.phase).toBe("live");
  });

  test("is offline at once where the doubt was right", () => {
    const link = live();
    link.doubt(1000);
    expect(link.tick(4000, 0)).toEqual([{ do: "close" }]);
    expect(link.phase).toBe("offline");
    expect(link.nudge(5000)).toEqual([{ do: "connect" }]);
    expect(link.phase).toBe("reconnecting");
  });

  test("gives a handshake 10 s", () => {
    const link = new Link();
    link.connect(0);
    expect(link.phase).toBe("connecting");
    expect(link.tick(10_000, 0)).toEqual([{ do: "close" }]);
  });
});
