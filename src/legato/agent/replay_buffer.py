"""What one job wrote and the gateway has not acknowledged yet, ready to be sent, and to be sent again."""

import msgspec

from legato.domain.surrogates import join_surrogates, map_strings
from legato.fleet.protocol import MAX_FRAME_BYTES, EventBatch, JobEvent
from legato.stream import Reasoning, Text

LONGEST = MAX_FRAME_BYTES - 32 * 1024
"""Bytes of the longest event: there is room for the rest of its frame."""

PIECE = 4096
"""Characters of the longest text that is one event: with every one of them escaped it still fits a frame."""

_OVERHEAD = 41
"""Bytes that an encoded event takes in memory beside its own: those of the object, and the place in the list."""

_encode = msgspec.json.Encoder().encode


class ReplayBuffer:
    """Encoded events at the offsets `first` ≤ offset < `next`; those below `sent` went out on this connection.

    An event is encoded once, when it is written: a frame joins what there is, and a replay encodes nothing. `size` is
    in bytes of memory.
    """

    __slots__ = ("_events", "first", "sent", "size")

    def __init__(self) -> None:
        self._events: list[bytes] = []
        self.first = 0
        self.sent = 0
        self.size = 0

    @property
    def next(self) -> int:
        """The offset of the event that will be written next."""
        return self.first + len(self._events)

    def append(self, data: bytes) -> None:
        """Write an event, `encoded`, behind the others."""
        self._events.append(data)
        self.size += len(data) + _OVERHEAD

    def write(self, event: JobEvent) -> bool:
        """Write an event, a long text in parts. False, and nothing is written, if no message can hold it."""
        if isinstance(event, Text | Reasoning) and len(event.text) > PIECE:
            kind, text = type(event), event.text
            for begin in range(0, len(text), PIECE):
                self.append(encoded(kind(text[begin : begin + PIECE])))
            return True
        data = encoded(event)
        if len(data) <= LONGEST:
            self.append(data)
            return True
        return False

    def acknowledge(self, offset: int) -> bool:
        """Drop the events below `offset`. False, and nothing is done, if they were never all sent."""
        if offset > self.sent:
            return False
        if offset > self.first:
            count = offset - self.first
            self.size -= sum(map(len, self._events[:count])) + _OVERHEAD * count
            del self._events[:count]
            self.first = offset
        return True

    def resume(self, offset: int) -> bool:
        """Continue from `offset` on a new connection. False if that event was dropped already, or never written."""
        if not self.first <= offset <= self.next:
            return False
        self.sent = offset
        return self.acknowledge(offset)

    def frame(self, job_id: str, attempt: int, limit: int) -> bytes | None:
        """A frame of the events that were not sent, as many as fit into `limit` bytes (at least one); None if all were sent."""
        begin = self.sent - self.first
        end, size = begin, 0
        while end < len(self._events):
            size += len(self._events[end]) + 1
            if size > limit and end > begin:
                break
            end += 1
        if end == begin:
            return None
        head = _encode(EventBatch(job_id, attempt, self.sent, []))
        self.sent = self.first + end
        return b"%b%b]}" % (head[:-2], b",".join(self._events[begin:end]))


def encoded(message: msgspec.Struct) -> bytes:
    """Encode `message` as JSON. A lone surrogate, which JSON cannot carry, becomes U+FFFD."""
    try:
        return _encode(message)
    except UnicodeEncodeError:
        return _encode(map_strings(msgspec.to_builtins(message), join_surrogates))
