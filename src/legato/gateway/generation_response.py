"""The HTTP response of a generation: its log from a position on, as it is written."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from legato.api.generations import Generations
from legato.api.response_stream import ResponseStream
from legato.errors import LegatoError
from legato.gateway.middleware import SERVER_SEND
from legato.gateway.sse_response import KEEP_ALIVE, disconnected

STREAM_HEADER = "legato-stream"

OPEN_SECONDS = 10.0
"""How long the status waits for the first word. A failure within that time has a status of its own."""

SENT_BYTES = 64 * 1024
"""About how many bytes are sent at once."""

COMMENT = b": still here\n"
"""A sign of life between two events. A second line end would make an event of it for clients that count `id` lines as one."""


def resume_position(request: Request) -> str | None:
    """Return the position from which a repeated request goes on: its `Last-Event-ID`, if an idempotency key says what it repeats."""
    return request.headers.get("last-event-id") if "idempotency-key" in request.headers else None


class GenerationResponse(Response):
    """Sends the frames of a generation from `offset` on. The client is a reader of the generation until it leaves.

    `on_error` makes the response of a generation that failed before it was opened. `on_sent` is called when the client, which is
    still there, has been sent the end. `resume_at` is the position that the client has, in place of `offset`.
    `before` is sent in front of the frames.

    :raises InvalidError: `resume_at` is not a position.
    :raises GoneError: the stream has lost what lies before it.
    """

    def __init__(
        self,
        stream: ResponseStream,
        generations: Generations,
        on_error: Callable[[LegatoError], Response],
        *,
        offset: int = 0,
        resume_at: str | None = None,
        headers: Mapping[str, str] | None = None,
        on_sent: Callable[[], None] = lambda: None,
        before: bytes = b"",
    ) -> None:
        self.background = None
        self.body = b""
        self.status_code = 200
        self._stream = stream
        self._generations = generations
        self._on_error = on_error
        self._offset = offset if resume_at is None else stream.log.position(resume_at)
        self._on_sent = on_sent
        self._before = before
        self.raw_headers = [
            (b"content-type", stream.log.media_type.encode()),
            (STREAM_HEADER.encode(), stream.id.encode()),
            (b"stream-next-offset", str(stream.log.at(self._offset)).encode()),
            (b"cache-control", b"no-cache, no-transform" if stream.streams else b"no-store"),
            *((name.encode(), value.encode()) for name, value in (headers or {}).items()),
        ]
        if stream.streams:
            self.raw_headers.append((b"x-accel-buffering", b"no"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leave = self._generations.read(self._stream)
        gone = asyncio.ensure_future(disconnected(receive))
        try:
            if not await self._opened(gone):
                return
            error = self._stream.error
            if error is not None and not self._stream.log.next:
                await self._on_error(error)(scope, receive, send)
                self._on_sent()
                return
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if self._before:
                await send({"type": "http.response.body", "body": self._before, "more_body": True})
            await self._send(gone, scope.get(SERVER_SEND, send))
        finally:
            gone.cancel()
            leave()

    async def _opened(self, gone: "asyncio.Future[Any]") -> bool:
        """Wait until the status is certain. Return False if the client left."""
        stream = self._stream
        event = stream.opened if stream.streams else stream.done
        opened: asyncio.Future[Any] = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait(
                [opened, gone],
                return_when=asyncio.FIRST_COMPLETED,
                timeout=OPEN_SECONDS if stream.streams else None,
            )
        finally:
            opened.cancel()
        if gone.done():
            return False
        if not event.is_set():
            self._generations.begin(stream)
        return True

    async def _send(self, gone: "asyncio.Future[Any]", send: Send) -> None:
        log, offset = self._stream.log, self._offset
        news = asyncio.Event()
        stop = log.listen(news.set)
        gone.add_done_callback(lambda _: news.set())
        silence = SilenceTimer(KEEP_ALIVE if log.numbered else None, news.set)
        try:
            while not gone.done():
                news.clear()
                frames = log.frames(offset, SENT_BYTES)
                body = b"".join(frames)
                offset += len(body)
                ended = log.closed and offset == log.next
                if body or ended:
                    await send({"type": "http.response.body", "body": body, "more_body": not ended})
                    silence.end()
                elif silence.lasts():
                    await send({"type": "http.response.body", "body": COMMENT, "more_body": True})
                    silence.end()
                if ended:
                    if not gone.done():
                        self._on_sent()
                    return
                if not frames:
                    await news.wait()
        finally:
            silence.close()
            stop()


class SilenceTimer:
    """Calls `wake` if nothing was sent for `seconds`; None: never. One timer serves a whole response: a timeout for each token would
    cost more than the token.
    """

    def __init__(self, seconds: float | None, wake: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._wake = wake
        self._since = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        if seconds is not None:
            self._timer = self._loop.call_at(self._since + seconds, self._look)

    def end(self) -> None:
        """Note that something was sent."""
        self._since = self._loop.time()

    def lasts(self) -> bool:
        """Return whether nothing was sent for long enough."""
        return self._seconds is not None and self._loop.time() >= self._since + self._seconds

    def close(self) -> None:
        """Call nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        if self._seconds is None:
            return
        if self.lasts():
            self._wake()
        due = self._loop.time() if self.lasts() else self._since
        self._timer = self._loop.call_at(due + self._seconds, self._look)
