"""`legato agent` as a process of its own."""

import asyncio
import http
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.doubles.ollama import OllamaDouble, Scripted, words

from legato.fleet.protocol import Drain, Register

from .conftest import DEADLINE, Door


@asynccontextmanager
async def started(folder: Path, *flags: str, **environ: str) -> AsyncIterator[Process]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LEGATO_", "OLLAMA_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "legato",
        "agent",
        *flags,
        stdout=PIPE,
        stderr=PIPE,
        env={**kept, "LEGATO_DATA_DIR": str(folder), **environ},
    )
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().rstrip("\n")


async def test_its_key_is_taken_without_the_line_end_of_a_file_and_refused_in_two_lines(
    door: Door, tmp_path: Path
) -> None:
    flags = ("--server", door.url, "--engine", "demo")
    async with started(tmp_path, *flags, LEGATO_AGENT_KEY=" k1\n") as process:
        assert (await line(process)).startswith("The agent is registered")
    assert door.requests[0].headers["Authorization"] == "Bearer k1"
    async with started(tmp_path, *flags, LEGATO_AGENT_KEY="k1\nk2") as process:
        _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode().startswith("legato: --key or LEGATO_AGENT_KEY must be one line of text")


async def test_sigterm_lets_a_reply_end_and_exits_with_0(door: Door, tmp_path: Path) -> None:
    flags = ("--server", door.url, "--engine", "demo", "--model", "demo:echo", "--slots", "2")
    async with started(tmp_path, *flags) as process:
        assert await line(process) == f"The agent is registered at {door.url}: demo:echo; 2 slots"
        text = "a reply that is not over yet"
        key = door.gateway.push("j", text, options={"tokens_per_second": 20})
        await door.say()
        await door.until(lambda: door.gateway.taken[key])
        process.send_signal(signal.SIGTERM)
        await door.until(lambda: any(isinstance(each, Drain) for each in door.gateway.heard))
        late = door.gateway.push("k", text)
        await door.say()
        assert await process.wait() == 0
    assert door.gateway.text(key) == text
    assert door.gateway.ended(key)
    assert late in door.gateway.refused


async def test_a_second_signal_ends_it_at_once(door: Door, tmp_path: Path) -> None:
    async with started(tmp_path, "--server", door.url, "--engine", "demo") as process:
        await line(process)
        key = door.gateway.push("j", "word " * 100_000, options={"tokens_per_second": 1})
        await door.say()
        await door.until(lambda: door.gateway.taken[key])
        process.send_signal(signal.SIGTERM)
        await door.until(lambda: any(isinstance(each, Drain) for each in door.gateway.heard))
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert not door.gateway.ended(key)


async def test_a_wrong_key_is_said_and_the_status_is_1(door: Door, tmp_path: Path) -> None:
    door.process_request = lambda connection, request: (  # type: ignore[method-assign]
        None
        if request.headers.get("Authorization") == "Bearer right"
        else connection.respond(http.HTTPStatus.UNAUTHORIZED, "")
    )
    flags = ("--server", door.url, "--engine", "demo")
    async with started(tmp_path, *flags, LEGATO_AGENT_KEY="wrong") as process:
        _, errors = await process.communicate()
        assert process.returncode == 1
    assert errors.decode().startswith(f"legato: The server at {door.url} does not take this key.")
    assert b"wrong" not in errors
    async with started(tmp_path, *flags, LEGATO_AGENT_KEY="right") as process:
        assert (await line(process)).startswith("The agent is registered")


async def test_the_environment_of_the_protocol_version_1_works(door: Door, tmp_path: Path) -> None:
    door.gateway.version = 1
    async with OllamaDouble({"llama2": Scripted(words("one two")), "other": Scripted([])}) as ollama:
        environ = {"SERVER_WS_URL": door.url, "OLLAMA_URL": ollama.url, "MODELS": "llama2, mistral"}
        async with started(tmp_path, **environ) as process:
            assert (await line(process)).endswith(": llama2; 1 slot")
            door.gateway.prompt("j", "Hello", model="llama2", options={"num_predict": 9})
            await door.say()
            await door.until(lambda: "j" in door.gateway.over)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        [chat] = [chat for chat in ollama.chats if chat["messages"]]
    assert door.gateway.tokens == {"j": ["one", " two"]}
    assert chat["options"] == {"num_predict": 9}
    assert [each.models for each in door.gateway.heard if isinstance(each, Register)] == [["llama2"]]


async def test_it_waits_for_a_server_that_is_not_there_yet(door: Door, tmp_path: Path) -> None:
    await door.stop()
    async with started(tmp_path, "--server", f"{door.url}?key=secret", "--engine", "demo") as process:
        assert process.stderr is not None
        said = (await process.stderr.readline()).decode()
        assert said.startswith(f"legato: No server answers at {door.url}: ")
        await door.start()
        assert (await line(process)).startswith("The agent is registered at")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "Which server?"),
        (("--server", "ftp://x"), "not the address"),
        (("--server", "ws://127.0.0.1:1", "--engine", "none"), "no engine called"),
        (("--server", "ws://127.0.0.1:1", "--model", "missing.gguf"), "no model file"),
    ],
)
async def test_what_is_wrong_is_one_sentence(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    async with started(tmp_path, *flags) as process:
        _, errors = await process.communicate()
        assert process.returncode == 1
    assert said in errors.decode()
    assert len(errors.decode().splitlines()) == 1


@pytest.mark.llama
async def test_a_real_llama_says_its_text_through_cuts_and_stops_when_cancelled(
    door: Door, tmp_path: Path
) -> None:
    pytest.importorskip("xllamacpp")
    gguf = pytest.importorskip("legato.testing.gguf")
    pytest.importorskip("gguf")
    text = gguf.unique_words(120, seed=5)
    gguf.scripted_model(tmp_path / "long.gguf", text)
    gguf.scripted_model(tmp_path / "loop.gguf", "Round and round it goes", loop=True)
    flags = ("--model", str(tmp_path / "long.gguf"), "--model", str(tmp_path / "loop.gguf"))
    async with started(tmp_path, "--server", door.url, *flags, "--slots", "2") as process:
        assert (await line(process)).endswith(": long, loop; 2 slots")
        key = door.gateway.push("j", "Say it", model="long", options={"temperature": 0})
        await door.say()
        for length in (1, len(text) // 4, len(text) // 2):
            await door.until(
                lambda length=length: len(door.gateway.text(key)) >= length or door.gateway.ended(key)
            )
            connections = door.connections
            door.cut()
            await door.until(lambda connections=connections: door.connections > connections)
        await door.until(lambda: door.gateway.ended(key))
        assert door.gateway.text(key) == text
        await door.registered()
        endless = door.gateway.push("k", "Say it", model="loop", options={"temperature": 0})
        await door.say()
        await door.until(lambda: len(door.gateway.text(endless)) > 50)
        door.gateway.cancel(endless)
        await door.say()
        await door.until(lambda: endless in door.gateway.cancelled)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            assert await process.wait() == 0
