"""Server-sent events as a client reads them (HTML Living Standard, 9.2.6), without I/O."""

from typing import NamedTuple

from legato.engines.line_buffer import LARGEST, LineBuffer, LineTooLongError


class SseEvent(NamedTuple):
    """One event. `name` is empty if the stream names none."""

    name: bytes
    data: bytes


class SseParser:
    """Collects bytes and gives whole events. Passes over comments, `id` and `retry`; `signs` counts them, and blank events.

    Lines end in LF, CRLF or CR. `end` gives the event that the end of the stream leaves without its blank line.
    """

    __slots__ = ("_cr", "_data", "_first", "_limit", "_lines", "_name", "_size", "signs")

    def __init__(self, limit: int = LARGEST) -> None:
        self._limit = limit
        self._lines = LineBuffer(limit)
        self._data: list[bytes] = []
        self._size = 0
        self._name = b""
        self._first = True
        self._cr = False
        self.signs = 0

    def feed(self, data: bytes) -> list[SseEvent]:
        """Return the events that `data` completes.

        :raises LineTooLongError: a line or an event is longer than the limit.
        """
        if not self._cr and not self._data and not self._name and not self._first:
            plain = self._plain_events(data)
            if plain is not None:
                return plain
        if self._cr and data:
            data = data.removeprefix(b"\n")
            self._cr = False
        if b"\r" in data:
            self._cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        events: list[SseEvent] = []
        for line in self._lines.feed(data):
            if line:
                self._read(line)
            else:
                self._dispatch(events)
        return events

    def _plain_events(self, data: bytes) -> list[SseEvent] | None:
        """Return the events if they are whole and have one line each, as in most cases; otherwise None, and nothing was done."""
        if not data.endswith(b"\n\n") or b"\r" in data or self._lines.waits or len(data) > self._limit:
            return None
        if data.find(b"\n") == len(data) - 2 and data[:6] == b"data: ":
            return [SseEvent(b"", data[6:-2])]
        pieces = data.split(b"\n\n")
        del pieces[-1]
        for piece in pieces:
            if piece[:6] != b"data: " or b"\n" in piece:
                return None
        return [SseEvent(b"", piece[6:]) for piece in pieces]

    def end(self) -> list[SseEvent]:
        """Return the event that the stream left unfinished, if there is one. Call this once, at the end of the bytes."""
        events: list[SseEvent] = []
        rest = self._lines.rest()
        if rest:
            self._read(rest)
        self._dispatch(events)
        return events

    def _read(self, line: bytes) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._size += len(value)
            if self._size > self._limit:
                raise LineTooLongError
            self._data.append(value)
        elif field == b"event":
            self._name = value
        else:
            self.signs += 1

    def _dispatch(self, events: list[SseEvent]) -> None:
        if self._data:
            events.append(SseEvent(self._name, b"\n".join(self._data)))
        self._data, self._size, self._name = [], 0, b""
