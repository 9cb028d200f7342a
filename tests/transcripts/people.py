"""People at the sockets of a server, who know the notes and nothing of Legato."""

import asyncio
import json
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from .exchange import Exchange, Frame, Until

PATIENCE = 20.0
"""Seconds to wait for a frame. Nothing is ever asked of how fast one comes."""


class Person:
    """One person with one socket at a time, who writes all that happens down."""

    def __init__(self, exchange: Exchange, address: str, name: str = "") -> None:
        self.exchange = exchange
        self._address = address.replace("http://", "ws://")
        self.name = name
        self._socket: ClientConnection | None = None
        self.frames: list[Frame] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None and self._socket.state is State.OPEN:
            await self.leave()

    @property
    def socket(self) -> ClientConnection:
        assert self._socket is not None
        return self._socket

    def _note(self, words: str) -> None:
        self.exchange.note(f"{self.name}| {words}")

    async def connects(self, path: str, token: str | None = None, **headers: str) -> Self:
        """`token` goes into the address; the file shows only that there was one."""
        self._note(f"connects to {path}" + (" with a token" if token else ""))
        query = f"{'&' if '?' in path else '?'}token={token}" if token else ""
        self._socket = await connect(self._address + path + query, additional_headers=headers, max_size=None)
        return self

    async def says(self, frame: Frame | str) -> None:
        self.exchange.sent(self.name, frame)
        await self.socket.send(frame if isinstance(frame, str) else json.dumps(frame))

    async def hears(self, until: Until) -> Frame:
        """Everything up to the first frame of this type, or of which this is true. Returns that frame."""
        while True:
            frame = await self.next()
            if frame.get("type") == until if isinstance(until, str) else until(frame):
                return frame

    async def hears_text(self, text: str, piece: str = "content") -> None:
        """Everything, until the pieces heard from here on are this text."""
        heard = ""
        while heard != text:
            frame = await self.next()
            heard += frame.get(piece, "") if frame["type"] in {"message_chunk", "token", "chunk"} else ""
            assert text.startswith(heard), heard

    async def next(self) -> Frame:
        try:
            async with asyncio.timeout(PATIENCE):
                said = await self.socket.recv()
        except TimeoutError:
            raise AssertionError("nothing more was heard:\n" + "\n".join(self.exchange.lines[-20:])) from None
        assert isinstance(said, str), "a binary frame"
        frame: Frame = json.loads(said)
        self.frames.append(frame)
        self.exchange.heard(self.name, frame)
        return frame

    async def is_closed(self) -> int:
        """Everything until the server closes, and with which code."""
        try:
            while True:
                await self.next()
        except ConnectionClosed:
            code = self.socket.close_code
            self._note(f"is closed with {code}")
            return code or 0

    async def is_cut(self) -> None:
        """The network goes, without a word."""
        self._note("is cut off")
        self.socket.transport.abort()
        await self.socket.wait_closed()

    async def leaves(self) -> None:
        await self.leave()
        self._note("leaves")

    async def leave(self) -> None:
        await self.socket.close()


def types(frames: list[Frame]) -> list[Any]:
    return [frame.get("type") for frame in frames]
