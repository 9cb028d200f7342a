"""Agents as processes of their own, agents written from the protocol alone, and the line to them, which can be cut."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import aiohttp
import websockets
from websockets.asyncio.client import ClientConnection

from legato.client.socket import ClientSocket

from .process import ServerProcess


async def fleet_when(server: ServerProcess, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The fleet, as the server tells it, once this holds of it."""
    async with (
        aiohttp.ClientSession(server.address) as http,
        http.get("/api/fleet/stream") as response,
    ):
        async for line in response.content:
            if line.startswith(b"data: "):
                fleet: dict[str, Any] = json.loads(line[6:])
                if condition(fleet):
                    return fleet
    raise AssertionError("the stream of the fleet has ended")


def present(name: str, fleet: dict[str, Any]) -> bool:
    """Whether this agent is connected, and ready for a job."""
    return any(each["name"] == name and each["status"] == "idle" for each in fleet["agents"])


class AgentProcess:
    """`legato agent` with the demo engine. `port` is where it dials, where that is not the server itself."""

    def __init__(self, folder: Path, server: ServerProcess, name: str, *flags: str, port: str = "") -> None:
        self.name = name
        self._folder = folder
        self._server = server
        self._flags = flags
        self._port = port
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it is one of the fleet."""
        self._folder.mkdir(parents=True, exist_ok=True)
        port = self._port or self._server.address.rpartition(":")[2]
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("LEGATO_", "OLLAMA_"))
        }
        with (self._folder / f"{self.name}.stderr").open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "legato",
                "agent",
                *("--server", f"ws://127.0.0.1:{port}/ws/agents", "--name", self.name),
                *("--engine", "demo", "--model", "demo:echo"),
                *self._flags,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
                env={**kept, "LEGATO_DATA_DIR": str(self._folder)},
            )
        await fleet_when(self._server, lambda fleet: present(self.name, fleet))

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None and self._process.returncode is None:
            self._signal(signal.SIGKILL)
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class Line:
    """A relay before a server that breaks a connection in the middle of anything, while it is `cutting`."""

    def __init__(self, server: ServerProcess, seed: int, most: int) -> None:
        self.count = 0
        self.cutting = False
        self._upstream = int(server.address.rpartition(":")[2])
        self._random = Random(seed)
        self._most = most
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = str(self._listening.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The agents are gone by now, and with them their connections."""
        self._listening.close()
        await asyncio.gather(*self._open)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _carry(self, agent: asyncio.StreamReader, to_agent: asyncio.StreamWriter) -> None:
        writers = [to_agent]
        left = [self._random.randint(1, self._most)]
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._upstream)
            writers.append(to_server)
            async with asyncio.TaskGroup() as both:
                ways = [
                    both.create_task(self._pump(agent, to_server, left)),
                    both.create_task(self._pump(server, to_agent, left)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
        finally:
            for writer in writers:
                writer.transport.abort()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: list[int]
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                left[0] -= 1
                if self.cutting and left[0] <= 0:
                    writer.write(data[: self._random.randint(0, len(data))])
                    self.count += 1
                    return
                writer.write(data)
                await writer.drain()


class RawAgent:
    """A socket at the agents' door and nothing else: what is said is up to the test."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next frame of this type."""
        async for raw in self.socket:
            frame: dict[str, Any] = json.loads(raw)
            if frame["type"] == kind:
                return frame
        raise AssertionError(f"{kind} never came: {self.socket.close_code} {self.socket.close_reason}")

    async def say(self, kind: str, **fields: object) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def write(self, job: dict[str, Any], begin: int, *events: object, attempt: int = 0) -> None:
        fields = {"jobId": job["jobId"], "attempt": attempt or job["attempt"], "from": begin}
        await self.say("events", **fields, events=list(events))

    async def turned_out(self) -> int | None:
        """Wait until the server has hung up; its code."""
        with suppress(websockets.ConnectionClosedError):
            async for _ in self.socket:
                pass
        return self.socket.close_code


@asynccontextmanager
async def raw_agent(
    server: ServerProcess, *models: str, second: bool = True, key: str = ""
) -> AsyncIterator[RawAgent]:
    """An agent that has said `register`, in the words of either generation."""
    address = server.address.replace("http", "ws", 1) + "/ws/agents" + (f"?key={key}" if key else "")
    async with websockets.connect(address, create_connection=ClientSocket) as socket:
        agent = RawAgent(socket)
        await agent.hear("welcome")
        more: dict[str, object] = {}
        if second:
            facts = [{"name": name, "can": {"continues": True}} for name in models]
            more = {"protocol": 2, "slots": 1, "facts": facts, "name": "raw", "instance": "raw"}
        await agent.say("register", models=list(models), **more)
        yield agent


async def echo(agent: RawAgent) -> None:
    """An agent of the first generation that says each prompt back, a word a frame, until its connection ends."""
    async for raw in agent.socket:
        job = json.loads(raw)
        if job["type"] != "job":
            continue
        await agent.say("status", status="busy")
        for word in re.findall(r"\S+\s*", job["prompt"]):
            await agent.say("token", jobId=job["jobId"], token=word, done=False)
        await agent.say("status", status="idle")
        await agent.say("job_complete", jobId=job["jobId"])


@asynccontextmanager
async def echoing(server: ServerProcess, key: str = "") -> AsyncIterator[RawAgent]:
    """An agent of the first generation at work."""
    async with raw_agent(server, "demo:echo", second=False, key=key) as agent:
        await agent.hear("registered")
        working = asyncio.create_task(echo(agent))
        try:
            yield agent
        finally:
            await agent.socket.close()
            await working
