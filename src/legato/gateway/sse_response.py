"""A response of server-sent events, and the open ones of a server."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from fastapi import Response
from starlette.types import Receive, Scope, Send

from legato.broker.person_limits import PersonLimits, unlimited

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that proxies and the client keep the connection."""


class SseResponse(Response):
    """A response that other code writes to and one task sends. It ends when `end` was called and everything written before is
    sent, when the client disconnects, or when the server stops (`abort`). `unsent_bytes` wait for the client.

    `task` is the work behind a response that a client cannot resume. `expires` is when the client's token expires, in seconds
    since the epoch; None: never, or the response is completed in any case.
    """

    cache: ClassVar[bytes] = b"no-cache, no-transform"
    task: asyncio.Task[None] | None = None

    def __init__(
        self, open_responses: "OpenSseResponses", expires: float | None = None, person: str | None = None
    ) -> None:
        """`person` is who reads it, for the limit of streams; None: it does not count."""
        self._person = person
        self.status_code = 200
        self.background = None
        self.body = b""
        self.raw_headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", self.cache),
            (b"x-accel-buffering", b"no"),
        ]
        self.unsent_bytes = 0
        self.ended = False
        self.expires = expires
        self._open = open_responses
        self._chunks: list[bytes] = []
        self._wake = asyncio.Event()

    def start(self) -> Callable[[], Any]:
        """Start writing. The returned function is called at the end."""
        raise NotImplementedError

    async def before_start(self) -> None:
        """Wait after `start`, before anything is sent: the last moment to set another status. It must return soon."""

    def on_drained(self) -> None:
        """Handle that everything written was sent and there is room again."""

    def abort(self) -> None:
        """End the response because the server stops. The client gets no last event, and resumes with the id of the last one it received."""
        self.end()

    def write(self, data: bytes) -> None:
        """Append data. After the end nothing is written."""
        if not self.ended:
            self._chunks.append(data)
            self.unsent_bytes += len(data)
            self._wake.set()

    def end(self) -> None:
        self.ended = True
        self._wake.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._open.held_by(self._person):
            await self._respond(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        stop = self.start()
        disconnect = asyncio.ensure_future(disconnected(receive))
        disconnect.add_done_callback(lambda _: self._wake.set())
        try:
            await self.before_start()
            status = self.status_code
            await send({"type": "http.response.start", "status": status, "headers": self.raw_headers})
            self._open.add(self)
            while not disconnect.done():
                if not self._chunks and not self.ended:
                    await self._wait_for_data()
                ended, body = self.ended, b"".join(self._chunks)
                self._chunks.clear()
                self.unsent_bytes = 0
                if body or ended:
                    await send({"type": "http.response.body", "body": body, "more_body": not ended})
                if ended:
                    break
                self.on_drained()
        finally:
            disconnect.cancel()
            self._open.discard(self)
            stop()

    async def _wait_for_data(self) -> None:
        """Return when there may be something to send, or the client disconnected."""
        self._wake.clear()
        try:
            async with asyncio.timeout(KEEP_ALIVE):
                await self._wake.wait()
        except TimeoutError:
            self.write(b": still here\n\n")


class OpenSseResponses:
    """The open event streams of a server, which end before it stops. `limits` are those of each person."""

    def __init__(self, limits: PersonLimits | None = None) -> None:
        self._limits = limits or unlimited()
        self._open: set[SseResponse] = set()
        self._draining = False
        self._closed = False

    def __len__(self) -> int:
        return len(self._open)

    def held_by(self, person: str | None) -> AbstractContextManager[None]:
        """Count a stream of a person while the context lasts; None: of nobody.

        :raises OverLimitError: they have as many as one person may, when the context is entered.
        """
        return nullcontext() if person is None else self._limits.hold("event_streams", person)

    def add(self, response: SseResponse) -> None:
        """Add a response that started. If the server stops, it is aborted at once."""
        self._open.add(response)
        if self._closed or (self._draining and response.task is not None):
            response.abort()

    def discard(self, response: SseResponse) -> None:
        """Remove a response that ended."""
        self._open.discard(response)

    def expire(self, now: float) -> None:
        """End the responses whose client's token has expired. `now` is in seconds since the epoch."""
        for response in list(self._open):
            if response.expires is not None and response.expires <= now:
                response.end()

    async def drain(self, seconds: float) -> None:
        """Wait at most `seconds` for the responses that cannot be resumed. No further ones are started."""
        self._draining = True
        tasks = [response.task for response in self._open if response.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    def close(self) -> None:
        """Abort all open and all future responses."""
        self._closed = True
        for response in list(self._open):
            response.abort()


async def disconnected(receive: Receive) -> None:
    """Return when the client of a request has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
