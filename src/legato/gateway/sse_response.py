"""A response of server-sent events: written to from outside, emptied by one task; and all that a server has open."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from fastapi import Response
from starlette.types import Receive, Scope, Send

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that proxies and the client know that someone is there."""


class SseResponse(Response):
    """It is over when `end` was called, and what was written before it is sent; when the client is gone; or when the server
    stops (`cut`). `owed` are the bytes that wait for the client.

    `work` is what it tells, where a client that was cut off could not come back for the rest. `expires` is when the client's
    proof of identity runs out, in seconds since the epoch; None: never, or it is one answer, which is given to its end.
    """

    cache: ClassVar[bytes] = b"no-cache, no-transform"
    work: asyncio.Task[None] | None = None

    def __init__(self, open_events: "OpenSseResponses", expires: float | None = None) -> None:
        self.status_code = 200
        self.background = None
        self.body = b""
        self.raw_headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", self.cache),
            (b"x-accel-buffering", b"no"),
        ]
        self.owed = 0
        self.over = False
        self.expires = expires
        self._open = open_events
        self._chunks: list[bytes] = []
        self._wake = asyncio.Event()

    def begin(self) -> Callable[[], Any]:
        """Called when the response begins; what it returns is called when it is over."""
        raise NotImplementedError

    async def opening(self) -> None:
        """Awaited once behind `begin`, before anything is sent: the last moment to set another status. Nobody is kept
        waiting here."""

    def emptied(self) -> None:
        """What was written is on its way, and there is room again."""

    def cut(self) -> None:
        """The server stops. The client sees an end without a last event, and comes back with the id of the last it had."""
        self.end()

    def write(self, data: bytes) -> None:
        """Nothing can be written behind the end."""
        if not self.over:
            self._chunks.append(data)
            self.owed += len(data)
            self._wake.set()

    def end(self) -> None:
        self.over = True
        self._wake.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leave = self.begin()
        gone = asyncio.ensure_future(disconnected(receive))
        gone.add_done_callback(lambda _: self._wake.set())
        try:
            await self.opening()
            status = self.status_code
            await send({"type": "http.response.start", "status": status, "headers": self.raw_headers})
            self._open.enter(self)
            while not gone.done():
                if not self._chunks and not self.over:
                    await self._news()
                over, body = self.over, b"".join(self._chunks)
                self._chunks.clear()
                self.owed = 0
                if body or over:
                    await send({"type": "http.response.body", "body": body, "more_body": not over})
                if over:
                    break
                self.emptied()
        finally:
            gone.cancel()
            self._open.leave(self)
            leave()

    async def _news(self) -> None:
        """Return when there may be something to send, or the client is gone."""
        self._wake.clear()
        try:
            async with asyncio.timeout(KEEP_ALIVE):
                await self._wake.wait()
        except TimeoutError:
            self.write(b": still here\n\n")


class OpenSseResponses:
    """The event streams of a server that are open, so that it ends them before it stops: some of them never would."""

    def __init__(self) -> None:
        self._open: set[SseResponse] = set()
        self._draining = False
        self._closed = False

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, events: SseResponse) -> None:
        """It has begun. One that comes too late is cut at once."""
        self._open.add(events)
        if self._closed or (self._draining and events.work is not None):
            events.cut()

    def leave(self, events: SseResponse) -> None:
        """It is over."""
        self._open.discard(events)

    def expire(self, now: float) -> None:
        """End those whose client's proof of identity ran out. `now` is in seconds since the epoch."""
        for events in list(self._open):
            if events.expires is not None and events.expires <= now:
                events.end()

    async def drain(self, seconds: float) -> None:
        """Let those that cannot be gone on with come to their end, for so long. No more of them are begun."""
        self._draining = True
        working = [events.work for events in self._open if events.work is not None]
        if working:
            await asyncio.wait(working, timeout=seconds)

    def close(self) -> None:
        """Cut all that are open, and all that come."""
        self._closed = True
        for events in list(self._open):
            events.cut()


async def disconnected(receive: Receive) -> None:
    """Return when the client of a request is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
