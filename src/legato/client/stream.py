"""What a client has of one reply: the sum of what it was told, and where it stands."""

from enum import Enum
from typing import assert_never

from legato.protocol.messages import Delta, MessageView, Where
from legato.stream import Event, Failed, Finished, Reasoning, ReplySnapshot, Terminal, Text


class DeltaFit(Enum):
    """How a delta fits to what a client has: it is the next one, it begins anew, it is nothing new, or something is missing."""

    NEXT = "next"
    ANEW = "anew"
    KNOWN = "known"
    GAP = "gap"


class StreamState:
    """One reply, as far as it was told. `fold` is what it says; `end` is there once it is whole."""

    __slots__ = ("conversation", "distrusted", "end", "epoch", "fold", "id", "offset")

    def __init__(self, id: str, conversation: str | None) -> None:  # noqa: A002
        self.id = id
        self.conversation = conversation
        self.fold = ReplySnapshot()
        self.epoch: str | None = None
        self.offset = 0
        self.end: Terminal | None = None
        self.distrusted = False

    @property
    def position(self) -> Where | None:
        """Where to go on; None where there is nothing to go on from."""
        if self.end is not None or self.epoch is None or self.offset == 0:
            return None
        return Where(self.id, self.epoch, self.offset)

    def fit(self, delta: Delta) -> DeltaFit:
        if self.end is not None:
            return DeltaFit.KNOWN
        if delta.from_ == 0:
            return DeltaFit.NEXT if self.offset == 0 else DeltaFit.ANEW
        if delta.epoch != self.epoch or delta.from_ > self.offset:
            return DeltaFit.GAP
        if delta.to <= self.offset:
            return DeltaFit.KNOWN
        return DeltaFit.NEXT if delta.from_ == self.offset else DeltaFit.GAP

    def take(self, delta: Delta) -> list[Event]:
        """Add a delta that fits, and return the events that are new."""
        match self.fit(delta):
            case DeltaFit.KNOWN | DeltaFit.GAP:
                return []
            case DeltaFit.ANEW:
                self.forget()
            case DeltaFit.NEXT:
                pass
            case never:
                assert_never(never)
        self.epoch, self.offset, self.distrusted = delta.epoch, delta.to, False
        for event in delta.events:
            self.fold.apply(event)
        self.end = self.fold.end
        return delta.events

    def forget(self) -> None:
        """Have nothing of it."""
        self.fold = ReplySnapshot()
        self.epoch, self.offset = None, 0

    def complete(self, message: MessageView) -> tuple[bool, list[Event]]:
        """The reply was told whole: whether what was said before does not count, and what is to be said beyond it."""
        fold = self.fold
        anew = not (message.text.startswith(fold.text) and message.reasoning.startswith(fold.reasoning))
        if anew:
            self.forget()
            fold = self.fold
        thought, said = message.reasoning[len(fold.reasoning) :], message.text[len(fold.text) :]
        events: list[Event] = [Reasoning(thought)] if thought else []
        events += [Text(said)] if said else []
        events.append(ending(message))
        for event in events:
            self.fold.apply(event)
        self.end = self.fold.end
        return anew, events


def ending(message: MessageView) -> Terminal:
    """The terminal event of a reply that is known by its message alone."""
    if message.status == "interrupted":
        return Failed("interrupted", message.detail or "The reply broke off; the text so far is kept.")
    return Finished("stopped" if message.status == "stopped" else "stop", message.usage, message.timings)
