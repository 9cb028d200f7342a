"""Lines out of bytes, however the network has cut them."""

LARGEST = 16 * 1024 * 1024
"""No line and no event of an engine is larger than this, in bytes."""


class LineTooLongError(Exception):
    """A line is larger than it may be."""


class LineBuffer:
    """Collects bytes and gives whole lines, without their newline. A carriage return before it is left in place.

    What is unfinished is kept in pieces, so that a long line costs no more than its length.
    """

    __slots__ = ("_limit", "_pieces", "_size")

    def __init__(self, limit: int = LARGEST) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes.

        :raises TooLargeError: a line, whole or unfinished, is longer than the limit.
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

    def rest(self) -> bytes:
        """What came behind the last newline."""
        return b"".join(self._pieces)
