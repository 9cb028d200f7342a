"""What the fleet adds: how soon a job is at an idle agent, and how long a token takes through the gateway.

    python bench/fleet.py [--jobs 500] [--seconds 4] [--rate 5000]

The server is `legato serve` with nothing but its fleet. This process is at both ends, with plain sockets that it polls: it
is the one agent, of the second generation, and the one who asks, at the door of the first generation's browsers
(`/api/chat/completions`, where nothing is stored) and at the native one (conversations in SQLite, committed before the job
leaves). One clock tells both times, this process's own part included. Tokens leave one a frame, each at its time. Exit
status 1: a goal was not met.
"""

import argparse
import base64
import json
import os
import re
import secrets
import socket
import statistics
import struct
import sys
import time
from pathlib import Path
from typing import Any

from harness import LOAD_CORE, OUT, PYTHON, FailedRunError, Peer, keep, serving
from legato.protocol.messages import PROTOCOL

PUSH_GOAL = 1.0
TOKEN_GOAL = 50.0
PATIENCE = 20.0

CONFIG = """
[assistants.default]
engine = "fleet"
model = "m"
"""

SERVER = Peer(
    "legato serve",
    [
        PYTHON,
        "-m",
        "legato",
        "serve",
        "--port",
        "{port}",
        "--data-dir",
        "{dir}",
        "--config",
        "{dir}/legato.toml",
    ],
)

JOB = re.compile(rb'"type":"job","jobId":"([^"]+)"')
STAMP = re.compile(rb"<(\d+)>")
END = re.compile(rb'\[DONE\]|"type":"finished"')
BROKEN = re.compile(rb'"error":"|"type":"(?:error|failed)"')


class Polled:
    """A socket that is polled. What came is looked through and forgotten."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.came = b""

    def upgrade(self, path: str, protocol: str = "") -> None:
        """Become a WebSocket."""
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        wanted = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{wanted}\r\n".encode()
        )
        self.until(re.compile(rb" 101 .*\r\n\r\n", re.DOTALL))

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

    def ask(self) -> None:
        body = b'{"model":"m","messages":[{"role":"user","content":"Hello"}]}'
        self.socket.sendall(
            b"POST /api/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )


class Native(Polled):
    """The native protocol; every message begins a conversation."""

    name = "native"

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.upgrade("/ws", PROTOCOL)

    def ask(self) -> None:
        self.say(type="send", client_message_id=secrets.token_hex(8), text="Hello", conversation=None)


class BenchAgent(Polled):
    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.upgrade("/ws/agents")
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


def push(agent: BenchAgent, asker: Completions | Native, jobs: int) -> list[float]:
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


def stream(
    agent: BenchAgent, asker: Completions | Native, rate: int, seconds: float
) -> tuple[list[float], int]:
    """Microseconds of each token from the agent's `send` to its arrival, and how often something arrived."""
    asker.ask()
    agent.take()
    found: list[float] = []
    count, sent, reads, rest = int(rate * seconds), 0, 0, b""
    begun = time.perf_counter_ns()
    late = begun + int((seconds + PATIENCE) * 1e9)
    while len(found) < count:
        now = time.perf_counter_ns()
        if sent < count and now >= begun + sent * 1_000_000_000 // rate:
            agent.token(sent)
            sent += 1
        came = asker.poll()
        if came:
            now = time.perf_counter_ns()
            reads += 1
            rest += came
            end = 0
            for stamp in STAMP.finditer(rest):
                found.append((now - int(stamp[1])) / 1000)
                end = stamp.end()
            if BROKEN.search(rest):
                raise FailedRunError(rest.decode(errors="replace"))
            rest = rest[end:]
        elif sent % 64 == 0:
            agent.poll()
        if now > late:
            raise FailedRunError(f"Only {len(found)} of {count} tokens arrived.")
    agent.end(count)
    asker.until(END)
    return found, reads


def quantiles(values: list[float]) -> dict[str, float]:
    values = sorted(values)
    return {"p50": statistics.median(values), "p99": values[int(0.99 * (len(values) - 1))]}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rate", type=int, default=5000, help="tokens per second")
    parser.add_argument("--out", type=Path, default=OUT, help="where the figures go, as JSON")
    given = parser.parse_args()
    figures: dict[str, Any] = {}
    met = True
    try:
        with serving(SERVER, lambda folder: (folder / "legato.toml").write_text(CONFIG) and None) as server:
            os.sched_setaffinity(0, {LOAD_CORE})
            agent = BenchAgent(server.port)
            for asker in (Completions(server.port), Native(server.port)):
                push(agent, asker, max(1, given.jobs // 10))
                waits = quantiles(push(agent, asker, given.jobs))
                tokens, reads = stream(agent, asker, given.rate, given.seconds)
                ways = quantiles(tokens)
                figures[asker.name] = {
                    "push_ms": waits,
                    "token_us": ways,
                    "tokens": len(tokens),
                    "reads": reads,
                }
                print(
                    f"{asker.name:12} job at the agent: p50 {waits['p50']:6.2f} ms  p99 {waits['p99']:6.2f} ms   "
                    f"a token: p50 {ways['p50']:6.0f} µs  p99 {ways['p99']:7.0f} µs  "
                    f"({len(tokens) / reads:.2f} tokens an arrival)"
                )
    except FailedRunError as error:
        print(error, file=sys.stderr)
        return 2
    print()
    for name, each in figures.items():
        for what, found, goal, unit in (
            ("job at an idle agent", each["push_ms"]["p50"], PUSH_GOAL, "ms"),
            ("a token through the gateway", each["token_us"]["p50"], TOKEN_GOAL, "µs"),
        ):
            met = met and found <= goal
            verdict = "met    " if found <= goal else "NOT MET"
            print(f"  {verdict}  {name}: {what}: {found:.2f} {unit} at p50 (goal ≤{goal:g} {unit})")
    print(f"\nEvery figure: {keep(given.out, 'fleet', {**figures, 'rate': given.rate, 'jobs': given.jobs})}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
