"""The Ollamas that tests speak to: a double, and a real one where there is one."""

import asyncio
import os
import shutil
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from tests.doubles.ollama import OllamaDouble

from legato.engines.base import Outcome, Request
from legato.engines.ollama.engine import OllamaEngine
from legato.testing.engine import Recorder

SECONDS = 20.0
"""A real Ollama now and then stands still: after so long without a first word a test asks again."""


def real() -> str | None:
    """The URL or the program of a real Ollama with the models of the recordings; None where there is none."""
    named = os.environ.get("LEGATO_TEST_OLLAMA") or shutil.which("ollama")
    if named is None or "://" in named:
        return named
    scripted = _models(Path(named)) / "manifests" / "registry.ollama.ai" / "library"
    return named if all((scripted / model).is_dir() for model in ("plain", "think", "tool", "loop")) else None


def _models(program: Path) -> Path:
    return Path(os.environ.get("OLLAMA_MODELS") or program.resolve().parent.parent / "models")


@asynccontextmanager
async def doubled() -> AsyncIterator[str]:
    async with OllamaDouble() as double:
        yield double.url


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[str]:
    """A real Ollama on a free port, with a copy of its models in `folder`."""
    named = real()
    assert named is not None
    if "://" in named:
        yield named
        return
    shutil.copytree(_models(Path(named)), folder / "models")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "HOME": str(folder),
        "OLLAMA_MODELS": str(folder / "models"),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_NOPRUNE": "1",
        "OLLAMA_NUM_PARALLEL": "1",
    }
    process = await asyncio.create_subprocess_exec(
        named, "serve", env=environment, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await _answers(process, url)
        yield url
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _answers(process: Process, url: str) -> None:
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while process.returncode is None:
            try:
                async with session.get(f"{url}/api/version") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)
    raise AssertionError("the real Ollama did not start")


class _First(Recorder):
    """Tells when the first word comes."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()

    def text(self, text: str) -> None:
        super().text(text)
        self.begun.set()

    def reasoning(self, text: str) -> None:
        super().reasoning(text)
        self.begun.set()


async def wrote(engine: OllamaEngine, request: Request) -> tuple[Outcome, Recorder]:
    """The reply to `request`. A server that stands still before the first word is asked again, three times in all."""
    for _ in range(3):
        out = _First()
        writing = asyncio.create_task(engine.generate(request, out))
        began = asyncio.create_task(out.begun.wait())
        await asyncio.wait([writing, began], timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
        silent = not (writing.done() or began.done())
        began.cancel()
        if not silent:
            return await writing, out
        writing.cancel()
        await asyncio.wait([writing])
    raise AssertionError("the Ollama stood still three times")


async def begun(engine: OllamaEngine, request: Request) -> tuple[asyncio.Task[Outcome], Recorder]:
    """A reply that has begun and goes on."""
    for _ in range(3):
        out = _First()
        writing = asyncio.create_task(engine.generate(request, out))
        try:
            await asyncio.wait_for(out.begun.wait(), SECONDS)
        except TimeoutError:
            writing.cancel()
            await asyncio.wait([writing])
        else:
            return writing, out
    raise AssertionError("the Ollama stood still three times")
