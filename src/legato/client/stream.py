"""One reply as a client has it: the deltas that it received, added up, and its position."""

from enum import Enum
from typing import assert_never

from legato.protocol.messages import Delta, MessageView, Where
from legato.stream import Event, Failed, Finished, Reasoning, ReplySnapshot, Terminal, Text


class DeltaFit(Enum):
    """How a delta fits what a client has: it is the next one, it restarts the stream, it is known, or some are missing."""

    NEXT = "next"
    RESTART = "restart"
    KNOWN = "known"
    GAP = "gap"


class StreamState:
    """One reply as far as it was received. `end` is set when it is complete.

    `gap_requested`: missing deltas were requested, and have not arrived yet.
    """

    __slots__ = ("conversation", "end", "epoch", "gap_requested", "id", "offset", "snapshot")

    def __init__(self, id: str, conversation: str | None) -> None:  # noqa: A002
        self.id = id
        self.conversation = conversation
        self.snapshot = ReplySnapshot()
        self.epoch: str | None = None
        self.offset = 0
        self.end: Terminal | None = None
        self.gap_requested = False

    @property
    def position(self) -> Where | None:
        """The position from which to resume; None if there is nothing to resume."""
        if self.end is not None or self.epoch is None or self.offset == 0:
            return None
        return Where(self.id, self.epoch, self.offset)

    def fit(self, delta: Delta) -> DeltaFit:
        """Return how a delta fits."""
        if self.end is not None:
            return DeltaFit.KNOWN
        if delta.from_ == 0:
            return DeltaFit.NEXT if self.offset == 0 else DeltaFit.RESTART
        if delta.epoch != self.epoch or delta.from_ > self.offset:
            return DeltaFit.GAP
        if delta.to <= self.offset:
            return DeltaFit.KNOWN
        return DeltaFit.NEXT if delta.from_ == self.offset else DeltaFit.GAP

    def apply(self, delta: Delta) -> list[Event]:
        """Add a delta that fits, and return the new events; none if it does not fit."""
        match self.fit(delta):
            case DeltaFit.KNOWN | DeltaFit.GAP:
                return []
            case DeltaFit.RESTART:
                self.reset()
            case DeltaFit.NEXT:
                pass
            case never:
                assert_never(never)
        self.epoch, self.offset, self.gap_requested = delta.epoch, delta.to, False
        for event in delta.events:
            self.snapshot.apply(event)
        self.end = self.snapshot.end
        return delta.events

    def reset(self) -> None:
        """Drop everything that was received."""
        self.snapshot = ReplySnapshot()
        self.epoch, self.offset = None, 0

    def complete(self, message: MessageView) -> tuple[bool, list[Event]]:
        """Complete the reply from its stored message. Return whether the stream restarts, and the events to add."""
        snapshot = self.snapshot
        restarts = not (
            message.text.startswith(snapshot.text) and message.reasoning.startswith(snapshot.reasoning)
        )
        if restarts:
            self.reset()
            snapshot = self.snapshot
        reasoning, text = message.reasoning[len(snapshot.reasoning) :], message.text[len(snapshot.text) :]
        events: list[Event] = [Reasoning(reasoning)] if reasoning else []
        events += [Text(text)] if text else []
        events.append(terminal_event(message))
        for event in events:
            self.snapshot.apply(event)
        self.end = self.snapshot.end
        return restarts, events


def terminal_event(message: MessageView) -> Terminal:
    """Return the terminal event of a reply of which only the stored message is known."""
    if message.status == "interrupted":
        return Failed("interrupted", message.detail or "The reply broke off; the text so far is kept.")
    return Finished("stopped" if message.status == "stopped" else "stop", message.usage, message.timings)
