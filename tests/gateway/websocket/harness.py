"""A real uvicorn with the doors of a test, on both transports and both loops."""

import asyncio
import contextlib
import socket as sockets
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from websockets.asyncio.client import ClientConnection, connect

from legato.dialects.base import Endpoint, Handshake, Session, Socket
from legato.gateway.websocket import Limits, Origins, open_endpoints

QUICK = Limits(
    tick_seconds=0.05,
    ping_seconds=0.2,
    silent_seconds=0.6,
    close_seconds=0.3,
    stall_seconds=0.3,
    head_seconds=0.3,
)
"""Time runs fast here; what a test waits for is an event, never the time itself."""


class Talk(Session):
    """Says everything back, does what it is told, and remembers."""

    def __init__(self, handshake: Handshake, socket: Socket) -> None:
        self.handshake = handshake
        self.socket = socket
        self.heard: list[str] = []
        self.resumes = 0
        self.ends = 0
        self.over = asyncio.Event()

    def received(self, payload: bytes) -> None:
        text = payload.decode()
        self.heard.append(text)
        match text.split(" ", 2):
            case ["!raise"]:
                raise ValueError("a session must not, but this one does")
            case ["!close", code, reason]:
                self.socket.close(int(code), reason)
                self.socket.send(b"nothing is written after a close")
            case _:
                self.socket.send(payload)

    def resumed(self) -> None:
        self.resumes += 1

    def closed(self) -> None:
        self.ends += 1
        self.over.set()


class Gentle(Talk):
    """A talk that goes on behind a binary message."""

    def binary(self) -> bool:
        self.socket.send(b"text, please")
        return True


class RunningServer:
    """A running server, and the sessions that were opened in it."""

    def __init__(self, port: int, server: uvicorn.Server, talks: list[Talk], scheme: str) -> None:
        self.port = port
        self.server = server
        self.talks = talks
        self.address = f"{scheme}://127.0.0.1:{port}"

    def connect(self, path: str = "/ws", **options: Any) -> AbstractAsyncContextManager[ClientConnection]:
        return connect(
            self.address + path, **{"compression": None, "ping_interval": None, "proxy": None} | options
        )

    async def raw(self, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, **options)

    async def opened(
        self, path: str = "/ws", *, receive_buffer: int | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A WebSocket by hand."""
        connection = sockets.socket()
        if receive_buffer is not None:
            connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_buffer)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=connection, limit=1024)
        writer.write(request(path))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        return reader, writer


def request(path: str = "/ws", *headers: str) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: keep-alive, Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
        "\r\n",
    ]
    return "\r\n".join(lines).encode()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running_server(
    transport: Literal["direct", "asgi"] = "direct",
    *doors: Endpoint,
    limits: Limits | None = None,
    origins: Origins | None = None,
    tls: Callable[..., ssl.SSLContext] | None = None,
) -> AsyncIterator[RunningServer]:
    talks: list[Talk] = []

    def open_talk(handshake: Handshake, socket: Socket) -> Talk:
        talk = Talk(handshake, socket)
        talks.append(talk)
        return talk

    def open_gentle(handshake: Handshake, socket: Socket) -> Talk:
        talks.append(talk := Gentle(handshake, socket))
        return talk

    app = FastAPI()

    @app.get("/health")
    def health() -> str:
        return "well"

    @app.get("/large.txt")
    def large() -> PlainTextResponse:
        return PlainTextResponse("z" * (32 << 20))

    @app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    standard = [
        Endpoint("/ws", open_talk, ("legato.v1", "legato.v2")),
        Endpoint("/rooms/{room}/seats/{seat}", open_talk),
        Endpoint("/forgiving", open_gentle),
        Endpoint("/large", open_talk, max_frame_bytes=1 << 20, max_frames_per_second=0),
    ]
    options = open_endpoints(app, doors or standard, transport=transport, limits=limits, origins=origins)
    listener = sockets.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, lifespan="off", ssl_context_factory=tls, **options)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield RunningServer(listener.getsockname()[1], server, talks, "wss" if tls else "ws")
    finally:
        for each in server.servers:
            each.close()
        for connection in list(server.server_state.connections):
            with contextlib.suppress(RuntimeError):
                connection.shutdown()
        await until(lambda: not server.server_state.connections and not server.server_state.tasks)
        listener.close()


def masked(first: int, payload: bytes, *, length: int | None = None) -> bytes:
    """A frame as a client sends it, with any first byte and any length it claims."""
    size = len(payload) if length is None else length
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = bytes((first, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 0xFF)) + size.to_bytes(8, "big")
    mask = b"\x11\x22\x33\x44"
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


async def frames(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, bytes]]:
    """Frames of the server until it hangs up: first byte and payload."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionResetError):
        while True:
            first, second = await reader.readexactly(2)
            if second == 126:
                second = int.from_bytes(await reader.readexactly(2), "big")
            elif second == 127:
                second = int.from_bytes(await reader.readexactly(8), "big")
            yield first, await reader.readexactly(second)


async def read_close(reader: asyncio.StreamReader) -> tuple[int, str]:
    """The code and reason of the close frame that comes sooner or later."""
    async for first, payload in frames(reader):
        if first == 0x88:
            return int.from_bytes(payload[:2], "big"), payload[2:].decode()
    return 1006, ""
