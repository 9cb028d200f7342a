"""Subscribers: cursors on logs, written together once in an iteration of the event loop.

There is no queue. A subscriber whose socket takes no more keeps its cursor, and its next frame is longer. That is all of the
back-pressure and of the batching.
"""

from collections.abc import Callable
from typing import Protocol

from legato.stream.log import Batch, Log

FRAME_CHARACTERS = 64 * 1024
"""The approximate maximum text of a frame, so that a subscriber far behind catches up in pieces.

A single event that is longer has a frame of its own.
"""


class BatchEncoder(Protocol):
    """Encodes a batch for the wire. The bytes are the same for all subscribers of the log, and made once for a batch."""

    def __call__(self, log: Log, batch: Batch) -> bytes: ...


class Sink(Protocol):
    """The writable side of a socket."""

    @property
    def writable(self) -> bool:
        """Whether more may be written now. When it becomes True again, its subscribers must be marked (`Subscriber.mark`)."""
        ...

    def write(self, data: bytes) -> None:
        """Take bytes. They are sent by `flush` or earlier. Never raises, not even on a lost connection."""
        ...

    def flush(self) -> None:
        """Send what `write` collected in this iteration."""
        ...


class Flusher:
    """The subscribers that became dirty in this iteration of the event loop. `schedule(callback)` calls back in the next one."""

    __slots__ = ("_dirty", "_schedule", "_scheduled")

    def __init__(self, schedule: Callable[[Callable[[], None]], object]) -> None:
        self._schedule = schedule
        self._dirty: list[Subscriber] = []
        self._scheduled = False

    def add(self, subscriber: "Subscriber") -> None:
        self._dirty.append(subscriber)
        if not self._scheduled:
            self._scheduled = True
            self._schedule(self.flush)

    def flush(self) -> None:
        """Write to every dirty subscriber what is new for it, then let each socket send once.

        If an encoder or an `ended` raises, the remaining subscribers are written in the next iteration, and the error is
        raised to the caller.
        """
        self._scheduled = False
        dirty, self._dirty = self._dirty, []
        if len(dirty) == 1:
            subscriber = dirty[0]
            try:
                subscriber.deliver()
            finally:
                subscriber.sink.flush()
            return
        pending = iter(dirty)
        try:
            for subscriber in pending:
                subscriber.deliver()
        finally:
            for subscriber in pending:
                self.add(subscriber)
            for sink in {subscriber.sink: None for subscriber in dirty}:
                sink.flush()


class Subscriber:
    """A cursor on a log, and the sink that it is written to.

    Each offset from the first one on is passed to the sink exactly once, in order, at any speed of the sink.
    `ended` is called once, by the flush that wrote the terminal event, or by the first flush if the terminal event lies
    before `offset`. A subscriber that is `uncached` leaves no encoded bytes for others.
    """

    __slots__ = ("_ended", "attached", "cursor", "dirty", "encoder", "flusher", "log", "sink", "uncached")

    def __init__(
        self,
        log: Log,
        offset: int,
        encoder: BatchEncoder,
        sink: Sink,
        flusher: Flusher,
        ended: Callable[["Subscriber"], None] | None = None,
    ) -> None:
        """Attach to the log at `offset`.

        :raises ValueError: no cursor can be at `offset`; ask `resume` first.
        """
        if not log.readable(offset):
            raise ValueError(f"no cursor can stand at {offset} of stream {log.stream}")
        self.log = log
        self.cursor = offset
        self.encoder = encoder
        self.sink = sink
        self.flusher = flusher
        self.dirty = False
        self.uncached = False
        self.attached = True
        self._ended = ended
        log.subscribe(self.mark, self)
        if offset < log.next or log.closed:
            self.mark()

    def mark(self) -> None:
        """Check at the next flush whether there is something to write."""
        if not self.dirty and self.attached:
            self.dirty = True
            self.flusher.add(self)

    def detach(self) -> None:
        """Stop reading the log. It is safe to call this twice."""
        if self.attached:
            self.attached = False
            self.log.unsubscribe(self.mark)

    def deliver(self) -> None:
        """Write until the log has no more events or the sink takes no more."""
        self.dirty = False
        log, sink, encoder = self.log, self.sink, self.encoder
        while self.attached and self.cursor < log.next and sink.writable:
            cached = log.encoded_cache.get(encoder)
            if cached is not None and cached[0] == self.cursor:
                _, following, data = cached
            else:
                batch = log.since(self.cursor, FRAME_CHARACTERS)
                data, following = encoder(log, batch), batch.next
                if not self.uncached:
                    log.encoded_cache[encoder] = (self.cursor, following, data)
            self.cursor = following
            sink.write(data)
        if self.attached and log.closed and self.cursor >= log.next:
            self.detach()
            if self._ended is not None:
                self._ended(self)
