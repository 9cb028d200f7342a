"""A chat client of the accumulating dialect, written from its description alone: plain `websockets`, and JSON by hand."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect

Frame = dict[str, Any]

ORDER = (
    "message_received",
    "typing_start",
    "message_start",
    "message_chunk",
    "message_complete",
    "typing_stop",
)


class Answer:
    """One reply as the client saw it: its frames, and the bubble on the screen."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.bubble = ""

    @property
    def kinds(self) -> list[str]:
        """The types in their order, chunks in a row counted as one."""
        kinds: list[str] = []
        for frame in self.frames:
            if not kinds or kinds[-1] != frame["type"]:
                kinds.append(frame["type"])
        return kinds

    @property
    def chunks(self) -> list[Frame]:
        return [frame for frame in self.frames if frame["type"] == "message_chunk"]

    def first(self, kind: str) -> Frame:
        return next(frame for frame in self.frames if frame["type"] == kind)

    def take(self, frame: Frame) -> None:
        self.frames.append(frame)
        if frame["type"] == "message_chunk":
            self.bubble = frame["accumulated_content"]
        elif frame["type"] == "message_complete":
            self.bubble = frame["content"]


class AccumulatingClient:
    """What the page of that system does with its socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.session: str | None = None

    async def say(self, content: str, **more: Any) -> None:
        await self.socket.send(json.dumps({"type": "message", "content": content, **more}))

    async def next(self) -> Frame:
        frame: Frame = json.loads(await self.socket.recv())
        if "session_id" in frame:
            self.session = frame["session_id"]
        return frame

    async def until(self, kind: str, answer: Answer | None = None) -> Frame:
        while True:
            frame = await self.next()
            if answer is not None:
                answer.take(frame)
            if frame["type"] == kind:
                return frame

    async def answer(self) -> Answer:
        """Everything up to the end of the typing."""
        answer = Answer()
        await self.until("typing_stop", answer)
        return answer

    async def ask(self, content: str, **more: Any) -> Answer:
        await self.say(content, **more)
        return await self.answer()

    def cut(self) -> None:
        """Break the connection without a close frame."""
        self.socket.transport.abort()


@asynccontextmanager
async def accumulating(
    address: str, *, token: str | None = None, path: str = "/ws/assistant", **query: str
) -> AsyncIterator[AccumulatingClient]:
    asked = {**query, **({"token": token} if token else {})}
    url = address.replace("http", "ws", 1) + path + (f"?{urlencode(asked)}" if asked else "")
    async with connect(url, compression=None, proxy=None, max_size=None, max_queue=None) as socket:
        yield AccumulatingClient(socket)
