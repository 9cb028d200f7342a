"""The log of one reply: events at offsets 0, 1, 2 …, written by one writer, read by any number of cursors."""

from collections.abc import Callable
from itertools import groupby
from operator import attrgetter
from typing import Protocol, assert_never

from msgspec import Struct

from legato.stream.events import (
    Event,
    Failed,
    Finished,
    Reasoning,
    Rewound,
    State,
    Terminal,
    Text,
    ToolAsked,
    ToolFinished,
    ToolStarted,
)
from legato.stream.snapshot import ReplySnapshot, common_prefix_length


class LogClosedError(Exception):
    """Something was appended behind the terminal event. It was not taken."""


class Batch(Struct, frozen=True, gc=False):
    """The events of the offsets `first` ≤ offset < `next`, neighbours of text merged into one."""

    first: int
    next: int
    events: list[Event]


class Cursor(Protocol):
    """Someone who reads a log: everything before `cursor` is behind it."""

    @property
    def cursor(self) -> int: ...


class Log:
    """An append-only log, closed by exactly one terminal event.

    `stream` names the reply, `epoch` this incarnation of its log: a log that was lost and made anew has another epoch,
    so offsets of the old one are never taken for offsets of the new.

    A listener is called after each append, in the order of subscription, synchronously. It takes note and returns: it
    must not raise, append, subscribe or unsubscribe.

    Offsets below `base` were compacted: what they held is still there as one batch from 0 to `base`, which can be read
    whole and not from its middle. `again`: an earlier incarnation of it was lost, and may have said something else.
    `rewinds` counts how often something was taken back. `next` is the offset that the next event will get, and what a viewer who has seen all
    holds as its cursor. `memo` is where viewers keep the bytes of the last batch, so that it is encoded once for all.
    """

    __slots__ = (
        "_anchors",
        "_compacted",
        "_events",
        "_held",
        "_last_tool",
        "_listeners",
        "_said",
        "again",
        "base",
        "closed",
        "encoded_cache",
        "epoch",
        "next",
        "rewinds",
        "stream",
    )

    def __init__(self, stream: str, epoch: str, *, again: bool = False) -> None:
        self.stream = stream
        self.epoch = epoch
        self.again = again
        self.rewinds = 0
        self.base = 0
        self.next = 0
        self.closed = False
        self.encoded_cache: dict[object, tuple[int, int, bytes]] = {}
        self._compacted: list[Event] = []
        self._events: list[Event] = []
        self._last_tool = 0
        self._anchors: dict[int, tuple[int, int]] = {}
        self._held: tuple[int, State | None] = (0, None)
        self._said = (0, "")
        self._listeners: dict[Callable[[], None], Cursor | None] = {}

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
        offset = self.next
        kind = type(event)
        if kind is not Text:
            if kind is Finished or kind is Failed:
                self.closed = True
            elif kind is ToolStarted or kind is ToolFinished or kind is ToolAsked:
                self._last_tool = offset + 1
            elif kind is Rewound:
                raise ValueError("write a rewind with Log.rewind")
        self._events.append(event)
        self.next = offset + 1
        for listener in self._listeners:
            listener()
        return offset

    def savepoint(self) -> int:
        """The offset that comes next. It can be rewound to even once it was compacted."""
        said = self.snapshot()
        self._anchors[self.next] = (len(said.text), len(said.reasoning))
        return self.next

    def rewind(self, to: int) -> int:
        """Take the text back to what it was at offset `to`, and return the offset of that event.

        :raises LogClosedError: behind the terminal event.
        :raises ValueError: where `to` is no offset of this log, was compacted and is no anchor, or lies before a tool's
            event.
        """
        if self.closed:
            raise LogClosedError(f"stream {self.stream} is closed")
        known = to in self._anchors or to >= self.base
        if to != self.next and not (known and self._last_tool <= to < self.next):
            raise ValueError(f"cannot rewind stream {self.stream} to {to}")
        if to >= self.base:
            kept = ReplySnapshot(self._prefix(to))
            text, reasoning = kept.text, kept.reasoning
        else:
            # A rewind to before it drops an anchor, so what was said then still stands at the beginning.
            kept, (said, thought) = self.snapshot(), self._anchors[to]
            text, reasoning = kept.text[:said], kept.reasoning[:thought]
        self._anchors = {at: lengths for at, lengths in self._anchors.items() if at <= to}
        self._events.append(Rewound(to, text, reasoning))
        self.next += 1
        self.rewinds += 1
        for listener in self._listeners:
            listener()
        return self.next - 1

    def readable(self, offset: int) -> bool:
        """Whether a cursor at `offset` can go on from there."""
        return offset == 0 or self.base <= offset <= self.next

    def since(self, offset: int, limit: int = 0) -> Batch:
        """All from `offset` on; with a `limit`, no more than about so many characters, but one event at least.

        What was compacted, and a single event, come whole, however long they are.

        :raises ValueError: where no cursor can be (see `readable`).
        """
        events = self._events
        start = offset - self.base
        if start >= 0:
            left = self.next - offset
            if left == 1:
                return Batch(offset, offset + 1, [events[start]])
            if left < 0:
                raise ValueError(f"stream {self.stream} has no offset {offset}")
            merged: list[Event] = []
        elif offset == 0:
            start, merged = 0, self._compacted.copy()
        else:
            raise ValueError(f"stream {self.stream} was compacted up to {self.base}")
        stop = _stop(events, start, limit, merged) if limit else len(events)
        merge(events[start:stop], merged)
        return Batch(offset, self.base + stop, merged)

    def single(self, batch: Batch) -> Batch:
        """The same batch with no neighbours joined; as it is, where its beginning was compacted."""
        start = batch.first - self.base
        if start < 0:
            return batch
        return Batch(batch.first, batch.next, self._events[start : batch.next - self.base])

    def text_at(self, offset: int) -> str:
        """The answer as it stood at `offset`. Asking again further on costs only what was said in between.

        :raises ValueError: where `offset` is beyond the end or inside what was compacted.
        """
        if not self.readable(offset):
            raise ValueError(f"stream {self.stream} has no offset {offset}")
        if offset == 0:
            return ""
        known, text = self._said
        if not self.base <= known <= offset:
            known, text = self.base, ReplySnapshot(self._compacted).text
        said = [text]
        for event in self._events[known - self.base : offset - self.base]:
            if isinstance(event, Text):
                said.append(event.text)
            elif isinstance(event, Rewound):
                said = [event.text]
        text = "".join(said)
        self._said = (offset, text)
        return text

    def state_at(self, offset: int) -> State | None:
        """The state that held at `offset`, where one was told. Asking again further on costs only what came in between.

        :raises ValueError: where `offset` is beyond the end or inside what was compacted.
        """
        if not self.readable(offset):
            raise ValueError(f"stream {self.stream} has no offset {offset}")
        if offset == 0:
            return None
        known, state = self._held
        if not self.base <= known <= offset:
            known, state = self.base, ReplySnapshot(self._compacted).state
        for event in self._events[known - self.base : offset - self.base]:
            if isinstance(event, State):
                state = event
        self._held = (offset, state)
        return state

    def snapshot(self) -> ReplySnapshot:
        """All that the log says."""
        return ReplySnapshot(self._prefix(self.next))

    def compact(self, before: int) -> None:
        """Give up the single events below `before`; positions inside that range can no longer be continued.

        A subscribed cursor that stands inside it keeps what is in front of it: `base` says how far it went.

        :raises ValueError: where `before` is beyond the end.
        """
        if before > self.next:
            raise ValueError(f"stream {self.stream} has no offset {before}")
        for reader in self._listeners.values():
            if reader is not None and 0 < reader.cursor < before:
                before = reader.cursor
        if before <= self.base:
            return
        cut = before - self.base
        self._compacted = compacted(self._compacted + self._events[:cut])
        del self._events[:cut]
        self.base = before
        self.encoded_cache.clear()

    def subscribe(self, listener: Callable[[], None], reader: Cursor | None = None) -> None:
        """Call `listener` after each append; where `reader` is told, nothing in front of its cursor is compacted."""
        self._listeners[listener] = reader

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` no more. Unknown listeners are ignored."""
        self._listeners.pop(listener, None)
        if not self._listeners:
            self.encoded_cache.clear()

    def _prefix(self, offset: int) -> list[Event]:
        if offset == 0:
            return []
        return self._compacted + self._events[: offset - self.base]


_ENVELOPE = 64
"""What an event weighs on the wire beside its text, about, in characters."""


def _weight(event: Event) -> int:
    match event:
        case Text() | Reasoning():
            return len(event.text)
        case Rewound():
            return _ENVELOPE + len(event.text) + len(event.reasoning)
        case ToolAsked() | ToolStarted():
            return _ENVELOPE + len(event.arguments)
        case ToolFinished():
            return _ENVELOPE + len(event.output)
        case _:
            return _ENVELOPE


def _stop(events: list[Event], start: int, limit: int, before: list[Event]) -> int:
    """Where to end a batch that begins with `before` and goes on at `events[start]`."""
    size = sum(_ENVELOPE + _weight(event) for event in before)
    count = len(events)
    kind: type[Event] | None = None
    for stop in range(start, count):
        event = events[stop]
        weight = len(event.text) if isinstance(event, Text) else _weight(event)
        if type(event) is not kind:
            kind = type(event)
            weight += _ENVELOPE
        if size and size + weight > limit:
            return stop
        size += weight
    return count


_TEXT = attrgetter("text")


def merge(events: list[Event], into: list[Event]) -> None:
    """Append `events` to `into`, joining neighbours of text and of reasoning."""
    for kind, run in groupby(events, type):
        if kind is Text or kind is Reasoning:
            text = "".join(map(_TEXT, run))
            last = into[-1] if into else None
            if isinstance(last, Text | Reasoning) and type(last) is kind:
                into.pop()
                text = last.text + text
            into.append(Text(text) if kind is Text else Reasoning(text))
        else:
            into.extend(run)


def compacted(events: list[Event]) -> list[Event]:
    """The shortest list of events with the same fold: what was taken back and states that were replaced are left out, but
    for those that say whose a text is."""
    state = next((event for event in reversed(events) if isinstance(event, State)), None)
    kept: list[Event] = []
    text: list[str] = []
    thought, since = 0, 0  # what was thought before the last tool, and where in `kept` the rest begins
    reasoning = ""
    for event in events:
        match event:
            case Text():
                text.append(event.text)
            case Reasoning():
                reasoning += event.text
            case State():
                if event is not state and event.phase != "answering":
                    continue
            case ToolAsked() | ToolStarted() | ToolFinished():
                thought, since = len(reasoning), len(kept) + 1
            case Rewound():
                said = "".join(text)
                common = common_prefix_length(said, event.text)
                kept[since:] = _shortened(kept[since:], len(said) - common)
                text, reasoning = [event.text], event.reasoning
                kept += [Reasoning(reasoning[thought:])] if reasoning[thought:] else []
                kept += [Text(event.text[common:])] if event.text[common:] else []
                continue
            case Finished() | Failed():
                pass
            case _:
                assert_never(event)
        kept.append(event)
    merged: list[Event] = []
    merge(_without_idle(kept, state), merged)
    return merged


def _shortened(events: list[Event], by: int) -> list[Event]:
    """Without the thoughts, and without so many of the last characters."""
    kept: list[Event] = []
    for event in reversed(events):
        match event:
            case Reasoning():
                continue
            case Text(text) if by:
                taken = min(by, len(text))
                by -= taken
                if taken < len(text):
                    kept.append(Text(text[: len(text) - taken]))
            case _:
                kept.append(event)
    return kept[::-1]


def _without_idle(events: list[Event], last: State | None) -> list[Event]:
    """Of the states only the last, and those that say that what follows is somebody else's than what stands before."""
    kept: list[Event] = []
    told: tuple[str | None, str | None] = (None, None)
    answering: State | None = None
    for event in events:
        if isinstance(event, State):
            answering = event if event.phase == "answering" else answering
        if answering is not None and (event is last or (isinstance(event, Text) and event.text)):
            writer = (answering.model, answering.agent)
            if answering is not last and writer != told:
                kept.append(answering)
            told, answering = writer, None
        if event is last or not isinstance(event, State):
            kept.append(event)
    return kept
