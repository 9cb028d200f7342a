"""The log of one reply: events at offsets 0, 1, 2 …, written by one writer, read by any number of cursors."""

from collections.abc import Callable
from typing import NamedTuple

from legato.stream.events import (
    Event,
    Failed,
    Finished,
    Reasoning,
    Rewound,
    State,
    Terminal,
    Text,
    ToolFinished,
    ToolStarted,
)
from legato.stream.fold import Fold


class LogClosedError(Exception):
    """Something was appended behind the terminal event. It was not taken."""


class Batch(NamedTuple):
    """The events of the offsets `first` ≤ offset < `next`, neighbours of text merged into one."""

    first: int
    next: int
    events: list[Event]


class Log:
    """An append-only log, closed by exactly one terminal event.

    `stream` names the reply, `epoch` this incarnation of its log: a log that was lost and made anew has another epoch,
    so offsets of the old one are never taken for offsets of the new.

    A listener is called after each append, in the order of subscription, synchronously. It takes note and returns: it
    must not raise, append, subscribe or unsubscribe.

    Offsets below `base` were compacted: what they held is still there as one batch from 0 to `base`, which can be read
    whole and not from its middle.
    """

    __slots__ = (
        "_compacted",
        "_events",
        "_last_tool",
        "_listeners",
        "base",
        "closed",
        "epoch",
        "memo",
        "stream",
    )

    def __init__(self, stream: str, epoch: str) -> None:
        self.stream = stream
        self.epoch = epoch
        self.base = 0
        self.closed = False
        self.memo: dict[object, tuple[int, int, bytes]] = {}
        self._compacted: list[Event] = []
        self._events: list[Event] = []
        self._last_tool = 0
        self._listeners: dict[Callable[[], None], None] = {}

    @property
    def next(self) -> int:
        """The offset that the next event will get; what a viewer who has seen all holds as its cursor."""
        return self.base + len(self._events)

    @property
    def end(self) -> Terminal | None:
        """The terminal event, once there is one."""
        if not self.closed:
            return None
        last = self._events[-1] if self._events else self._compacted[-1]
        return last if isinstance(last, Finished | Failed) else None

    def append(self, event: Event) -> int:
        """Write one event at the end and return its offset.

        :raises LogClosedError: behind the terminal event.
        :raises ValueError: for a rewind; those are written by `rewind`, which knows what is kept.
        """
        if self.closed:
            raise LogClosedError(f"stream {self.stream} is closed")
        kind = type(event)
        if kind is Finished or kind is Failed:
            self.closed = True
        elif kind is ToolStarted or kind is ToolFinished:
            self._last_tool = self.next + 1
        elif kind is Rewound:
            raise ValueError("write a rewind with Log.rewind")
        return self._write(event)

    def rewind(self, to: int) -> int:
        """Take the text back to what it was at offset `to`, and return the offset of that event.

        :raises LogClosedError: behind the terminal event.
        :raises ValueError: where `to` is no offset of this log, was compacted, or lies before a tool's event.
        """
        if self.closed:
            raise LogClosedError(f"stream {self.stream} is closed")
        if not max(self.base, self._last_tool) <= to <= self.next and to != self.next:
            raise ValueError(f"cannot rewind stream {self.stream} to {to}")
        kept = Fold(self._prefix(to))
        return self._write(Rewound(to, kept.text, kept.reasoning))

    def _write(self, event: Event) -> int:
        events = self._events
        events.append(event)
        for listener in self._listeners:
            listener()
        return self.base + len(events) - 1

    def readable(self, offset: int) -> bool:
        """Whether a cursor at `offset` can go on from there."""
        return offset == 0 or self.base <= offset <= self.next

    def since(self, offset: int, limit: int = 0) -> Batch:
        """All from `offset` on; with a `limit`, only until about that many characters of text are reached.

        :raises ValueError: where no cursor can be (see `readable`).
        """
        base, events = self.base, self._events
        if offset >= base:
            start = offset - base
            if start > len(events):
                raise ValueError(f"stream {self.stream} has no offset {offset}")
            merged: list[Event] = []
        elif offset == 0:
            start, merged = 0, list(self._compacted)
        else:
            raise ValueError(f"stream {self.stream} was compacted up to {base}")
        count = len(events)
        if count - start == 1 and not merged:
            return Batch(offset, base + count, [events[start]])
        stop, size = start, 0
        while stop < count and not (limit and size >= limit):
            event = events[stop]
            if isinstance(event, Text | Reasoning | Rewound):
                size += len(event.text)
            stop += 1
        merge(events[start:stop], merged)
        return Batch(offset, base + stop, merged)

    def text_at(self, offset: int) -> str:
        """The answer as it stood at `offset`.

        :raises ValueError: where `offset` is beyond the end or inside what was compacted.
        """
        if offset > self.next or 0 < offset < self.base:
            raise ValueError(f"stream {self.stream} has no offset {offset}")
        return Fold(self._prefix(offset)).text

    def fold(self) -> Fold:
        """All that the log says."""
        return Fold(self._prefix(self.next))

    def compact(self, before: int) -> None:
        """Give up the single events below `before`; cursors inside that range can no longer continue.

        :raises ValueError: where `before` is beyond the end.
        """
        if before > self.next:
            raise ValueError(f"stream {self.stream} has no offset {before}")
        if before <= self.base:
            return
        cut = before - self.base
        self._compacted = compacted(self._compacted + self._events[:cut])
        del self._events[:cut]
        self.base = before
        self.memo.clear()

    def subscribe(self, listener: Callable[[], None]) -> None:
        self._listeners[listener] = None

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` no more. Unknown listeners are ignored."""
        self._listeners.pop(listener, None)

    def _prefix(self, offset: int) -> list[Event]:
        if offset == 0:
            return []
        return self._compacted + self._events[: offset - self.base]


def merge(events: list[Event], into: list[Event]) -> None:
    """Append `events` to `into`, joining neighbours of text and of reasoning."""
    run: list[str] = []
    kind: type[Text] | type[Reasoning] | None = None
    last = into[-1] if into else None
    if isinstance(last, Text | Reasoning):
        kind, run = type(last), [last.text]
        into.pop()
    for event in events:
        if isinstance(event, Text | Reasoning):
            if type(event) is kind:
                run.append(event.text)
                continue
            if kind is not None:
                into.append(kind("".join(run)))
            kind, run = type(event), [event.text]
            continue
        if kind is not None:
            into.append(kind("".join(run)))
            kind = None
        into.append(event)
    if kind is not None:
        into.append(kind("".join(run)))


def compacted(events: list[Event]) -> list[Event]:
    """The shortest list of events with the same fold: what was rewound and states that were replaced are left out."""
    merged: list[Event] = []
    merge(events, merged)
    rewind = max((i for i, event in enumerate(merged) if isinstance(event, Rewound)), default=None)
    state = max((i for i, event in enumerate(merged) if isinstance(event, State)), default=None)
    kept: list[Event] = []
    for i, event in enumerate(merged):
        if isinstance(event, State) and i != state:
            continue
        if isinstance(event, Rewound) and i != rewind:
            continue
        if rewind is not None and i < rewind and isinstance(event, Text | Reasoning):
            tools_follow = any(isinstance(each, ToolStarted) for each in merged[i:rewind])
            if not tools_follow:
                continue
        kept.append(event)
    out: list[Event] = []
    merge(kept, out)
    return out
