"""The frames of one socket, one reply at a time: for dialects whose frames do not name their reply."""

from collections import deque
from collections.abc import Callable

from msgspec import Struct

from legato.dialects.append_only import AppendOnlySubscriber
from legato.dialects.base import Socket
from legato.protocol.close_codes import CloseCode
from legato.stream import Failed, Log, Subscriber

WAITING = 1000
"""Replies and frames that may wait in one queue."""

WAITING_BYTES = 1024 * 1024
"""Bytes that the frames among them may have together. A frame of any size is taken as long as that is not exceeded."""

Subscribe = Callable[[Log, Callable[[Subscriber], None]], Subscriber]
"""Subscribes to a log from its beginning. The second argument is called when the whole log was sent."""


class QueuedReply(Struct):
    """A reply in the queue. `first` is sent before its stream, `last` after it, as soon as it is known; then `on_sent` is called."""

    log: Log
    first: tuple[bytes, ...]
    on_sent: Callable[[], None] | None
    last: tuple[bytes, ...] | None = None


class ReplyQueue:
    """Replies and single frames in their order. Everything waits until the reply that is being sent has ended.

    A reply that ends well has ended when `end` gave its last frames; one that failed ends with its stream.
    If too much waits, the socket is closed as too slow.
    """

    __slots__ = ("_bytes", "_current", "_full", "_socket", "_subscribe", "_subscriber", "_waiting")

    def __init__(self, socket: Socket, subscribe: Subscribe) -> None:
        self._socket = socket
        self._subscribe = subscribe
        self._waiting: deque[QueuedReply | bytes] = deque()
        self._current: QueuedReply | None = None
        self._subscriber: Subscriber | None = None
        self._bytes = 0
        self._full = False

    def send(self, *frames: bytes) -> None:
        """Queue frames that belong to no stream."""
        if self._has_capacity():
            self._waiting.extend(frames)
            self._bytes += sum(map(len, frames))
            self._advance()

    def add(self, log: Log, *first: bytes, on_sent: Callable[[], None] | None = None) -> bool:
        """Queue a reply from its beginning. Return False if it is queued already, or too much waits."""
        if self._find(log.stream) is not None or not self._has_capacity():
            return False
        self._waiting.append(QueuedReply(log, first, on_sent))
        self._advance()
        return True

    def end(self, stream: str, *last: bytes) -> None:
        """Send the last frames of a reply after its stream. Ignored if it failed, which its stream says, or is not queued."""
        reply = self._find(stream)
        if reply is self._current and reply is not None:
            reply.last = last
            if self._subscriber is None:
                self._finish()
        elif reply is not None and self._has_capacity():
            self._bytes += sum(map(len, last)) - sum(map(len, reply.last or ()))
            reply.last = last

    def drop(self, stream: str) -> None:
        """Send nothing more of a reply: its conversation is gone."""
        reply = self._find(stream)
        if reply is None:
            return
        if reply is self._current:
            if self._subscriber is not None:
                self._subscriber.detach()
            self._current = self._subscriber = None
            self._advance()
        else:
            self._waiting.remove(reply)
            self._bytes -= sum(map(len, reply.last or ()))

    def mark(self) -> None:
        """The socket is writable again."""
        if self._subscriber is not None:
            self._subscriber.mark()

    def close(self) -> None:
        """Drop everything."""
        self._waiting.clear()
        self._bytes = 0
        self._current = None
        if self._subscriber is not None:
            self._subscriber.detach()
            self._subscriber = None

    def _has_capacity(self) -> bool:
        """Whether more may be queued. If not, the socket is closed."""
        if not self._full and (len(self._waiting) >= WAITING or self._bytes > WAITING_BYTES):
            self._full = True
            self.close()
            self._socket.close(CloseCode.SLOW, "too much waits for its turn")
        return not self._full

    def _find(self, stream: str) -> QueuedReply | None:
        if self._current is not None and self._current.log.stream == stream:
            return self._current
        return next(
            (
                reply
                for reply in self._waiting
                if isinstance(reply, QueuedReply) and reply.log.stream == stream
            ),
            None,
        )

    def _advance(self) -> None:
        while self._current is None and self._waiting:
            item = self._waiting.popleft()
            if isinstance(item, bytes):
                self._bytes -= len(item)
                self._socket.send(item)
                continue
            self._bytes -= sum(map(len, item.last or ()))
            self._current = item
            for frame in item.first:
                self._socket.send(frame)
            self._subscriber = self._subscribe(item.log, self._ended)

    def _ended(self, subscriber: Subscriber) -> None:
        self._subscriber = None
        reply = self._current
        if reply is None:
            return
        diverged = isinstance(subscriber, AppendOnlySubscriber) and subscriber.diverged
        if diverged or isinstance(reply.log.end, Failed):
            reply.last = ()
        if reply.last is not None:
            self._finish()

    def _finish(self) -> None:
        reply, self._current = self._current, None
        if reply is not None:
            for frame in reply.last or ():
                self._socket.send(frame)
            if reply.on_sent is not None:
                reply.on_sent()
        self._advance()
