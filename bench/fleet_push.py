"""How soon a job is at an idle agent, and how long a token takes from an agent through the gateway.

    python bench/fleet.py push [--jobs 500] [--seconds 4] [--rate 5000]

The server is `legato serve` with nothing but its fleet. This process is at both ends, with plain sockets that it polls: it
is the one agent, of the second generation, and the one who asks, at the door of the first generation's browsers
(`/api/chat/completions`, where nothing is stored) and at the native one (conversations in SQLite, committed before the job
leaves). One clock tells both times, this process's own part included. Tokens leave one a frame, each at its time.

Beside it, in turn, stands what the fleet replaces (`polling.py`): the agent asks for a job every 500 ms and posts each
token. Its agent is kind to it: it keeps its connection, on this machine, and a token's time begins when its POST does, not
when it is ready and the one before is still under way.
"""

import argparse
import base64
import json
import os
import random
import re
import secrets
import socket
import struct
import time
from typing import Any

from fleet_goals import Goal, quantiles
from harness import BENCH, FLEET, LOAD_CORE, PYTHON, FailedRunError, Peer, cpu_seconds, serving, token
from legato.protocol.messages import PROTOCOL

PUSH_GOAL = 1.0
TOKEN_GOAL = 50.0
PATIENCE = 20.0
POLL_SECONDS = 0.5

POLLING = Peer("polling relay", [PYTHON, str(BENCH / "polling.py"), "{port}"])

JOB = re.compile(rb'"type":"job","jobId":"([^"]+)"')
STAMP = re.compile(rb"<(\d+)>")
END = re.compile(rb'\[DONE\]|"type":"finished"')
BROKEN = re.compile(rb'"error":"|"type":"(?:error|failed)"')
ANSWER = re.compile(rb"\r\n\r\n(\{.*?\})", re.DOTALL)


class Polled:
    """A socket that is polled. What came is looked through and forgotten."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.came = b""

    def upgrade(self, path: str, protocol: str = "", key: str = "") -> None:
        """Become a WebSocket."""
        nonce = base64.b64encode(secrets.token_bytes(16)).decode()
        more = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
        more += f"Authorization: Bearer {key}\r\n" if key else ""
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n".encode()
        )
        self.until(re.compile(rb" 101 .*\r\n\r\n", re.DOTALL))

    def post(self, path: str, body: bytes, key: str = "") -> None:
        """Send a request, and wait for nothing."""
        authorised = f"Authorization: Bearer {key}\r\n".encode() if key else b""
        self.socket.sendall(
            b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b"
            % (path.encode(), authorised, len(body), body)
        )

    def say(self, **message: Any) -> None:
        self.frame(json.dumps(message, separators=(",", ":")).encode())

    def frame(self, payload: bytes) -> None:
        """A text frame. Its mask is zero, so that the payload stays as it is."""
        length = len(payload)
        head = bytes([0x81, 0x80 | length]) if length < 126 else struct.pack("!BBH", 0x81, 0xFE, length)
        self.socket.sendall(head + b"\0\0\0\0" + payload)

    def poll(self) -> bytes:
        """What came since the last time."""
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return b""
        if not data:
            raise FailedRunError("The server has hung up.")
        return data

    def until(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        """Wait for this, and forget all that came before its end."""
        late = time.monotonic() + PATIENCE
        while (found := pattern.search(self.came)) is None:
            self.came += self.poll()
            if time.monotonic() > late:
                raise FailedRunError(f"{pattern.pattern!r} never came, but {self.came[-300:]!r}")
        self.came = self.came[found.end() :]
        return found


class Completions(Polled):
    """The door of the first generation's browsers."""

    name = "completions"

    def __init__(self, port: int, key: str = "") -> None:
        super().__init__(port)
        self._key = key

    def ask(self) -> None:
        body = b'{"model":"m","messages":[{"role":"user","content":"Hello"}]}'
        self.post("/api/chat/completions", body, self._key)


class Native(Polled):
    """The native protocol; every message begins a conversation."""

    name = "native"

    def __init__(self, port: int, key: str) -> None:
        super().__init__(port)
        self.upgrade("/ws", PROTOCOL, key)

    def ask(self) -> None:
        self.say(type="send", client_message_id=secrets.token_hex(8), text="Hello", conversation=None)


class PushedAgent(Polled):
    """An agent of the second generation."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.upgrade("/ws/agents?key=bench")
        facts = [{"name": "m", "can": {"continues": True}}]
        self.say(
            type="register", protocol=2, slots=1, models=["m"], facts=facts, name="bench", instance="bench"
        )
        self.until(re.compile(rb'"type":"registered"'))
        self.job = ""

    def take(self) -> None:
        self.job = self.until(JOB)[1].decode()

    def write(self, offset: int, *events: dict[str, str]) -> None:
        self.say(type="events", jobId=self.job, attempt=1, **{"from": offset}, events=events)

    def token(self, offset: int) -> None:
        """A token that says when it left."""
        head = f'{{"type":"events","jobId":"{self.job}","attempt":1,"from":{offset},'
        self.frame(f'{head}"events":[{{"type":"text","text":"<{time.perf_counter_ns()}>"}}]}}'.encode())

    def end(self, offset: int) -> None:
        self.write(offset, {"type": "ended", "reason": "stop", "model": "m"})

    def ready(self) -> bool:
        """Whether the next token may leave; this agent may always send."""
        self.poll()
        return True


class PollingAgent(Polled):
    """An agent that asks and posts, one request at a time."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.job = ""
        self._owed = False

    def take(self) -> None:
        """Ask every half second. A person asks at any moment in between."""
        time.sleep(random.uniform(0, POLL_SECONDS))
        while not self.job:
            self.socket.sendall(b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.job = json.loads(self.until(ANSWER)[1]).get("jobId", "")
            if not self.job:
                time.sleep(POLL_SECONDS)

    def _post(self, text: str, *, done: bool) -> None:
        body = json.dumps({"jobId": self.job, "token": text, "done": done}).encode()
        self.post("/tokens", body)
        self._owed = True

    def token(self, _: int) -> None:
        self._post(f"<{time.perf_counter_ns()}>", done=False)

    def write(self, _: int, event: dict[str, str]) -> None:
        self._post(event["text"], done=False)

    def end(self, _: int) -> None:
        self._wait()
        self._post("", done=True)
        self._wait()
        self.job = ""

    def _wait(self) -> None:
        if self._owed:
            self.until(ANSWER)
            self._owed = False

    def ready(self) -> bool:
        """Whether the token before was taken."""
        self.came += self.poll()
        found = ANSWER.search(self.came)
        if found:
            self.came, self._owed = self.came[found.end() :], False
        return not self._owed


Asker = Completions | Native
BenchAgent = PushedAgent | PollingAgent


def push(agent: BenchAgent, asker: Asker, jobs: int) -> list[float]:
    """Milliseconds from each question to its job's arrival; the agent is idle each time."""
    found = []
    for _ in range(jobs):
        begun = time.perf_counter_ns()
        asker.ask()
        agent.take()
        found.append((time.perf_counter_ns() - begun) / 1e6)
        agent.write(0, {"type": "text", "text": "Yes."})
        agent.end(1)
        asker.until(END)
    return found


def stream(agent: BenchAgent, asker: Asker, rate: int, seconds: float) -> dict[str, Any]:
    """Tokens at their time, or as soon after it as the agent may send: microseconds of each from its `send` to its arrival."""
    asker.ask()
    agent.take()
    found: list[float] = []
    sent, reads, rest = 0, 0, b""
    begun = time.perf_counter_ns()
    end = begun + int(seconds * 1e9)
    while True:
        now = time.perf_counter_ns()
        if now < end:
            if now >= begun + sent * 1_000_000_000 // rate and agent.ready():
                agent.token(sent)
                sent += 1
        elif len(found) == sent:
            break
        elif now > end + PATIENCE * 1e9:
            raise FailedRunError(f"Only {len(found)} of {sent} tokens arrived.")
        came = asker.poll()
        if came:
            now = time.perf_counter_ns()
            reads += 1
            rest += came
            last = 0
            for stamp in STAMP.finditer(rest):
                found.append((now - int(stamp[1])) / 1000)
                last = stamp.end()
            if BROKEN.search(rest):
                raise FailedRunError(rest.decode(errors="replace"))
            rest = rest[last:]
    agent.end(sent)
    asker.until(END)
    return {
        "token_us": quantiles(found),
        "tokens": sent,
        "tokens_per_s": sent / seconds,
        "per_arrival": len(found) / reads,
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--polled-jobs", type=int, default=40, help="of them by the polling relay")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rate", type=int, default=5000, help="tokens per second")


def measure(given: argparse.Namespace) -> tuple[dict[str, Any], list[Goal]]:
    """The figures by door, and what they should be.

    :raises FailedRunError: a server did not do its part.
    """
    figures: dict[str, Any] = {}
    before = os.sched_getaffinity(0)
    key = token(0)

    def both(agent: BenchAgent, asker: Asker, name: str, jobs: int, pid: int) -> None:
        waits = quantiles(push(agent, asker, jobs))
        spent = cpu_seconds(pid)
        found = stream(agent, asker, given.rate, given.seconds)
        spent = cpu_seconds(pid) - spent
        figures[name] = {"push_ms": waits, "cpu_us": spent / found["tokens"] * 1e6, **found}
        ways = figures[name]["token_us"]
        print(
            f"  {name:14} job at the agent: p50 {waits['p50']:7.2f} ms  p99 {waits['p99']:7.2f} ms   "
            f"a token: p50 {ways['p50']:6.0f} µs  p99 {ways['p99']:7.0f} µs  "
            f"{figures[name]['cpu_us']:5.0f} µs of CPU  {figures[name]['tokens_per_s']:,.0f} tokens/s "
            f"({figures[name]['per_arrival']:.2f} an arrival)"
        )

    print(f"Push, and tokens at {given.rate:,}/s through the gateway")
    try:
        with serving(FLEET) as server, serving(POLLING) as polling:
            os.sched_setaffinity(0, {LOAD_CORE})
            agent = PushedAgent(server.port)
            for asker in (Completions(server.port, key), Native(server.port, key)):
                push(agent, asker, max(1, given.jobs // 10))
                both(agent, asker, asker.name, given.jobs, server.pid)
            polled = PollingAgent(polling.port), Completions(polling.port)
            both(*polled, "polling relay", given.polled_jobs, polling.pid)
    finally:
        os.sched_setaffinity(0, before)
    goals = []
    relay = figures["polling relay"]
    for name in ("completions", "native"):
        found = figures[name]
        waits, ways = found["push_ms"]["p50"], found["token_us"]["p50"]
        found["push_ratio"] = relay["push_ms"]["p50"] / waits
        found["token_ratio"] = relay["token_us"]["p50"] / ways
        goals.append(
            Goal(
                f"{name}: a job at an idle agent: {waits:.2f} ms at p50 (goal ≤{PUSH_GOAL:g} ms), "
                f"{found['push_ratio']:.0f}× sooner than by polling",
                waits <= PUSH_GOAL,
            )
        )
        goals.append(
            Goal(
                f"{name}: a token through the gateway: {ways:.0f} µs at p50 (goal ≤{TOKEN_GOAL:g} µs), "
                f"{found['token_ratio']:.1f}× sooner than by POST, for 1/{relay['cpu_us'] / found['cpu_us']:.0f} of the CPU",
                ways <= TOKEN_GOAL,
            )
        )
    return figures, goals
