"""Reading a response by the protocol of Durable Streams (its PROTOCOL.md, June 2026), without I/O.

What a reader asks for, what a catch-up read and an event tell, and the cursors of live reads.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from legato.api.byte_log import TAIL
from legato.api.response_stream import ResponseStream
from legato.errors import InvalidError

ReadMode = Literal["catch-up", "long-poll", "sse", "raw"]
"""How a reader reads. `catch-up`: what is there. `long-poll`: what is there, or what comes next. `sse`: all, as events of
Durable Streams. `raw`: all, as the first connection would have got it; this one is Legato's own.
"""

READ_BYTES = 1024 * 1024
"""About how many bytes one catch-up read gives."""

INTERVAL_SECONDS = 20.0
EPOCH = 1_728_432_000.0
"""Cursors count intervals from 2024-10-09 00:00 UTC."""

_MODES: dict[str, ReadMode] = {"long-poll": "long-poll", "sse": "sse", "raw": "raw"}
_LINE_ENDS = re.compile(rb"\r\n|\r|\n")
_SMALL = re.compile(r"\d{1,15}", re.ASCII)


class StreamReadRequest(Struct, frozen=True):
    """What a reader asks for. `offset` is a position as text, None: the beginning. `cursor` is that of an earlier live read."""

    mode: ReadMode = "catch-up"
    offset: str | None = None
    cursor: int | None = None

    @classmethod
    def parse(
        cls,
        offsets: Sequence[str],
        live: str | None = None,
        cursor: str | None = None,
        last_event_id: str | None = None,
        *,
        raw: bool = False,
    ) -> "StreamReadRequest":
        """Return what query parameters and headers ask for. `last_event_id` stands for a missing offset. `raw`: without `live`, the
        reader wants the response as it comes.

        :raises InvalidError: a parameter is wrong, or a live read names no offset.
        """
        if len(offsets) > 1:
            raise InvalidError("`offset` is given more than once.")
        offset = offsets[0] if offsets else last_event_id or None
        mode = _MODES.get(live) if live is not None else "raw" if raw else "catch-up"
        if mode is None:
            raise InvalidError("`live` is `long-poll`, `sse` or `raw`.")
        if mode in ("long-poll", "sse") and offset is None:
            raise InvalidError("A live read needs `offset`: a position that the stream gave, `-1`, or `now`.")
        number = int(cursor) if cursor is not None and _SMALL.fullmatch(cursor) else None
        return cls(mode, offset, number)

    @property
    def tails(self) -> bool:
        """Whether it begins at the end of what is there."""
        return self.offset == TAIL


def cursor(now: float, earlier: int | None, jitter: int) -> int:
    """Return the cursor of a live read at `now`, in seconds since the epoch. It is larger than the reader's `earlier` one; `jitter` is
    a random number of seconds between 1 and 3600.
    """
    current = int((now - EPOCH) // INTERVAL_SECONDS)
    if earlier is None or earlier < current:
        return current
    return earlier + max(1, int(jitter // INTERVAL_SECONDS))


def tells_messages(stream: ResponseStream) -> bool:
    """Return whether each frame is a JSON value of its own. A response that is one JSON document is told as it is."""
    return stream.streams and _media_type(stream) == "application/json"


def is_text(stream: ResponseStream) -> bool:
    """Return whether events can have the bytes as they are. Others have them in base64."""
    kind = _media_type(stream)
    return kind.startswith("text/") or kind == "application/json" or kind.endswith("+json")


def body_of(stream: ResponseStream, frames: Sequence[bytes]) -> bytes:
    """Return the body that tells these frames."""
    return b"[" + b",".join(frames) + b"]" if tells_messages(stream) else b"".join(frames)


def etag(stream: ResponseStream, first: int, last: int) -> str:
    """Return the entity tag of what lies between two offsets."""
    ended = ":end" if stream.log.closed and last == stream.log.shown else ""
    return f'"{stream.id}:{stream.log.incarnation}:{first}:{last}{ended}"'


def state_headers(stream: ResponseStream, offset: int) -> dict[str, str]:
    """Return the headers that say how far a read came."""
    log = stream.log
    headers = {"stream-next-offset": str(log.at(offset))}
    if offset == log.shown:
        headers["stream-up-to-date"] = "true"
        if log.closed:
            headers["stream-closed"] = "true"
    return headers


def data_event(stream: ResponseStream, frames: Sequence[bytes]) -> bytes:
    """Return the event with these frames. A line end in them makes no event of its own."""
    body = body_of(stream, frames)
    lines = _LINE_ENDS.split(body) if is_text(stream) else [b64encode(body)]
    # A reader removes one space behind the colon.
    data = b"".join(b"data:%b%b\n" % (b" " if line.startswith(b" ") else b"", line) for line in lines)
    return b"event: data\n" + data + b"\n"


def control_event(stream: ResponseStream, offset: int, cursor: int) -> bytes:
    """Return the event that follows each event with data, and says how far it came."""
    log = stream.log
    told: dict[str, object] = {"streamNextOffset": str(log.at(offset))}
    if offset == log.shown:
        told["upToDate"] = True
    if offset == log.shown and log.closed:
        told["streamClosed"] = True
    else:
        told["streamCursor"] = str(cursor)
    return b"event: control\ndata:" + msgspec.json.encode(told) + b"\n\n"


def _media_type(stream: ResponseStream) -> str:
    return stream.log.media_type.partition(";")[0].strip().lower()
