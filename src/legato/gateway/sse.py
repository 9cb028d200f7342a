"""Server-sent events: a viewer whose socket is an HTTP response."""

import asyncio

from fastapi import Response
from starlette.types import Receive, Scope, Send

from legato.chat.service import ChatService
from legato.dialects.native.codec import delta, encode
from legato.protocol.messages import ResetStream
from legato.storage.base import Conversation, Message
from legato.stream import Batch, Flusher, Log, Position, ResetReason, Viewer

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that proxies and the client know that someone is there."""

OWED = 64 * 1024
"""Bytes that may wait for the client; beyond, the viewer waits and its next event is longer."""


def event(log: Log, batch: Batch) -> bytes:
    """The `Encoding`: JSON has no bare newline, so nothing in a text can end the event or begin another."""
    return b"id: %s:%d\ndata: %s\n\n" % (log.epoch.encode(), batch.next, delta(log, batch))


def position_of(stream: str, shown: str) -> Position:
    """What a `Last-Event-ID` says; one that was never ours is of an unknown epoch."""
    epoch, _, offset = shown.rpartition(":")
    if not epoch or not offset.isascii() or not offset.isdigit() or len(offset) > 18:
        return Position(stream, "", 0)
    return Position(stream, epoch, int(offset))


class _Present:
    """A watcher that only counts: a reply that is followed by SSE is not unwatched."""

    def on_message(self, message: Message) -> None:
        """The stream itself tells."""

    def on_conversation(self, conversation: Conversation) -> None:
        """The stream itself tells."""

    def on_deleted(self, conversation: str) -> None:
        """The stream ends by itself."""

    def on_stream(self, log: Log) -> None:
        """Another reply is another request."""


class EventStream(Response):
    """A `Sink` that one task empties into the response."""

    def __init__(
        self,
        service: ChatService,
        flusher: Flusher,
        conversation: str,
        log: Log,
        offset: int,
        reset: ResetReason | None,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.body = b""
        self.raw_headers = list(HEADERS)
        self._service = service
        self._flusher = flusher
        self._conversation = conversation
        self._log = log
        self._offset = offset
        self._chunks: list[bytes] = []
        self._owed = 0
        self._wake = asyncio.Event()
        self._over = False
        if reset is not None:
            message = encode(ResetStream(log.stream, reset, log.epoch))
            self.write(b"data: %s\n\n" % message)

    @property
    def writable(self) -> bool:
        return self._owed < OWED

    def write(self, data: bytes) -> None:
        self._chunks.append(data)
        self._owed += len(data)

    def flush(self) -> None:
        if self._chunks:
            self._wake.set()

    def _ended(self, viewer: Viewer) -> None:
        self._over = True
        self._wake.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        present = _Present()
        self._service.attend(self._conversation, present)
        viewer = Viewer(self._log, self._offset, event, self, self._flusher, self._ended)
        gone = asyncio.ensure_future(_disconnected(receive))
        gone.add_done_callback(lambda _: self._wake.set())
        try:
            while not gone.done():
                if not self._chunks and not self._over:
                    await self._news()
                over, chunks, self._chunks, self._owed = self._over, self._chunks, [], 0
                if chunks or over:
                    body = b"".join(chunks)
                    await send({"type": "http.response.body", "body": body, "more_body": not over})
                if over:
                    break
                viewer.mark()
        finally:
            gone.cancel()
            viewer.detach()
            self._service.unfollow(self._conversation, present)

    async def _news(self) -> None:
        """Return when there may be something to send, or the client is gone."""
        self._wake.clear()
        try:
            async with asyncio.timeout(KEEP_ALIVE):
                await self._wake.wait()
        except TimeoutError:
            self.write(b": still here\n")


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
