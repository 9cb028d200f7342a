import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import repeat
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from legato.client import Client
from legato.protocol.messages import PROTOCOL, ClientMessage
from legato.testing.fake_server import FakeConnection, FakeServer

DEADLINE = 20.0


class Served:
    """The scripted server on a real port. `port` stays the same over `stop` and `start`."""

    def __init__(self) -> None:
        self.server = FakeServer()
        self.port = 0
        self.greets = True
        self.headers: list[dict[str, str]] = []
        self.sockets: dict[FakeConnection, ServerConnection] = {}
        self._serving: WebSocketServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._serving = await serve(
            self._talk,
            "127.0.0.1",
            self.port,
            subprotocols=[PROTOCOL],  # type: ignore[list-item]
            ping_interval=None,
            process_request=self.process_request,
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
        """All connections break at once, without a word."""
        for connection, socket in list(self.sockets.items()):
            self.server.disconnect(connection)
            socket.transport.abort()

    async def close(self, code: int, reason: str) -> None:
        for socket in list(self.sockets.values()):
            await socket.close(code, reason)

    async def push(self, limit: int = 0) -> None:
        """Send what there is to be sent."""
        for connection, socket in list(self.sockets.items()):
            connection.flush(limit)
            frames, connection.frames = connection.frames, []
            try:
                for frame in frames:
                    await socket.send(msgspec.json.encode(frame), text=True)
            except ConnectionClosed:
                self.server.disconnect(connection)

    async def until(self, condition: Callable[[], object]) -> None:
        """Return once a condition holds, which something that arrives will bring about."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0.001)

    async def _talk(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.headers.append({name.lower(): value for name, value in socket.request.headers.raw_items()})
        connection = self.server.connect()
        self.sockets[connection] = socket
        if self.greets:
            connection.send(self.server.welcome())
            await self.push()
        try:
            with suppress(ConnectionClosed):
                async for frame in socket:
                    connection.receive(msgspec.json.decode(frame, type=ClientMessage))
                    await self.push()
        finally:
            self.server.disconnect(connection)
            del self.sockets[connection]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    await served.start()
    try:
        yield served
    finally:
        await served.stop()


@pytest.fixture
def connected(served: Served) -> Callable[..., Any]:
    """`async with connected() as client`, which comes back at once whenever it is cut."""

    @asynccontextmanager
    async def connect(**more: Any) -> AsyncIterator[Client]:
        async with asyncio.timeout(DEADLINE):
            async with Client(served.url, delays=lambda: repeat(0.0), **more) as client:
                yield client

    return connect
