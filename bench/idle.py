"""What an idle client costs: memory of the server for each connection, and the CPU that heartbeats take.

    python bench/idle.py [--connections 5000] [--seconds 20]

Every connection is a WebSocket of the native protocol, authenticated by a JWT of a user of its own. It is measured twice:
when it follows nothing, and when it follows a conversation of its own, as an open page does. Memory is the growth of the
process's PSS; what the kernel keeps for a socket is not in it. Exit status 1: the goal was not met.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from harness import LEGATO, OUT, FailedRunError, Running, build, keep, load_command, serving, token
from legato.domain.conversation import Conversation
from legato.storage.sql import open_storage

GOAL = 12.0


def pss(pid: int) -> float:
    """Memory of a process in KiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    raise FailedRunError("The kernel does not tell the memory of a process.")


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    return time.clock_gettime(clock_of(pid))


def clock_of(pid: int) -> int:
    """The clock of another process's CPU time, as `clock_getcpuclockid(3)` makes it on Linux."""
    return (~pid << 3) | 2


def openings(count: int, following: bool) -> list[str]:
    """One line for each connection, as `load.c` reads them."""
    return [
        f"/ws\tAuthorization: Bearer {token(each)}\t"
        + (json.dumps({"type": "follow", "conversation": f"conversation-{each}"}) if following else "")
        for each in range(count)
    ]


def conversations(count: int, directory: Path) -> None:
    """Give every user a conversation."""

    async def write() -> None:
        storage = open_storage(f"sqlite:///{directory / 'legato.db'}")
        await storage.open()
        now = datetime.now(UTC)
        for each in range(count):
            await storage.create_conversation(
                Conversation(f"conversation-{each}", f"user-{each}", "Idle", "default", now, now)
            )
        await storage.close()

    asyncio.run(write())


@contextmanager
def held(server: Running, lines: list[str]) -> Iterator[None]:
    """A connection for each line, all open.

    :raises FailedRunError: the server closed one.
    """
    with tempfile.TemporaryDirectory(prefix="legato-load-") as directory:
        options = {"hold": 1, "viewers": len(lines), "streams": len(lines)}
        command = load_command(server, lines, directory, options)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
            assert load.stdout is not None
            if not load.stdout.readline():
                raise FailedRunError(f"{len(lines)} connections could not be opened.")
            yield
            load.communicate()
            if load.returncode != 0:
                raise FailedRunError("The server closed a connection that was idle.")


def measure(count: int, warm: int, following: bool, seconds: float) -> tuple[float, float]:
    """KiB for each connection, and the share of a core that all of them take.

    `warm` more are open before the first reading: what is made once, and room that was free already, is not counted.
    """
    lines = openings(warm + count, following)
    stored = len(lines) if following else 0
    with (
        serving(LEGATO, lambda directory: conversations(stored, directory)) as server,
        held(server, lines[:warm]),
    ):
        time.sleep(1)
        before = pss(server.pid)
        with held(server, lines[warm:]):
            used, begun = cpu(server.pid), time.monotonic()
            time.sleep(seconds)
            share = (cpu(server.pid) - used) / (time.monotonic() - begun)
            memory = pss(server.pid)
    return (memory - before) / count, share


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long they stay open")
    parser.add_argument(
        "--warm", type=int, default=500, help="connections that are open before the first reading"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="where the figures go, as JSON")
    given = parser.parse_args()
    found = {}
    try:
        build()
        for title, following in (("following nothing", False), ("following a conversation", True)):
            size, share = measure(given.connections, given.warm, following, given.seconds)
            found[title] = {"kib": size, "core_share": share}
            print(
                f"{given.connections:,} idle connections, {title}: {size:.1f} KiB each (goal ≤{GOAL:.0f}: "
                f"{'met' if size <= GOAL else 'NOT MET'}), {share:.1%} of a core"
            )
    except FailedRunError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"\nEvery figure: {keep(given.out, 'idle', {'connections': given.connections, 'found': found})}")
    return 0 if all(each["kib"] <= GOAL for each in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
