"""Server-sent events as a client reads them (HTML Living Standard, 9.2.6), without I/O."""

from typing import NamedTuple

from legato.engines.line_buffer import LARGEST, LineBuffer, LineTooLongError


class SseEvent(NamedTuple):
    """One event. `name` is empty where the stream names none."""

    name: bytes
    data: bytes


class SseParser:
    """Collects bytes and gives whole events. Comments, `id` and `retry` are passed over; lines end in LF or CRLF.

    An event that the stream's end leaves unfinished is not one.
    """

    __slots__ = ("_data", "_first", "_limit", "_lines", "_name", "_size")

    def __init__(self, limit: int = LARGEST) -> None:
        self._limit = limit
        self._lines = LineBuffer(limit)
        self._data: list[bytes] = []
        self._size = 0
        self._name = b""
        self._first = True

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that `data` completes.

        :raises TooLargeError: a line or an event is longer than the limit.
        """
        events: list[SseEvent] = []
        for line in self._lines.feed(data):
            if self._first:
                self._first = False
                line = line.removeprefix(b"\xef\xbb\xbf")
            line = line.removesuffix(b"\r")
            if not line:
                if self._data:
                    events.append(SseEvent(self._name, b"\n".join(self._data)))
                self._data, self._size, self._name = [], 0, b""
                continue
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                self._size += len(value)
                if self._size > self._limit:
                    raise LineTooLongError
                self._data.append(value)
            elif field == b"event":
                self._name = value
        return events
