"""The HTTP response to a read of Durable Streams."""

import asyncio
import secrets
import time
from collections.abc import Callable

from fastapi import Response
from starlette.types import Receive, Scope, Send

from legato.api.durable_streams import (
    READ_BYTES,
    StreamReadRequest,
    body_of,
    control_event,
    cursor,
    data_event,
    etag,
    is_text,
    state_headers,
)
from legato.api.response_stream import ResponseStream
from legato.errors import LegatoError
from legato.gateway.sse_response import KEEP_ALIVE, disconnected

POLL_SECONDS = 20.0
"""How long a long-poll waits for news."""

SSE_SECONDS = 60.0
"""How long a response of events lasts. The reader comes back with the last position."""

SENT_BYTES = 64 * 1024
"""About how many bytes one event has."""

COMMENT = b": still here\n\n"


class StreamReadResponse(Response):
    """Sends what a reader asked for. `enter` counts the reader and returns the function that ends that.

    `on_error` makes the response of a stream that failed before its first byte: its first reader got that error, too. `known` is the
    header `If-None-Match`.

    :raises InvalidError: the offset is not a position.
    :raises GoneError: the stream has lost what lies before the offset.
    """

    def __init__(
        self,
        stream: ResponseStream,
        read: StreamReadRequest,
        enter: Callable[[], Callable[[], None]],
        on_error: Callable[[LegatoError], Response],
        *,
        known: str | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.background = None
        self.body = b""
        self.status_code = 200
        self._stream = stream
        self._read = read
        self._enter = enter
        self._on_error = on_error
        self._known = known
        self._poll_seconds = poll_seconds
        self._offset = stream.log.position(read.offset)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leave = self._enter()
        gone = asyncio.ensure_future(disconnected(receive))
        news = asyncio.Event()
        stop = self._stream.log.listen(news.set)
        gone.add_done_callback(lambda _: news.set())
        try:
            if self._read.mode == "sse":
                await self._send_events(gone, news, send)
                return
            if self._read.mode == "long-poll":
                await self._wait_for_news(gone, news)
            if not gone.done():
                await self._answer()(scope, receive, send)
        finally:
            gone.cancel()
            stop()
            leave()

    async def _wait_for_news(self, gone: "asyncio.Future[None]", news: asyncio.Event) -> None:
        log = self._stream.log
        try:
            async with asyncio.timeout(self._poll_seconds):
                while not (log.closed or log.shown > self._offset or gone.done()):
                    news.clear()
                    await news.wait()
        except TimeoutError:
            return

    def _answer(self) -> Response:
        stream, log = self._stream, self._stream.log
        if log.closed and stream.error is not None and not log.next:
            return self._on_error(stream.error)
        tails = self._read.mode == "catch-up" and self._read.tails
        frames = [] if tails else log.frames(self._offset, READ_BYTES)
        end = self._offset + sum(map(len, frames))
        headers = {**state_headers(stream, end), **_SAFE, "cache-control": "private, no-cache"}
        if self._read.mode == "long-poll":
            headers["stream-cursor"] = str(self._cursor())
            if not frames:
                headers["cache-control"] = "no-store"
                return Response(status_code=204, headers=headers)
        if tails:
            headers["cache-control"] = "no-store"
        else:
            headers["etag"] = etag(stream, self._offset, end)
            if self._known == headers["etag"]:
                return Response(status_code=304, headers=headers)
        headers["content-type"] = log.media_type
        return Response(body_of(stream, frames), headers=headers)

    async def _send_events(self, gone: "asyncio.Future[None]", news: asyncio.Event, send: Send) -> None:
        headers = {"content-type": "text/event-stream", "cache-control": "no-cache, no-transform", **_SAFE}
        headers["x-accel-buffering"] = "no"
        if not is_text(self._stream):
            headers["stream-sse-data-encoding"] = "base64"
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        loop = asyncio.get_running_loop()
        until = loop.time() + SSE_SECONDS
        log, told = self._stream.log, -1
        while not gone.done() and loop.time() < until:
            news.clear()
            frames = log.frames(self._offset, SENT_BYTES)
            self._offset += sum(map(len, frames))
            ended = log.closed and self._offset == log.next
            if frames or ended or told < 0:
                told = self._offset
                control = control_event(self._stream, told, self._cursor())
                body = (data_event(self._stream, frames) if frames else b"") + control
                await send({"type": "http.response.body", "body": body, "more_body": not ended})
            if ended:
                return
            if not frames:
                await self._wait(news, min(KEEP_ALIVE, until - loop.time()), send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _wait(self, news: asyncio.Event, seconds: float, send: Send) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await news.wait()
        except TimeoutError:
            await send({"type": "http.response.body", "body": COMMENT, "more_body": True})

    def _cursor(self) -> int:
        return cursor(time.time(), self._read.cursor, 1 + secrets.randbelow(3600))


def head_response(stream: ResponseStream) -> Response:
    """Return what `HEAD` tells: the position behind what is there, and whether the stream has ended."""
    headers = {**state_headers(stream, stream.log.shown), **_SAFE, "cache-control": "no-store"}
    headers.pop("stream-up-to-date", None)
    return Response(headers={**headers, "content-type": stream.log.media_type})


_SAFE = {"x-content-type-options": "nosniff", "cross-origin-resource-policy": "same-origin"}
"""What keeps pages of other sites from reading a stream."""
