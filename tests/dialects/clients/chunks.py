"""A client of the chunks dialect, written from its description alone: plain `websockets`, and JSON by hand."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect

Frame = dict[str, Any]


class ChunksClient:
    """What the app of that system does with its socket: it knows by `messageId` which bubble a chunk belongs to."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.bubbles: dict[str, str] = {}
        self.messages: dict[str, Frame] = {}
        self.chunks: list[Frame] = []

    async def say(self, text: str, **fields: Any) -> None:
        await self.send("message", text=text, **fields)

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def resume(self, conversation: str, last: str | None, **fields: Any) -> None:
        """The bubbles are those of one socket, and are never cleared: what is told twice stands in them twice."""
        await self.send("resume", conversationId=conversation, lastMessageId=last, **fields)

    async def next(self) -> Frame:
        frame: Frame = json.loads(await self.socket.recv())
        if frame["type"] == "chunk":
            self.chunks.append(frame)
            self.bubbles[frame["messageId"]] = self.bubbles.get(frame["messageId"], "") + frame["data"]
        elif frame["type"] == "done":
            self.messages[frame["messageId"]] = frame["message"]
        return frame

    async def until(self, *kinds: str, **fields: Any) -> Frame:
        """The next frame of one of these types, with these fields; others are taken in on the way."""
        while True:
            frame = await self.next()
            if frame["type"] in kinds and all(frame.get(name) == value for name, value in fields.items()):
                return frame

    async def ask(self, text: str, **fields: Any) -> Frame:
        """Send a message and wait for the stored reply."""
        await self.say(text, **fields)
        message: Frame = (await self.until("done"))["message"]
        return message

    def cut(self) -> None:
        """Break the connection without a close frame."""
        self.socket.transport.abort()


@asynccontextmanager
async def thread(
    address: str, conversation: str, headers: dict[str, str] | None = None, **query: str
) -> AsyncIterator[ChunksClient]:
    path = f"/ws/conversations/{conversation}" + (f"?{urlencode(query)}" if query else "")
    url = address.replace("http", "ws", 1) + path
    async with connect(
        url, additional_headers=headers, compression=None, proxy=None, max_size=None
    ) as socket:
        yield ChunksClient(socket)
