"""Replies for dialects that cannot take text back: the text that a client got only grows."""

from collections.abc import Callable, Iterable

from legato.dialects.base import Socket
from legato.stream import (
    Batch,
    BatchEncoder,
    Event,
    Failed,
    Finished,
    Flusher,
    Log,
    Rewound,
    Subscriber,
    Text,
    ToolAsked,
    ToolFinished,
    ToolStarted,
)

Frames = Callable[[Log, Batch], Iterable[bytes]]
"""Returns the frames of a batch. The same batch is encoded once for all subscribers."""

DIVERGED = Failed(
    "parted",
    "The answer was begun anew and goes on in other words than those shown. Load the conversation again to read it.",
)


class AppendOnlySubscriber(Subscriber):
    """Sends only text that continues what was sent.

    If a reply is rewound, the text that comes again is skipped. If it comes differently, the subscriber has `diverged`: it
    sends one failure and nothing more of this reply.
    """

    __slots__ = ("_filter", "_frame", "_frames")

    def __init__(
        self,
        log: Log,
        offset: int,
        encoder: BatchEncoder,
        frames: Frames,
        sink: Socket,
        flusher: Flusher,
        ended: Callable[[Subscriber], None],
    ) -> None:
        """`encoder` makes batches of `frames` for all subscribers. A log that was rewound is sent from its beginning.

        :raises ValueError: no cursor can stand at `offset`.
        """
        self._frame = sink.frame
        self._frames = frames
        self._filter: RewindFilter | None = None
        super().__init__(log, offset, encoder, sink, flusher, ended)

    @property
    def diverged(self) -> bool:
        return self._filter is not None and self._filter.diverged

    def deliver(self) -> None:
        if self.log.rewinds and self._filter is None:
            sent = self.log.text_at(self.cursor)
            self._filter = self.encoder = RewindFilter(self._frames, self._frame, sent)
            self.uncached = True
        super().deliver()


class RewindFilter:
    """The `BatchEncoder` of one subscriber of a rewound log. `sent` is the text that it sent before the rewind."""

    __slots__ = ("_expected", "_frame", "_frames", "_sent", "diverged")

    def __init__(self, frames: Frames, frame: Callable[[bytes], bytes], sent: str) -> None:
        self._frames = frames
        self._frame = frame
        self._sent = [sent] if sent else []
        self._expected = ""
        self.diverged = False

    def __call__(self, log: Log, batch: Batch) -> bytes:
        events: list[Event] = []
        for event in without_rewound_text(batch.events):
            if self.diverged:
                break
            match event:
                case Text(text):
                    self._append(text, events)
                case Rewound():
                    sent = self._sent = ["".join(self._sent)]
                    self._expected = sent[0]
                    self._append(event.text, events)
                case Finished() if self._expected:
                    self._diverge(events)
                case _:
                    events.append(event)
        return b"".join(map(self._frame, self._frames(log, Batch(batch.first, batch.next, events))))

    def _append(self, text: str, events: list[Event]) -> None:
        """Append the part of `text` that was not sent before the rewind."""
        expected = self._expected
        if expected.startswith(text):
            self._expected = expected[len(text) :]
        elif text.startswith(expected):
            self._expected, new = "", text[len(expected) :]
            self._sent.append(new)
            events.append(Text(new))
        else:
            self._diverge(events)

    def _diverge(self, events: list[Event]) -> None:
        self.diverged = True
        events.append(DIVERGED)


def without_rewound_text(events: Iterable[Event]) -> list[Event]:
    """Return the events without the text that a later one takes back.

    A rewind never crosses the event of a tool, and holds all the text that remains.
    """
    remaining: list[Event] = []
    since = 0
    for event in events:
        match event:
            case Rewound():
                remaining[since:] = [
                    each for each in remaining[since:] if not isinstance(each, Text | Rewound)
                ]
            case ToolAsked() | ToolStarted() | ToolFinished():
                since = len(remaining) + 1
        remaining.append(event)
    return remaining
