"""A client of the tokens dialect, written from its description alone: plain `websockets`, and JSON by hand."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect

Frame = dict[str, Any]


class TokensClient:
    """What the page of that system does with its socket: a bubble that grows, and tools that one sees at work."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.conversation: str | None = None

    async def say(self, text: str, **fields: Any) -> None:
        await self.send("message", message=text, **fields)

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def next(self) -> Frame:
        frame: Frame = json.loads(await self.socket.recv())
        return frame

    async def until(self, *kinds: str) -> Frame:
        """The next frame of one of these types; others are passed over."""
        while (frame := await self.next())["type"] not in kinds:
            pass
        return frame

    async def answer(self) -> list[Frame]:
        """All frames up to the end of an answer."""
        frames = [await self.next()]
        while frames[-1]["type"] not in ("complete", "error"):
            frames.append(await self.next())
        if frames[-1]["type"] == "complete":
            self.conversation = frames[-1]["conversation_id"]
        return frames

    async def ask(self, text: str, **fields: Any) -> str:
        """Send a message and read the whole answer."""
        await self.say(text, **fields)
        return bubble(await self.answer())

    def cut(self) -> None:
        """Break the connection without a close frame."""
        self.socket.transport.abort()


def bubble(frames: list[Frame]) -> str:
    """What stands on the screen after these frames."""
    return "".join(frame["content"] for frame in frames if frame["type"] == "token")


@asynccontextmanager
async def chat(address: str, **query: str) -> AsyncIterator[TokensClient]:
    """A client that is connected."""
    async with raw_chat(address, **query) as client:
        assert (await client.next())["type"] == "connected"
        yield client


@asynccontextmanager
async def raw_chat(
    address: str, headers: dict[str, str] | None = None, **query: str
) -> AsyncIterator[TokensClient]:
    url = address.replace("http", "ws", 1) + "/ws/chat" + (f"?{urlencode(query)}" if query else "")
    async with connect(
        url, additional_headers=headers, compression=None, proxy=None, max_size=None
    ) as socket:
        yield TokensClient(socket)
