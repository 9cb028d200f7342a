import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

DEADLINE = 30.0
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")

CONFIG = """
[assistants.default]
engine = "demo"
model = "demo:echo"
[assistants.slow]
engine = "demo"
model = "demo:echo"
options = { tokens_per_second = 4 }
[assistants.host]
engine = "demo"
model = "demo:echo"
tools = ["dice"]
"""

DICE = """
import asyncio
import pathlib
import time

from legato.tools.python import needs_approval

@needs_approval
def roll(sides: int) -> str:
    "Roll a die."
    return f"one of {sides}"

def count(sides: int) -> int:
    "Count the sides."
    return sides

async def ponder() -> str:
    "Think about the dice for a very long time."
    pathlib.Path("pondering").touch()
    return await asyncio.to_thread(time.sleep, 600)

dice = [roll, count, ponder]
"""

COMMAND = "import sys; from legato.cli.main import main; sys.argv[0] = 'legato'; main()"

CONTROLLED = (
    "import fcntl, signal, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.default_int_handler)"
)
"""Makes the terminal that a process was given the one whose Ctrl-C it gets, and has it heed that: where the tests
themselves run in the background, Ctrl-C is ignored, and what they start inherits it."""


def environment(**more: str) -> dict[str, str]:
    """Nothing of whoever runs the tests, but what Python and its coverage need."""
    names = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "COVERAGE_PROCESS_CONFIG")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, "HOME": "/nonexistent", "LANG": "C.UTF-8", "TERM": "xterm-256color", **more}


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def legato(tmp_path: Path) -> Run:
    """Run `legato` as a person does, in a directory of its own."""

    def run(
        *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=tmp_path,
            env=environment(XDG_DATA_HOME=str(tmp_path / "share"), **(env or {})),
            timeout=DEADLINE,
            check=False,
        )

    return run


class Serving:
    """A real server in a process of its own."""

    def __init__(self, directory: Path, *arguments: str, **env: str) -> None:
        (directory / "legato.toml").write_text(CONFIG)
        (directory / "table.py").write_text(DICE)
        installed = directory / "table-1.dist-info"
        installed.mkdir(exist_ok=True)
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: table\nVersion: 1\n")
        (installed / "entry_points.txt").write_text("[legato.tools]\ndice = table:dice\n")
        env.setdefault("PYTHONPATH", os.pathsep.join([str(directory), os.environ.get("PYTHONPATH", "")]))
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=directory,
            env=environment(XDG_DATA_HOME=str(directory / "share"), **env),
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.url = self.line.rstrip().rpartition(" ")[2]

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=DEADLINE)
        return self.process.returncode


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that is open to this machine."""
    serving = Serving(tmp_path_factory.mktemp("serving"))
    yield serving.url
    serving.end()


class Terminal:
    """A person at a terminal: what `legato` shows them, and what they type."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._fd, theirs = pty.openpty()
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{CONTROLLED}; {COMMAND}", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=directory,
            env=environment(),
            start_new_session=True,
        )
        os.close(theirs)
        self._raw = b""
        self._from = 0

    @property
    def text(self) -> str:
        return ESCAPE.sub("", self._raw.decode(errors="replace"))

    def see(self, expected: str) -> None:
        """Wait until this is shown, below what was seen before."""
        deadline = time.monotonic() + DEADLINE
        while expected not in self.text[self._from :]:
            if time.monotonic() > deadline or not self._read(deadline):
                raise AssertionError(f"{expected!r} was not shown, but {self.text[self._from :][-800:]!r}")
        self._from = self.text.index(expected, self._from) + len(expected)

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def ended(self) -> int:
        """The exit status, once it has ended."""
        deadline = time.monotonic() + DEADLINE
        while self._read(deadline):
            pass
        os.close(self._fd)
        try:
            return self._process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def left(self) -> None:
        """Whoever has not ended by now is ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
            os.close(self._fd)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            return False
        self._raw += data
        return bool(data)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        started.append(Terminal(tmp_path, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.left()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    started: list[Serving] = []

    def start(*arguments: str, **env: str) -> Serving:
        started.append(Serving(tmp_path, *arguments, **env))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.end()
