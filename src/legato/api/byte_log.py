"""The log of one response: the bytes that its client gets, in frames, kept so that another connection can read on. Pure values."""

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from legato.errors import GoneError, InvalidError, ReplyTooLongError

RESPONSE_BYTES = 64 * 1024 * 1024
"""The largest response."""

_POSITION = re.compile(r"(\d{4})_(\d{16})", re.ASCII)

BEGINNING = "-1"
TAIL = "now"
"""The two named offsets of Durable Streams (PROTOCOL.md, June 2026)."""


class BytePosition(NamedTuple):
    """A place between two frames: bytes from the start, in one incarnation of the log.

    A log that a new server restored from the database has the next incarnation. Its text is another one behind what was
    restored, so a position of the old one that lies behind that is refused.
    """

    incarnation: int
    offset: int

    def __str__(self) -> str:
        """Return the opaque form. It has a fixed width, so that positions of one log sort as text."""
        return f"{self.incarnation:04d}_{self.offset:016d}"


class ByteLog:
    """An append-only log of frames, closed once. Listeners are called after each append and after the close, synchronously.

    `restored` frames are those of an earlier incarnation: positions of it are valid up to their end. `media_type` is that of
    the whole; `numbered` frames are server-sent events, which get their position as `id`.
    """

    __slots__ = (
        "_frames", "_held", "_id_start", "_listeners", "_starts", "_valid", "closed", "incarnation", "media_type", "next", "numbered"
    )  # fmt: skip

    def __init__(
        self,
        media_type: str,
        *,
        numbered: bool = False,
        incarnation: int = 1,
        restored: Sequence[bytes] = (),
    ) -> None:
        self.media_type = media_type
        self.numbered = numbered
        self.incarnation = incarnation
        self.next = 0
        self.closed = False
        self._frames: list[bytes] = []
        self._starts: list[int] = []
        self._held: int | None = None
        self._id_start = b"%04d_" % incarnation
        self._listeners: tuple[Callable[[], None], ...] = ()
        own = b"id: %04d_" % incarnation if numbered and incarnation > 1 else None
        self._valid = 0
        for frame in restored:
            self._add(frame)
            # A numbered frame says which incarnation wrote it.
            if own is None or not frame.startswith(own):
                self._valid = self.next

    def append(self, event: bytes, *, end: bool = False) -> None:
        """Append a frame. A numbered one gets the position behind it as its `id`. `end`: it belongs to the end of the response, which
        may exceed the largest size, so that no response is without an end.

        :raises ReplyTooLongError: the response is larger than one may be. Nothing was appended.
        """
        if self.closed:
            raise AssertionError("the response has ended")
        # The common case of `_add` and `_tell`, without a call: this runs once a token.
        start = self.next
        behind = start + len(event)
        if self.numbered:
            behind += _ID_BYTES
            event = b"id: %b%016d\n%b" % (self._id_start, behind, event)
        if behind > RESPONSE_BYTES and not end:
            raise ReplyTooLongError(_TOO_LONG)
        self._starts.append(start)
        self._frames.append(event)
        self.next = behind
        if self._held is None:
            for listener in self._listeners:
                listener()

    def hold(self) -> None:
        """Do not show the frames that follow until `release`: they have to be stored first."""
        self._held = len(self._frames)

    def release(self) -> None:
        """Show what was held."""
        if self._held is not None:
            self._held = None
            self._tell()

    def close(self) -> None:
        """End the response, and show what was held."""
        self._held = None
        if not self.closed:
            self.closed = True
            self._tell()

    @property
    def end(self) -> BytePosition:
        """The position behind all frames."""
        return self.at(self.next)

    @property
    def shown(self) -> int:
        """The offset behind the frames that are shown."""
        return self.next if self._held is None else self.offset(self._held)

    def at(self, offset: int) -> BytePosition:
        """Return the position at an offset."""
        return BytePosition(self.incarnation, offset)

    def position(self, text: str | None) -> int:
        """Return the offset of a position that a client names: an `id`, or an offset of Durable Streams. None is the beginning.

        It may lie within a frame: a client that counts the bytes it received goes on behind the last one.

        :raises InvalidError: it is not a position of a log.
        :raises GoneError: the log does not have what lies before it: an earlier server lost it.
        """
        if text is None or text == BEGINNING:
            return 0
        if text == TAIL:
            return self.shown
        match = _POSITION.fullmatch(text)
        if match is None:
            raise InvalidError("This is not a position of a stream. Use one that the stream gave.")
        incarnation, offset = int(match[1]), int(match[2])
        valid = self.next if incarnation == self.incarnation else self._valid
        if incarnation > self.incarnation or offset > valid:
            raise GoneError(
                "The stream does not reach this position: the server was restarted and has lost what was there. "
                "Read it from its beginning."
            )
        return offset

    def written(self, offset: int) -> list[bytes]:
        """Return all frames from `offset` on, also those that are held."""
        return self._frames[bisect_left(self._starts, offset) :]

    def frames(self, offset: int, limit: int) -> list[bytes]:
        """Return the shown frames from `offset` on: about `limit` bytes at most, and at least one if there is one. If the offset lies
        within a frame, return what is left of that one.
        """
        first = last = bisect_left(self._starts, offset)
        shown = len(self._starts) if self._held is None else self._held
        if first and first <= shown and self.offset(first) != offset:
            return [self._frames[first - 1][offset - self._starts[first - 1] :]]
        while last < shown and (last == first or self._starts[last] - offset < limit):
            last += 1
        return self._frames[first:last]

    def offset(self, index: int) -> int:
        """Return the offset of a frame by its number from 0; the number of all frames is the end."""
        return self._starts[index] if index < len(self._starts) else self.next

    @property
    def restored(self) -> int:
        """How many frames are those of an earlier incarnation."""
        return self.count(self._valid)

    def count(self, offset: int) -> int:
        """Return how many frames lie before `offset`."""
        return bisect_left(self._starts, offset)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each change; the returned function ends that."""
        self._listeners += (listener,)

        def stop() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return stop

    @property
    def listened(self) -> int:
        """How many listeners there are."""
        return len(self._listeners)

    def _add(self, frame: bytes) -> None:
        self._starts.append(self.next)
        self._frames.append(frame)
        self.next += len(frame)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


_ID_BYTES = len(b"id: 0000_0000000000000000\n")

_TOO_LONG = f"The response was ended at {RESPONSE_BYTES // (1024 * 1024)} MiB, which is as large as one may be. Ask for a shorter one."
