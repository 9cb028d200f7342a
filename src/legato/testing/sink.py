"""A socket that stalls when a test wants it, and a loop whose turns a test takes."""

from collections.abc import Callable

import msgspec

from legato.protocol.messages import Delta
from legato.stream import Batch, BatchEncoder, Flusher, Log, Subscriber


class ManualLoop:
    """Stands in for the event loop of a `Flusher`: callbacks wait for `turn`."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []

    def __call__(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    @property
    def idle(self) -> bool:
        """Whether nothing waits for the next turn."""
        return not self._callbacks

    def turn(self) -> None:
        """Run the callbacks that were scheduled before this turn."""
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def settle(self) -> None:
        """Take turns until nothing waits."""
        while not self.idle:
            self.turn()


class StallingSink:
    """A `Sink` that records each `write`.

    `stall()` makes it not writable; `resume()` makes it writable again and marks its subscribers. With `room`, it stalls by
    itself when it holds so many bytes; `drain()` reads them like a client, and makes room.
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
        """Everything that was written before the last flush."""
        return self.written[: self._flushed]

    @property
    def held(self) -> int:
        """Bytes that were written and not drained."""
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
        """Attach a subscriber of `log` to this sink, by default with `Delta`s as its encoding."""
        viewer = Subscriber(log, offset, encoding or encode, self, flusher, ended)
        self._viewers.append(viewer)
        return viewer

    def stall(self) -> None:
        """Become not writable."""
        self._stalled = True

    def resume(self) -> None:
        """Become writable again and mark the subscribers, like a socket."""
        self._stalled = False
        self._mark()

    def drain(self) -> None:
        """Read everything that was written, like a client."""
        self._held = 0
        self._mark()

    def take(self, frames: int) -> list[bytes]:
        """Read and remove at most so many pieces of what was sent."""
        taken = self.written[: min(frames, self._flushed)]
        del self.written[: len(taken)]
        self._flushed -= len(taken)
        self._held -= sum(map(len, taken))
        if taken:
            self._mark()
        return taken

    def deltas(self) -> list[Delta]:
        """Return what was written as deltas of the native protocol (for subscribers with the default encoding)."""
        return list(map(decode, self.written))

    def _mark(self) -> None:
        if self.writable:
            for viewer in self._viewers:
                viewer.mark()


_decoder = msgspec.json.Decoder(Delta)
_encoder = msgspec.json.Encoder()


def encode(log: Log, batch: Batch) -> bytes:
    """Encode a batch as one `Delta` in JSON."""
    return _encoder.encode(Delta(log.stream, log.epoch, batch.first, batch.next, batch.events))


def decode(data: bytes) -> Delta:
    """Decode what `encode` returned."""
    return _decoder.decode(data)
