import { describe, expect, test } from "vitest";
import { backoffDelay } from "../src/state/backoff";
import { Connection, shouldReconnect } from "../src/state/connection";

function live(now = 0): Connection {
  const connection = new Connection();
  connection.connect(now);
  connection.onWelcome(now);
  return connection;
}

describe("reconnecting", () => {
  test("waits 1, 2, 4 … 30 seconds, shortened at random by up to half", () => {
    expect([0, 1, 2, 3, 4, 5, 40].map((attempt) => backoffDelay(attempt, 0))).toEqual([1e3, 2e3, 4e3, 8e3, 16e3, 3e4, 3e4]);
    expect(backoffDelay(2, 1)).toBe(2000);
  });

  test("starts when the delay is over, not before", () => {
    const connection = live();
    connection.onClosed(1006, "", 100, 0);
    expect(connection.phase).toBe("reconnecting");
    expect(connection.tick(1000, 0)).toEqual([]);
    expect(connection.tick(1100, 0)).toEqual([{ type: "connect" }]);
  });

  test("starts at once on retryNow", () => {
    const connection = live();
    connection.onClosed(1006, "", 0, 0);
    expect(connection.retryNow(1)).toEqual([{ type: "connect" }]);
  });

  test("shows offline after a few attempts, and continues", () => {
    const connection = live();
    let now = 0;
    for (let i = 0; i < 4; i++) {
      connection.onClosed(1006, "", now, 0);
      now = connection.retryAt!;
      expect(connection.tick(now, 0)).toEqual([{ type: "connect" }]);
    }
    expect(connection.phase).toBe("offline");
    expect(connection.onWelcome(now)).toBe(true);
    expect(connection.phase).toBe("live");
    connection.onClosed(1006, "", now, 0);
    expect(connection.retryAt).toBe(now + 1000);
  });

  test("does not happen after a close code that forbids it", () => {
    const connection = live();
    connection.onClosed(4001, "Your token ran out.", 0, 0);
    expect(connection.phase).toBe("refused");
    expect(connection.refusal).toEqual({ code: 4001, reason: "Your token ran out." });
    expect(connection.tick(1e9, 0)).toEqual([]);
    expect(connection.connect(2)).toEqual([{ type: "connect" }]);
  });

  test("depends on the close code", () => {
    expect([1000, 1001, 1006, 1011, 1012, 4100, 4101, 4102].every(shouldReconnect)).toBe(true);
    expect([4000, 4001, 4003, 4004, 4099, 1002, 1009].some(shouldReconnect)).toBe(false);
  });
});

describe("the heartbeat", () => {
  test("pings after 20 s without a frame and closes the socket 10 s later", () => {
    const connection = live();
    expect(connection.tick(19_000, 0)).toEqual([]);
    expect(connection.tick(20_000, 0)).toEqual([{ type: "ping" }]);
    expect(connection.tick(29_000, 0)).toEqual([]);
    expect(connection.tick(30_000, 0)).toEqual([{ type: "close" }]);
    expect(connection.phase).toBe("reconnecting");
  });

  test("accepts any frame as a sign of life", () => {
    const connection = live();
    connection.tick(20_000, 0);
    connection.onReceived(25_000);
    expect(connection.tick(40_000, 0)).toEqual([]);
    expect(connection.tick(45_000, 0)).toEqual([{ type: "ping" }]);
  });

  test("uses the short timeout after the machine was asleep", () => {
    const connection = live();
    expect(connection.tick(1e7, 0)).toEqual([{ type: "ping" }]);
    expect(connection.tick(1e7 + 3000, 0)).toEqual([{ type: "close" }]);
  });

  test("pings if the network is lost, and stays live if the server answers", () => {
    const connection = live();
    expect(connection.onNetworkLost(1000)).toEqual([{ type: "ping" }]);
    connection.onReceived(1500);
    expect(connection.tick(5000, 0)).toEqual([]);
    expect(connection.phase).toBe("live");
  });

  test("is offline at once if the server does not answer after the network is lost", () => {
    const connection = live();
    connection.onNetworkLost(1000);
    expect(connection.tick(4000, 0)).toEqual([{ type: "close" }]);
    expect(connection.phase).toBe("offline");
    expect(connection.retryNow(5000)).toEqual([{ type: "connect" }]);
    expect(connection.phase).toBe("reconnecting");
  });

  test("closes the socket if the handshake takes 10 s", () => {
    const connection = new Connection();
    connection.connect(0);
    expect(connection.phase).toBe("connecting");
    expect(connection.tick(10_000, 0)).toEqual([{ type: "close" }]);
  });
});
