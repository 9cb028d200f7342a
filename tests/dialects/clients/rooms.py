"""A client of the rooms dialect, written from its description alone: plain `websockets`, and JSON by hand."""

import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

from websockets.asyncio.client import ClientConnection, connect

Frame = dict[str, Any]


class RoomClient:
    """What the page of that system does with its socket. Frames that were passed over stay in `seen`."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[Frame] = []

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def next(self) -> Frame:
        frame: Frame = json.loads(await self.socket.recv())
        self.seen.append(frame)
        return frame

    async def until(self, kind: str, **fields: Any) -> Frame:
        """The next frame of this type with these fields."""
        while True:
            frame = await self.next()
            if frame["type"] == kind and all(frame.get(name) == value for name, value in fields.items()):
                return frame

    async def join(self, session: str, **fields: Any) -> Frame:
        await self.send("join_session", session_id=session, **fields)
        return await self.until("session_joined")

    async def chat(self, content: str, **fields: Any) -> None:
        await self.send("chat_message", content=content, **fields)

    async def reply(self) -> Frame:
        """The assistant's next message, once it is there and the typing is over."""
        message = await self.until("message", role="assistant")
        await self.until("typing", typing=False)
        return message

    def cut(self) -> None:
        """Break the connection without a close frame."""
        self.socket.transport.abort()


@asynccontextmanager
async def room(
    address: str,
    *,
    token: str | None = None,
    path: str = "/ws/sessions",
    receive_buffer: int | None = None,
    **query: str,
) -> AsyncIterator[RoomClient]:
    """`receive_buffer` is what the system keeps for it at most, in bytes, while it reads nothing."""
    asked = {**query, **({"token": token} if token else {})}
    url = address.replace("http", "ws", 1) + path + (f"?{urlencode(asked)}" if asked else "")
    options: dict[str, Any] = {}
    if receive_buffer is not None:
        parts = urlsplit(url)
        small = options["sock"] = sockets.socket()
        small.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_buffer)
        small.setblocking(False)
        await asyncio.get_running_loop().sock_connect(small, (parts.hostname, parts.port))
    async with connect(url, compression=None, proxy=None, max_size=None, max_queue=None, **options) as socket:
        yield RoomClient(socket)
