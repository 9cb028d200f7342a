import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import repeat
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from legato.agent.agent import Agent
from legato.agent.engine_pool import EnginePool, EngineSource

from .gateway import Gateway

DEADLINE = 20.0


class Door:
    """The scripted gateway behind a real port, which stays the same over `stop` and `start`."""

    def __init__(self) -> None:
        self.gateway = Gateway()
        self.port = 0
        self.greets = True
        self.requests: list[Any] = []
        self.connections = 0
        self.cut_after: int | None = None
        self.socket: ServerConnection | None = None
        self._serving: Server | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/agents"

    async def start(self) -> None:
        self._serving = await serve(
            self._talk,
            "127.0.0.1",
            self.port,
            ping_interval=None,
            close_timeout=0.1,
            process_request=lambda *request: self.process_request(*request),
        )
        self.port = next(iter(self._serving.sockets)).getsockname()[1]

    async def stop(self) -> None:
        if self._serving is not None:
            self.cut()
            self._serving.close()
            await self._serving.wait_closed()
            self._serving = None

    def process_request(self, connection: ServerConnection, request: Any) -> Any:
        """Tests put their own here, to refuse a handshake."""

    def cut(self) -> None:
        """The connection breaks without a word."""
        if self.socket is not None:
            self.socket.transport.abort()

    async def say(self) -> None:
        """Send what the gateway has to say."""
        socket = self.socket
        while self.gateway.out and socket is not None:
            await socket.send(self.gateway.out.pop(0), text=True)

    async def until(self, condition: Callable[[], object]) -> None:
        """Return once a condition holds, which something that arrives will bring about."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0.001)

    async def registered(self) -> None:
        await self.until(lambda: self.socket is not None and self.gateway.registered)

    async def _talk(self, socket: ServerConnection) -> None:
        self.requests.append(socket.request)
        self.connections += 1
        self.gateway.connect()
        self.socket = socket
        # An agent that breaks off without a word is what these tests are about.
        with suppress(ConnectionClosed):
            await self._answer(socket)
        if self.socket is socket:
            self.socket = None

    async def _answer(self, socket: ServerConnection) -> None:
        if self.greets:
            await self.say()
        async for frame in socket:
            if self.cut_after is not None:
                self.cut_after -= 1
                if self.cut_after < 0:
                    self.cut_after = None
                    socket.transport.abort()
                    return
            self.gateway.hear(frame)
            await self.say()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    await door.start()
    try:
        yield door
    finally:
        await door.stop()


@pytest.fixture
def running(door: Door) -> Callable[..., Any]:
    """`async with running(engine) as agent`, which comes back at once whenever it is cut."""

    @asynccontextmanager
    async def run(*engines: Any, **more: Any) -> AsyncIterator[Agent]:
        sources = [each if isinstance(each, EngineSource) else EngineSource(each) for each in engines]
        more = {"pauses": lambda: repeat(0.0), "list_seconds": 0.01} | more
        agent = Agent(more.pop("url", door.url), EnginePool(sources), **more)
        task = asyncio.create_task(agent.run())
        try:
            async with asyncio.timeout(DEADLINE):
                yield agent
        finally:
            agent.stop()
            agent.stop()
            await asyncio.wait([task])
            task.result()

    return run
