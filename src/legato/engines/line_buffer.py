"""Split bytes into lines, however the network has cut them."""

LARGEST = 16 * 1024 * 1024
"""The maximum size of a line or an event of an engine, in bytes."""


class LineTooLongError(Exception):
    """A line is longer than the limit."""


class LineBuffer:
    """Collects bytes and returns complete lines without their newline. A carriage return before the newline stays.

    An incomplete line is kept in pieces, so that a long line costs only its length.
    """

    __slots__ = ("_limit", "_pieces", "_size")

    def __init__(self, limit: int = LARGEST) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes.

        :raises LineTooLongError: a line, complete or not, is longer than the limit.
        """
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._pieces:
            self._pieces.append(lines[0])
            lines[0] = b"".join(self._pieces)
            self._pieces, self._size = [], 0
        if rest:
            self._pieces.append(rest)
            self._size += len(rest)
        if self._size > self._limit or any(len(line) > self._limit for line in lines):
            raise LineTooLongError
        return lines

    @property
    def waits(self) -> bool:
        """Whether there are bytes after the last newline."""
        return bool(self._pieces)

    def rest(self) -> bytes:
        """Return the bytes after the last newline."""
        return b"".join(self._pieces)
