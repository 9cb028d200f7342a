"""What one socket is told, one thing at a time: for dialects whose frames do not say which reply they belong to."""

from collections import deque
from collections.abc import Callable

from msgspec import Struct

from legato.dialects.append_only import AppendOnlySubscriber
from legato.dialects.base import Socket
from legato.protocol.close_codes import CloseCode
from legato.stream import Failed, Log, Subscriber

WAITING = 1000
"""Replies and frames that may wait in one line."""

WAITING_BYTES = 1024 * 1024
"""What the frames among them may have together; one more of any size is taken up to there."""

View = Callable[[Log, Callable[[Subscriber], None]], Subscriber]
"""Makes a viewer of a log from its beginning, and what it calls when the log was told to the end."""


class QueuedReply(Struct):
    """A reply in line. `first` is said before its stream, `last` behind it, once that is known; then `over` is called."""

    log: Log
    first: tuple[bytes, ...]
    over: Callable[[], None] | None
    last: tuple[bytes, ...] | None = None


class ReplyQueue:
    """Replies and single frames in their order. Whatever comes waits until the reply that is being told has its end.

    A reply that ends well is over when `end` said its last frames; one that failed says so in its stream.
    Where too much waits, the socket is closed as one that is too slow.
    """

    __slots__ = ("_bytes", "_full", "_now", "_socket", "_view", "_viewer", "_waiting")

    def __init__(self, socket: Socket, view: View) -> None:
        self._socket = socket
        self._view = view
        self._waiting: deque[QueuedReply | bytes] = deque()
        self._now: QueuedReply | None = None
        self._viewer: Subscriber | None = None
        self._bytes = 0
        self._full = False

    def say(self, *frames: bytes) -> None:
        """Frames that belong to no stream."""
        if self._room():
            self._waiting.extend(frames)
            self._bytes += sum(map(len, frames))
            self._go_on()

    def tell(self, log: Log, *first: bytes, over: Callable[[], None] | None = None) -> bool:
        """A reply, from its beginning; False where it is in line already, or there is no room."""
        if self._find(log.stream) is not None or not self._room():
            return False
        self._waiting.append(QueuedReply(log, first, over))
        self._go_on()
        return True

    def end(self, stream: str, *last: bytes) -> None:
        """How the reply ended, once its stream was told. Unknown where it has failed, which was said, or is not in line."""
        told = self._find(stream)
        if told is self._now and told is not None:
            told.last = last
            if self._viewer is None:
                self._finish()
        elif told is not None and self._room():
            self._bytes += sum(map(len, last)) - sum(map(len, told.last or ()))
            told.last = last

    def drop(self, stream: str) -> None:
        """Say no more of a reply: its conversation is gone."""
        told = self._find(stream)
        if told is None:
            return
        if told is self._now:
            if self._viewer is not None:
                self._viewer.detach()
            self._now = self._viewer = None
            self._go_on()
        else:
            self._waiting.remove(told)
            self._bytes -= sum(map(len, told.last or ()))

    def mark(self) -> None:
        """The socket takes more again."""
        if self._viewer is not None:
            self._viewer.mark()

    def close(self) -> None:
        self._waiting.clear()
        self._bytes = 0
        self._now = None
        if self._viewer is not None:
            self._viewer.detach()
            self._viewer = None

    def _room(self) -> bool:
        if not self._full and (len(self._waiting) >= WAITING or self._bytes > WAITING_BYTES):
            self._full = True
            self.close()
            self._socket.close(CloseCode.SLOW, "too much waits for its turn")
        return not self._full

    def _find(self, stream: str) -> QueuedReply | None:
        if self._now is not None and self._now.log.stream == stream:
            return self._now
        return next(
            (told for told in self._waiting if isinstance(told, QueuedReply) and told.log.stream == stream),
            None,
        )

    def _go_on(self) -> None:
        while self._now is None and self._waiting:
            turn = self._waiting.popleft()
            if isinstance(turn, bytes):
                self._bytes -= len(turn)
                self._socket.send(turn)
                continue
            self._bytes -= sum(map(len, turn.last or ()))
            self._now = turn
            for frame in turn.first:
                self._socket.send(frame)
            self._viewer = self._view(turn.log, self._ended)

    def _ended(self, viewer: Subscriber) -> None:
        self._viewer = None
        told = self._now
        if told is None:
            return
        failed = isinstance(told.log.end, Failed) or (
            isinstance(viewer, AppendOnlySubscriber) and viewer.diverged
        )
        if failed:
            told.last = ()
        if told.last is not None:
            self._finish()

    def _finish(self) -> None:
        told, self._now = self._now, None
        if told is not None:
            for frame in told.last or ():
                self._socket.send(frame)
            if told.over is not None:
                told.over()
        self._go_on()
