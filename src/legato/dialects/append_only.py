"""A reply as dialects tell it that have no word for taking something back."""

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
"""The frames that say a batch, none to many. The same batch is encoded once for all viewers."""

PARTED = Failed(
    "parted",
    "The answer was begun anew and goes on in other words than those shown. Load the conversation again to read it.",
)


class AppendOnlySubscriber(Subscriber):
    """Shows what goes on behind what was shown, and nothing else.

    Where a reply is rewound, the words that come again are passed over. Where they come differently it is `parted`: the
    viewer says so once, as a failure, and nothing more of this reply.
    """

    __slots__ = ("_frames", "_heed")

    def __init__(
        self,
        log: Log,
        offset: int,
        encoding: BatchEncoder,
        frames: Frames,
        sink: Socket,
        flusher: Flusher,
        ended: Callable[[Subscriber], None],
    ) -> None:
        """`encoding` is what is made of `frames` for all viewers. A log that was rewound is looked at from its beginning.

        :raises ValueError: where no cursor can stand at `offset`.
        """
        self._frames = frames
        self._heed: RewindFilter | None = None
        super().__init__(log, offset, encoding, sink, flusher, ended)

    @property
    def diverged(self) -> bool:
        return self._heed is not None and self._heed.diverged

    def pump(self) -> None:
        if self.log.rewinds and self._heed is None:
            sink: Socket = self.sink  # type: ignore[assignment]
            self._heed = self.encoding = RewindFilter(self._frames, sink.frame, self.log.text_at(self.cursor))
            self.uncached = True
        super().deliver()


class RewindFilter:
    """The `BatchEncoder` of one viewer that has seen `shown`, from when its log was rewound."""

    __slots__ = ("_frame", "_frames", "_missing", "_shown", "diverged")

    def __init__(self, frames: Frames, frame: Callable[[bytes], bytes], shown: str) -> None:
        self._frames = frames
        self._frame = frame
        self._shown = [shown] if shown else []
        self._missing = ""
        self.diverged = False

    def __call__(self, log: Log, batch: Batch) -> bytes:
        events: list[Event] = []
        for event in standing(batch.events):
            if self.diverged:
                break
            match event:
                case Text(text):
                    self._say(text, events)
                case Rewound():
                    shown = self._shown = ["".join(self._shown)]
                    self._missing = shown[0]
                    self._say(event.text, events)
                case Finished() if self._missing:
                    self._part(events)
                case _:
                    events.append(event)
        return b"".join(map(self._frame, self._frames(log, Batch(batch.first, batch.next, events))))

    def _say(self, text: str, events: list[Event]) -> None:
        missing = self._missing
        if missing.startswith(text):
            self._missing = missing[len(text) :]
        elif text.startswith(missing):
            self._missing, new = "", text[len(missing) :]
            self._shown.append(new)
            events.append(Text(new))
        else:
            self._part(events)

    def _part(self, events: list[Event]) -> None:
        self.diverged = True
        events.append(PARTED)


def standing(events: Iterable[Event]) -> list[Event]:
    """Without the words that are taken back further on. A rewind never crosses a tool's event, and says all that is kept."""
    kept: list[Event] = []
    since = 0
    for event in events:
        match event:
            case Rewound():
                kept[since:] = [each for each in kept[since:] if not isinstance(each, Text | Rewound)]
            case ToolAsked() | ToolStarted() | ToolFinished():
                since = len(kept) + 1
        kept.append(event)
    return kept
