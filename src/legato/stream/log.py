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
    """An event was appended after the terminal event. It was not taken."""


class Batch(Struct, frozen=True, gc=False):
    """The events of the offsets `first` ≤ offset < `next`, with adjacent text joined into one event."""

    first: int
    next: int
    events: list[Event]


class Cursor(Protocol):
    """A reader of a log. It has read everything before the offset `cursor`."""

    @property
    def cursor(self) -> int: ...


class Log:
    """An append-only log, closed by exactly one terminal event.

    `stream` names the reply, `epoch` this incarnation of its log: a log that was lost and made anew has another epoch,
    so offsets of the old one are never taken for offsets of the new one.

    Listeners are called after each append, synchronously, in the order of subscription. A listener must not raise, append,
    subscribe or unsubscribe.

    Offsets below `base` are compacted: their content is one batch from 0 to `base`, which can be read as a whole but not
    from its middle. `restored`: an earlier incarnation was lost, and may have had other content. `rewinds` counts the
    rewinds. `next` is the offset of the next event, and the cursor of a subscriber that has read everything.
    `encoded_cache` holds the bytes of the last batch for each encoder, so that it is encoded once for all subscribers.
    """

    __slots__ = (
        "_compacted",
        "_events",
        "_last_state",
        "_last_text",
        "_last_tool",
        "_listeners",
        "_savepoints",
        "base",
        "closed",
        "encoded_cache",
        "epoch",
        "next",
        "restored",
        "rewinds",
        "stream",
    )

    def __init__(self, stream: str, epoch: str, *, restored: bool = False) -> None:
        self.stream = stream
        self.epoch = epoch
        self.restored = restored
        self.rewinds = 0
        self.base = 0
        self.next = 0
        self.closed = False
        self.encoded_cache: dict[object, tuple[int, int, bytes]] = {}
        self._compacted: list[Event] = []
        self._events: list[Event] = []
        self._last_tool = 0
        self._savepoints: dict[int, tuple[int, int]] = {}
        self._last_state: tuple[int, State | None] = (0, None)
        self._last_text = (0, "")
        self._listeners: dict[Callable[[], None], Cursor | None] = {}

    @classmethod
    def ended(cls, stream: str, epoch: str, events: list[Event], length: int) -> "Log":
        """Return a closed log of `length` events that was lost, with its content: `events`, of which the last is terminal.

        It can be read from 0 and from its end.
        """
        log = cls(stream, epoch, restored=True)
        log._compacted = compact_events(events)
        log.base = log.next = length
        log.closed = True
        return log

    @property
    def end(self) -> Terminal | None:
        """The terminal event, or None if the log is open."""
        if not self.closed:
            return None
        last = self._events[-1] if self._events else self._compacted[-1]
        return last if isinstance(last, Finished | Failed) else None

    def append(self, event: Event) -> int:
        """Append one event and return its offset.

        :raises LogClosedError: the log has a terminal event.
        :raises ValueError: the event is a rewind. `rewind` writes those, because it knows what is kept.
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
        """Return the next offset, and make it possible to rewind to it even after it was compacted."""
        said = self.snapshot()
        self._savepoints[self.next] = (len(said.text), len(said.reasoning))
        return self.next

    def rewind(self, to: int) -> int:
        """Reset the text to what it was at offset `to`, and return the offset of that event.

        :raises LogClosedError: the log has a terminal event.
        :raises ValueError: `to` is not an offset of this log, was compacted and is no savepoint, or lies before a tool's
            event.
        """
        if self.closed:
            raise LogClosedError(f"stream {self.stream} is closed")
        known = to in self._savepoints or to >= self.base
        if to != self.next and not (known and self._last_tool <= to < self.next):
            raise ValueError(f"cannot rewind stream {self.stream} to {to}")
        if to >= self.base:
            kept = ReplySnapshot(self._prefix(to))
            text, reasoning = kept.text, kept.reasoning
        else:
            # A rewind to an earlier offset drops later savepoints, so the text of this one is still the beginning.
            kept, (said, thought) = self.snapshot(), self._savepoints[to]
            text, reasoning = kept.text[:said], kept.reasoning[:thought]
        self._savepoints = {at: lengths for at, lengths in self._savepoints.items() if at <= to}
        self._events.append(Rewound(to, text, reasoning))
        self.next += 1
        self.rewinds += 1
        for listener in self._listeners:
            listener()
        return self.next - 1

    def readable(self, offset: int) -> bool:
        """Whether a cursor at `offset` can read on from there."""
        return offset == 0 or self.base <= offset <= self.next

    def since(self, offset: int, limit: int = 0) -> Batch:
        """Return all events from `offset` on; with a `limit`, about that many characters at most, but at least one event.

        The compacted part and a single event come as a whole, however long they are.

        :raises ValueError: no cursor can be at `offset` (see `readable`).
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
        stop = _batch_end(events, start, limit, merged) if limit else len(events)
        merge(events[start:stop], merged)
        return Batch(offset, self.base + stop, merged)

    def single(self, batch: Batch) -> Batch:
        """Return the batch without joined events, or as it is if its beginning was compacted."""
        start = batch.first - self.base
        if start < 0:
            return batch
        return Batch(batch.first, batch.next, self._events[start : batch.next - self.base])

    def text_at(self, offset: int) -> str:
        """Return the answer at `offset`. A later call with a larger offset costs only the events in between.

        :raises ValueError: `offset` is beyond the end or inside the compacted part.
        """
        if not self.readable(offset):
            raise ValueError(f"stream {self.stream} has no offset {offset}")
        if offset == 0:
            return ""
        known, text = self._last_text
        if not self.base <= known <= offset:
            known, text = self.base, ReplySnapshot(self._compacted).text
        said = [text]
        for event in self._events[known - self.base : offset - self.base]:
            if isinstance(event, Text):
                said.append(event.text)
            elif isinstance(event, Rewound):
                said = [event.text]
        text = "".join(said)
        self._last_text = (offset, text)
        return text

    def state_at(self, offset: int) -> State | None:
        """Return the state at `offset`, or None if there was none. A later call with a larger offset costs only the events in between.

        :raises ValueError: `offset` is beyond the end or inside the compacted part.
        """
        if not self.readable(offset):
            raise ValueError(f"stream {self.stream} has no offset {offset}")
        if offset == 0:
            return None
        known, state = self._last_state
        if not self.base <= known <= offset:
            known, state = self.base, ReplySnapshot(self._compacted).state
        for event in self._events[known - self.base : offset - self.base]:
            if isinstance(event, State):
                state = event
        self._last_state = (offset, state)
        return state

    def snapshot(self) -> ReplySnapshot:
        """Return the content of the whole log."""
        return ReplySnapshot(self._prefix(self.next))

    def compact(self, before: int) -> None:
        """Join the events below `before`. Positions inside that range can no longer be continued.

        Events in front of a subscribed cursor are kept. Afterwards `base` says how far it went.

        :raises ValueError: `before` is beyond the end.
        """
        if before > self.next:
            raise ValueError(f"stream {self.stream} has no offset {before}")
        for reader in self._listeners.values():
            if reader is not None and 0 < reader.cursor < before:
                before = reader.cursor
        if before <= self.base:
            return
        cut = before - self.base
        self._compacted = compact_events(self._compacted + self._events[:cut])
        del self._events[:cut]
        self.base = before
        self.encoded_cache.clear()

    def subscribe(self, listener: Callable[[], None], reader: Cursor | None = None) -> None:
        """Call `listener` after each append. With a `reader`, nothing in front of its cursor is compacted."""
        self._listeners[listener] = reader

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        """Stop calling `listener`. Unknown listeners are ignored."""
        self._listeners.pop(listener, None)
        if not self._listeners:
            self.encoded_cache.clear()

    def _prefix(self, offset: int) -> list[Event]:
        if offset == 0:
            return []
        return self._compacted + self._events[: offset - self.base]


_ENVELOPE = 64
"""The approximate size of an event on the wire without its text, in characters."""


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


def _batch_end(events: list[Event], start: int, limit: int, before: list[Event]) -> int:
    """Return where to end a batch that begins with `before` and continues at `events[start]`."""
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
    """Append `events` to `into`, joining adjacent text and adjacent reasoning."""
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


def compact_events(events: list[Event]) -> list[Event]:
    """Return the shortest list of events with the same snapshot.

    Text that was taken back is left out, and so are replaced states, except those that name the writer of a text.
    """
    state = next((event for event in reversed(events) if isinstance(event, State)), None)
    kept: list[Event] = []
    text: list[str] = []
    thought, since = 0, 0  # length of the reasoning before the last tool, and where in `kept` the rest begins
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
                kept[since:] = _without_last_characters(kept[since:], len(said) - common)
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
    merge(_without_replaced_states(kept, state), merged)
    return merged


def _without_last_characters(events: list[Event], by: int) -> list[Event]:
    """Return the events without reasoning, and without the last `by` characters of text."""
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


def _without_replaced_states(events: list[Event], last: State | None) -> list[Event]:
    """Return the events with only those states that are the last one, or that name a writer other than the one before."""
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
