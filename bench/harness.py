"""What every benchmark needs: the C programs built, a server on one core, the load generator on the other."""

import json
import os
import platform
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt

BENCH = Path(__file__).parent
BIN = BENCH / "bin"
OUT = BENCH / "out"

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]

SECRET = secrets.token_urlsafe(32)

Result = dict[str, float]


class FailedRunError(Exception):
    """A server did not start, or the load generator gave up. The message is what they said."""


class SkippedError(Exception):
    """What was to be measured is not on this machine. The message says what, and how to get it."""


@dataclass
class Peer:
    """A server under test. `{port}`, `{feed}` and `{dir}` in the command stand for its ports and a directory of its own,
    where `config` is found as `{dir}/legato.toml`."""

    name: str
    command: list[str]
    authenticated: bool = False
    env: dict[str, str] = field(default_factory=dict)
    config: str = ""

    def openings(self, streams: int, viewers: int) -> list[str]:
        """The first words of every viewer, as `load.c` reads them. Every stream is a user and a conversation of its own."""
        return [
            "\t".join(
                ["/ws", self._header(viewer % streams), self._message(viewer, viewer % streams, streams)]
            )
            for viewer in range(viewers)
        ]

    def _header(self, user: int) -> str:
        return f"Authorization: Bearer {token(user)}" if self.authenticated else ""

    def _message(self, viewer: int, stream: int, streams: int) -> str:
        if viewer >= streams and self.authenticated:
            if streams > 1:
                raise ValueError("more viewers than streams, and more than one stream")
            return '{"type":"follow","conversation":"$CONVERSATION"}'
        return json.dumps({"type": "send", "client_message_id": f"m{viewer}", "text": f"job {stream}"})


def token(user: int) -> str:
    return jwt.encode({"sub": f"user-{user}", "exp": int(time.time()) + 3600}, SECRET, "HS256")


PYTHON = sys.executable
C_RELAY = Peer("C relay", [str(BIN / "relay"), "{port}", "{feed}"])
NAIVE = Peer("Starlette, bare", [PYTHON, str(BENCH / "naive.py"), "{port}", "{feed}"])
LEGATO = Peer(
    "Legato",
    [PYTHON, str(BENCH / "full.py"), "{port}", "{feed}", "{dir}", "direct"],
    authenticated=True,
    env={"LEGATO_JWT_SECRET": SECRET},
)
LEGATO_ASGI = Peer(
    "Legato, ASGI",
    [PYTHON, str(BENCH / "full.py"), "{port}", "{feed}", "{dir}", "asgi"],
    authenticated=True,
    env={"LEGATO_JWT_SECRET": SECRET},
)
FLEET_CONFIG = """
[assistants.default]
engine = "fleet"
model = "m"
"""
FLEET = Peer(
    "Legato, fleet",
    [
        *(PYTHON, "-m", "legato", "serve", "--port", "{port}"),
        *("--data-dir", "{dir}", "--config", "{dir}/legato.toml"),
    ],
    authenticated=True,
    env={"LEGATO_JWT_SECRET": SECRET, "LEGATO_AGENT_KEYS": "bench"},
    config=FLEET_CONFIG,
)
"""`legato serve` with nothing but its fleet. Its agents' key is `bench`, their model `m`."""


def build() -> None:
    """Compile `load`, `relay` and `api_load` where their sources are newer.

    :raises FailedRunError: where there is no C compiler, or it does not like them.
    """
    BIN.mkdir(exist_ok=True)
    headers = max(header.stat().st_mtime for header in BENCH.glob("*.h"))
    for name in ("load", "relay", "api_load"):
        source, program = BENCH / f"{name}.c", BIN / name
        newest = max(source.stat().st_mtime, headers)
        if program.exists() and program.stat().st_mtime > newest:
            continue
        made = BIN / f"{name}.{os.getpid()}"
        command = [os.environ.get("CC", "cc"), "-O2", "-Wall", "-Wextra", "-o", str(made), str(source)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise FailedRunError("There is no C compiler: install one (cc) to run the benchmarks.") from None
        except subprocess.CalledProcessError as error:
            raise FailedRunError(error.stderr) from None
        made.replace(program)


def free_port() -> int:
    """One that nobody listens on, from below those that the kernel gives to outgoing connections."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as each, suppress(OSError):
            each.bind(("127.0.0.1", port))
            return port


def pinned(core: int, command: list[str]) -> list[str]:
    return ["taskset", "-c", str(core), *command]


@dataclass
class Running:
    pid: int
    port: int
    feed: int
    directory: Path


@contextmanager
def serving(peer: Peer, prepare: Callable[[Path], None] = lambda _: None) -> Iterator[Running]:
    """The server of a peer, from when it says a first line until the block ends. `prepare` fills its directory before."""
    port, feed = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="legato-bench-") as directory:
        (Path(directory) / "legato.toml").write_text(peer.config)
        prepare(Path(directory))
        command = [part.format(port=port, feed=feed, dir=directory) for part in peer.command]
        log = Path(directory) / "log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                pinned(SERVER_CORE, command),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **peer.env},
            )
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise FailedRunError(f"{peer.name} did not start:\n{log.read_text()}")
            yield Running(process.pid, port, feed, Path(directory))
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def load_command(server: Running, openings: list[str], directory: str, options: dict[str, Any]) -> list[str]:
    clients = Path(directory) / "clients"
    clients.write_text("".join(f"{line}\n" for line in openings))
    named = {"server": server.port, "feed": server.feed, "clients": clients, "pid": server.pid, **options}
    words = [word for name, value in named.items() for word in (f"--{name}", str(value))]
    return pinned(LOAD_CORE, [str(BIN / "load"), *words])


def run(peer: Peer, streams: int, viewers: int = 0, **options: Any) -> Result:
    """One run of the load generator on a fresh server.

    :raises FailedRunError: where the server broke, or lost, doubled or reordered a token.
    """
    viewers = viewers or streams
    with serving(peer) as server, tempfile.TemporaryDirectory(prefix="legato-load-") as directory:
        openings = peer.openings(streams, viewers)
        command = load_command(
            server, openings, directory, {"streams": streams, "viewers": viewers, **options}
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise FailedRunError(f"{peer.name} with {streams} streams: {done.stderr.strip()}")
    result: Result = json.loads(done.stdout)
    if result["lost"] or result["wrong"]:
        raise FailedRunError(
            f"{peer.name} lost {result['lost']:.0f} tokens and sent {result['wrong']:.0f} out of order"
        )
    return result


def cpu_seconds(pid: int) -> float:
    """What a process has spent so far, all its threads. The clock of another process is `~pid << 3 | 2` on Linux."""
    return time.clock_gettime(~pid << 3 | 2)


def machine() -> dict[str, Any]:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "cores": len(CORES),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
    }


def keep(out: Path, name: str, found: dict[str, Any]) -> Path:
    """Write what a benchmark found as JSON into the directory `out`."""
    out.mkdir(exist_ok=True)
    path = out / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **found}, indent=1) + "\n")
    return path
