"""Real llama.cpp agents for the benchmarks: a model that is as slow as one of its size, and the processes that run it."""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp

from harness import PYTHON, FailedRunError, Running, SkippedError, cpu_seconds, token
from legato.protocol.messages import PROTOCOL
from legato.testing.gguf import Shape, scripted_model, unique_words

PATIENCE = 60.0
STEP = 0.003
"""Seconds between two looks at a process or at the fleet."""


def model(folder: Path, shape: Shape, context: int) -> Path:
    """A model called `m` that never ends.

    :raises SkippedError: what makes or runs one is not installed.
    """
    for package in ("xllamacpp", "gguf", "numpy"):
        if find_spec(package) is None:
            raise SkippedError(f"the package {package} is missing; `make setup` installs it")
    text = unique_words(300, newlines=False)
    return scripted_model(folder / "m.gguf", text, loop=True, context=context, shape=shape)


@dataclass
class LlamaAgent:
    """An agent, and the process in which its model runs."""

    pid: int
    worker: int


@asynccontextmanager
async def agents(
    server: Running, http: aiohttp.ClientSession, file: Path, count: int, slots: int
) -> AsyncIterator[list[LlamaAgent]]:
    """So many `legato agent`, each with this model loaded."""
    async with agents_of(server, http, ["--engine", "llama", "--model", str(file)], count, slots) as pids:
        yield [LlamaAgent(pid, _worker(pid)) for pid in pids]


@asynccontextmanager
async def agents_of(
    server: Running, http: aiohttp.ClientSession, flags: list[str], count: int, slots: int
) -> AsyncIterator[list[int]]:
    """So many `legato agent` with these flags, once all have a model loaded; the numbers of their processes.

    :raises FailedRunError: they do not come.
    """
    processes: list[asyncio.subprocess.Process] = []
    with tempfile.TemporaryDirectory(prefix="legato-agents-") as folder:
        log = Path(folder) / "log"
        try:
            with log.open("w") as errors:
                for number in range(count):
                    process = await asyncio.create_subprocess_exec(
                        *(PYTHON, "-m", "legato", "agent", "--name", f"agent-{number}"),
                        *("--server", f"ws://127.0.0.1:{server.port}/ws/agents", "--slots", str(slots)),
                        *flags,
                        stdout=asyncio.subprocess.DEVNULL,
                        stderr=errors,
                        env={**os.environ, "LEGATO_AGENT_KEY": "bench", "LEGATO_DATA_DIR": folder},
                    )
                    processes.append(process)
            late = asyncio.get_running_loop().time() + PATIENCE
            while sum(_loaded(agent) for agent in (await fleet(http))["agents"]) < count:
                if asyncio.get_running_loop().time() > late:
                    raise FailedRunError(f"The agents do not come:\n{log.read_text()}")
                await asyncio.sleep(0.1)
            yield [each.pid for each in processes]
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                await process.wait()


def _loaded(agent: dict[str, Any]) -> bool:
    return any(each["loaded"] for each in agent["models"])


def _worker(pid: int) -> int:
    """The process below this one that has calculated most."""
    below, left = [], [pid]
    while left:
        children = Path(f"/proc/{left[-1]}/task/{left.pop()}/children").read_text().split()
        below += [int(each) for each in children]
        left += [int(each) for each in children]
    return max(below, key=cpu_seconds)


async def fleet(http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get("/api/fleet") as response:
        found: dict[str, Any] = await response.json()
        return found


@asynccontextmanager
async def person(server: Running, user: int = 0) -> AsyncIterator["tuple[aiohttp.ClientSession, Person]"]:
    """Somebody with a socket at the native door, and with HTTP."""
    headers = {"Authorization": f"Bearer {token(user)}"}
    address = f"http://127.0.0.1:{server.port}"
    async with (
        aiohttp.ClientSession(address, headers=headers) as http,
        http.ws_connect("/ws", protocols=[PROTOCOL], max_msg_size=0) as socket,
    ):
        yield http, Person(socket)


class Person:
    """Asks, and hears what comes of it: any number of conversations at once."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._said = 0
        self._acks: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._streams: dict[str, asyncio.Queue[tuple[float, dict[str, Any]]]] = {}
        self._listening = asyncio.create_task(self._listen())

    async def send(self, text: str, conversation: str | None = None) -> dict[str, Any]:
        """Returns the `ack` of a message."""
        self._said += 1
        name = f"m{self._said}"
        acknowledged = self._acks[name] = asyncio.get_running_loop().create_future()
        message = {
            "type": "send",
            "client_message_id": name,
            "text": text,
            "conversation": conversation,
        }
        await self._socket.send_str(json.dumps(message))
        return await acknowledged

    async def stop(self, conversation: str) -> None:
        """Stop what is written in a conversation."""
        await self._socket.send_str(json.dumps({"type": "stop", "conversation": conversation}))

    async def events(self, reply: str) -> AsyncIterator[tuple[float, dict[str, Any]]]:
        """What is told of a reply, and when, until it ends."""
        queue = self._queue(reply)
        while True:
            async with asyncio.timeout(PATIENCE):
                at, event = await queue.get()
            yield at, event
            if event["type"] in ("finished", "failed"):
                del self._streams[reply]
                return

    def _queue(self, reply: str) -> asyncio.Queue[tuple[float, dict[str, Any]]]:
        return self._streams.setdefault(reply, asyncio.Queue())

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        async for message in self._socket:
            told = json.loads(message.data)
            match told["type"]:
                case "ack":
                    self._acks.pop(told["client_message_id"]).set_result(told)
                case "delta":
                    for event in told["events"]:
                        self._queue(told["stream"]).put_nowait((loop.time(), event))
                case "error":
                    why = FailedRunError(told["message"])
                    for waiting in self._acks.values():
                        waiting.set_exception(why)
                    self._acks.clear()
                    for queue in self._streams.values():
                        queue.put_nowait((loop.time(), {"type": "failed", "message": told["message"]}))
