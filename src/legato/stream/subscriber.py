"""Viewers: cursors on logs, written out together once per turn of the event loop.

There is no queue. A viewer whose socket takes no more stays where it is, and its next frame is longer: that is the whole
of back-pressure and of batching.
"""

from collections.abc import Callable
from typing import Protocol

from legato.stream.log import Batch, Log

FRAME_CHARACTERS = 64 * 1024
"""A frame holds about this much text at most, so that a viewer far behind is caught up in pieces.

A single event that is longer has a frame of its own.
"""


class BatchEncoder(Protocol):
    """Turns a batch into bytes for the wire, the same for every viewer of the log: they are made once per batch."""

    def __call__(self, log: Log, batch: Batch) -> bytes: ...


class Sink(Protocol):
    """The socket of a viewer, as much as a viewer sees of it."""

    @property
    def writable(self) -> bool:
        """Whether more may be written now. One that turns True again must have its viewers marked (`Subscriber.mark`)."""
        ...

    def write(self, data: bytes) -> None:
        """Take bytes; they leave with `flush` or before. Never raises, not even on a socket that is gone."""
        ...

    def flush(self) -> None:
        """Send what `write` collected in this turn."""
        ...


class Flusher:
    """Everything that became dirty since the last turn of the loop. `schedule(callback)` calls back on the next turn."""

    __slots__ = ("_dirty", "_schedule", "_scheduled")

    def __init__(self, schedule: Callable[[Callable[[], None]], object]) -> None:
        self._schedule = schedule
        self._dirty: list[Subscriber] = []
        self._scheduled = False

    def add(self, viewer: "Subscriber") -> None:
        self._dirty.append(viewer)
        if not self._scheduled:
            self._scheduled = True
            self._schedule(self.flush)

    def flush(self) -> None:
        """Write what every dirty viewer has not seen yet, then let each socket send once.

        Where an encoding or an `ended` raises, the viewers behind it are written on the next turn; the error goes to
        whoever called.
        """
        self._scheduled = False
        dirty, self._dirty = self._dirty, []
        if len(dirty) == 1:
            viewer = dirty[0]
            try:
                viewer.deliver()
            finally:
                viewer.sink.flush()
            return
        pending = iter(dirty)
        try:
            for viewer in pending:
                viewer.deliver()
        finally:
            for viewer in pending:
                self.add(viewer)
            for sink in {viewer.sink: None for viewer in dirty}:
                sink.flush()


class Subscriber:
    """A cursor on a log and the sink it is written to.

    Each offset from the start on is handed to the sink exactly once, in order, whatever the pace of the sink.
    `ended` is called once, on the flush that wrote the terminal event; on the first one, where it stood before `offset`.
    One that is `alone` with its encoding leaves no bytes for others.
    """

    __slots__ = ("_ended", "attached", "cursor", "dirty", "encoding", "flusher", "log", "sink", "uncached")

    def __init__(
        self,
        log: Log,
        offset: int,
        encoding: BatchEncoder,
        sink: Sink,
        flusher: Flusher,
        ended: Callable[["Subscriber"], None] | None = None,
    ) -> None:
        """:raises ValueError: where no cursor can stand at `offset`; ask `resume` first."""
        if not log.readable(offset):
            raise ValueError(f"no cursor can stand at {offset} of stream {log.stream}")
        self.log = log
        self.cursor = offset
        self.encoding = encoding
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
        """There may be something to write: look at the next flush."""
        if not self.dirty and self.attached:
            self.dirty = True
            self.flusher.add(self)

    def detach(self) -> None:
        """Look no more. Safe to call twice."""
        if self.attached:
            self.attached = False
            self.log.unsubscribe(self.mark)

    def deliver(self) -> None:
        """Write until the log is exhausted or the sink takes no more."""
        self.dirty = False
        log, sink, encoding = self.log, self.sink, self.encoding
        while self.attached and self.cursor < log.next and sink.writable:
            memo = log.encoded_cache.get(encoding)
            if memo is not None and memo[0] == self.cursor:
                _, following, data = memo
            else:
                batch = log.since(self.cursor, FRAME_CHARACTERS)
                data, following = encoding(log, batch), batch.next
                if not self.uncached:
                    log.encoded_cache[encoding] = (self.cursor, following, data)
            self.cursor = following
            sink.write(data)
        if self.attached and log.closed and self.cursor >= log.next:
            self.detach()
            if self._ended is not None:
                self._ended(self)
