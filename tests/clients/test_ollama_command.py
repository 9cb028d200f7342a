"""The real `ollama` command against this server, piped and in a terminal."""

import asyncio
import os
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.doubles.engines import replace_demo
from tests.doubles.schema_engine import SchemaEngine
from tests.gateway.server import serving, settings_for

PROGRAM = os.environ.get("LEGATO_TEST_OLLAMA") or shutil.which("ollama")

pytestmark = [
    pytest.mark.ollama,
    pytest.mark.skipif(
        PROGRAM is None or "://" in PROGRAM, reason="No `ollama` command: set LEGATO_TEST_OLLAMA to its path."
    ),
]


class Command:
    """Runs `ollama` with its settings in `folder` and the server at `address`."""

    def __init__(self, folder: Path, address: str) -> None:
        self._environment = {**os.environ, "HOME": str(folder), "OLLAMA_HOST": address}

    async def __call__(self, *arguments: str, fails: bool = False) -> str:
        """Return what it prints, without the codes for a terminal."""
        process = await asyncio.create_subprocess_exec(
            str(PROGRAM), *arguments, env=self._environment, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT
        )
        printed, _ = await process.communicate()
        assert (process.returncode != 0) is fails, printed
        return without_codes(printed.decode())

    async def talk(self, *lines: str, model: str) -> str:
        """Type lines into `ollama run` in a terminal; return what it shows."""
        leader, follower = os.openpty()
        process = await asyncio.create_subprocess_exec(
            str(PROGRAM),
            *("run", model),
            env={**self._environment, "TERM": "xterm"},
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        shown = ""
        try:
            for number, line in enumerate(lines):
                # An empty input line invites to type.
                while shown.count("Send a message") <= number:
                    shown += await asyncio.to_thread(_read, leader)
                os.write(leader, f"{line}\r".encode())
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            os.close(leader)
        return without_codes(shown)


def _read(leader: int) -> str:
    return os.read(leader, 4096).decode(errors="replace")


def without_codes(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> SchemaEngine:
    engine = SchemaEngine(models=("demo:echo", "scripted"))
    replace_demo(monkeypatch, engine)
    return engine


@pytest.fixture
async def command(engine: SchemaEngine, tmp_path: Path) -> AsyncIterator[Command]:
    async with serving(settings_for(tmp_path / "data", aliases={"gpt": "scripted"})) as server:
        yield Command(tmp_path, server.address)


async def test_what_is_there(command: Command) -> None:
    listed = await command("list")
    names = {line.split()[0] for line in listed.splitlines()}
    assert names == {"NAME", "default", "gpt", "scripted", "demo:echo"}
    shown = await command("show", "scripted")
    assert re.search(r"context length +32768", shown)
    assert {"completion", "tools", "vision", "thinking"} <= set(shown.split())
    assert "scripted" in await command("ps")
    assert "ollama version is" in await command("--version")


async def test_a_run(command: Command) -> None:
    said = await command("run", "scripted", "--verbose", "hello")
    assert "Let me think." in said
    assert "The quick brown fox jumps over you and a lazy dog." in said
    assert re.search(r"eval count: +11 token", said)
    assert "fox" in await command("run", "gpt:latest", "--think=false", "hello")
    assert '{"setup":' in await command("run", "scripted", "--format", "json", "hello")
    await command("stop", "scripted")


async def test_a_run_in_a_terminal_remembers_its_turns(command: Command, engine: SchemaEngine) -> None:
    shown = await command.talk("hello", "and then?", "/bye", model="scripted")
    assert shown.count("lazy dog.") == 2
    assert [turn.role for turn in engine.requests[-1].turns] == ["user", "assistant", "user"]


async def test_what_is_refused_says_why(command: Command) -> None:
    assert "not found" in await command("show", "none", fails=True)
    for arguments in (
        ("pull", "scripted"),
        ("rm", "scripted"),
        ("cp", "scripted", "x"),
        ("run", "none", "hello"),
    ):
        assert "Models are managed beside the engines" in await command(*arguments, fails=True)
