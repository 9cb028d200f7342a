"""A socket that stalls when a test says so, and a loop whose turns are taken by hand."""

from collections.abc import Callable

import msgspec

from legato.protocol.messages import Delta
from legato.stream import Batch, BatchEncoder, Flusher, Log, Subscriber


class ManualLoop:
    """What a `Flusher` takes for the event loop: `Flusher(turns)`; callbacks wait for `turn`."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []

    def __call__(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    @property
    def idle(self) -> bool:
        """Whether nothing waits for the next turn."""
        return not self._callbacks

    def turn(self) -> None:
        """Run what was scheduled before this turn began."""
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def settle(self) -> None:
        """Take turns until nothing waits."""
        while not self.idle:
            self.turn()


class StallingSink:
    """A `Sink` that keeps what was written, a piece for each `write`.

    `stall()` makes it take no more, `resume()` makes it writable again and marks its viewers. With `room`, it stalls by
    itself once it holds so many bytes; `drain()` is the client that reads them, and makes room.
    """

    def __init__(self, room: int | None = None) -> None:
        self.room = room
        self.written: list[bytes] = []
        self.flushes = 0
        self._flushed = 0
        self._held = 0
        self._stalled = False
        self._viewers: list[Subscriber] = []

    @property
    def writable(self) -> bool:
        return not self._stalled and (self.room is None or self._held < self.room)

    @property
    def sent(self) -> list[bytes]:
        """What has left: everything written before the last flush."""
        return self.written[: self._flushed]

    @property
    def held(self) -> int:
        """Bytes written and not yet drained."""
        return self._held

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self._held += len(data)

    def flush(self) -> None:
        self.flushes += 1
        self._flushed = len(self.written)

    def watch(
        self,
        log: Log,
        offset: int,
        flusher: Flusher,
        *,
        encoding: BatchEncoder | None = None,
        ended: Callable[[Subscriber], None] | None = None,
    ) -> Subscriber:
        """Attach a viewer of `log` to this sink; it speaks in `Delta`s where no encoding is given."""
        viewer = Subscriber(log, offset, encoding or encode, self, flusher, ended)
        self._viewers.append(viewer)
        return viewer

    def stall(self) -> None:
        """Take no more."""
        self._stalled = True

    def resume(self) -> None:
        """Be writable again, and say so as a socket does."""
        self._stalled = False
        self._mark()

    def drain(self) -> None:
        """The client has read everything that was written."""
        self._held = 0
        self._mark()

    def take(self, frames: int) -> list[bytes]:
        """Read up to so many pieces of what has left; they are gone from the sink."""
        taken = self.written[: min(frames, self._flushed)]
        del self.written[: len(taken)]
        self._flushed -= len(taken)
        self._held -= sum(map(len, taken))
        if taken:
            self._mark()
        return taken

    def deltas(self) -> list[Delta]:
        """What was written, as the native protocol's deltas (of viewers with the default encoding)."""
        return list(map(decode, self.written))

    def _mark(self) -> None:
        if self.writable:
            for viewer in self._viewers:
                viewer.mark()


_decoder = msgspec.json.Decoder(Delta)
_encoder = msgspec.json.Encoder()


def encode(log: Log, batch: Batch) -> bytes:
    """A batch as one `Delta` in JSON."""
    return _encoder.encode(Delta(log.stream, log.epoch, batch.first, batch.next, batch.events))


def decode(data: bytes) -> Delta:
    """What `encode` made."""
    return _decoder.decode(data)
