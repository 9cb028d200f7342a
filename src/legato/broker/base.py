"""The contracts by which gateways share what is not in the database: running logs, notes, presence, one-time values, limits.

PostgreSQL decides, the broker carries, memory writes: what is lost with the broker can be read again from the database or
is published again by the gateway that owns it. `legato.broker.memory` is the implementation for gateways of one process.
"""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from legato.stream import Event, Log


class LogKey(Struct, frozen=True):
    """Names the log of a reply: its conversation and its stream."""

    conversation: str
    stream: str


class StoredLog(Struct, frozen=True):
    """What the broker has of a log. `next` is the offset behind its last event; `base` the offset of its first one."""

    epoch: str
    base: int
    next: int
    events: list[Event]


class RunningLogs(Protocol):
    """The logs of running replies. Each is written by one gateway, under a term that only grows, and is shown by any.

    A term fences: once `take` was called with a term, nothing that is written under a lower term is shown any more.
    """

    def show(self, written: Log, key: LogKey, term: int) -> Log:
        """Return the log that subscribers look at. Call it for each log that this gateway writes, before its first event.

        It is `written` itself if no other gateway can take over: then an append reaches the subscribers in the same call.
        Otherwise it is another log of the same stream and epoch that gains each event, once and in order, when the broker
        has acknowledged it. So a later `take` finds whatever any subscriber was shown.
        """
        ...

    async def all_shown(self, written: Log) -> None:
        """Return when all that `written` holds now is shown. Wait for it before a tool runs and before a hand-over."""
        ...

    async def take(self, key: LogKey, term: int) -> StoredLog | None:
        """Fence every lower term, then return what the broker has of the log; None if it has nothing.

        :raises BusyError: the broker cannot be asked now.
        """
        ...

    def end(self, key: LogKey) -> None:
        """Mark the log as ended. The broker may forget it once no position in it is continued any more."""
        ...


class ConversationNoted(Struct, frozen=True, tag="conversation"):
    """The conversation or its messages changed. `revision` is the one after the change."""

    revision: int


class PresenceNoted(Struct, frozen=True, tag="presence"):
    """Participants came or went, or their connections did."""


class TypingNoted(Struct, frozen=True, tag="typing"):
    """A participant began to type, or stopped."""

    user: str
    name: str | None
    typing: bool


class RemovalNoted(Struct, frozen=True, tag="removal"):
    """A participant was removed: their subscriptions end now."""

    user: str


class DeletionNoted(Struct, frozen=True, tag="deletion"):
    """The conversation was deleted: all subscriptions end now."""


Note = ConversationNoted | PresenceNoted | TypingNoted | RemovalNoted | DeletionNoted
"""What one gateway tells the others about a conversation. It never carries a message: readers ask the database again."""


class NoteHandler(Protocol):
    """Receives the notes of other gateways, by plain calls on the event loop, in the order of their publication."""

    def on_note(self, conversation: str, note: Note) -> None: ...

    def on_doubt(self, conversation: str) -> None:
        """Read the conversation again: notes may have been missed. Called after the first subscription too."""
        ...


class Notes(Protocol):
    """Notes about conversations, from gateway to gateway. A note may be lost; then `on_doubt` follows."""

    async def subscribe(self, conversation: str, handler: NoteHandler) -> None:
        """Return when every later note of the other gateways arrives at `handler`. Read the database only after it."""
        ...

    def unsubscribe(self, conversation: str) -> None:
        """Stop to receive. Does nothing if the conversation is not subscribed to."""
        ...

    def publish(self, conversation: str, note: Note) -> None:
        """Send a note to the other gateways, behind all that this gateway published before."""
        ...

    async def subscribed_elsewhere(self, conversation: str) -> int:
        """Return how many other gateways are subscribed to the conversation."""
        ...


class Connections(Struct, frozen=True):
    """The connections of one user to one conversation. `name` is the user's display name, if known."""

    name: str | None
    connections: int


class PresenceBoard(Protocol):
    """Who is connected to which conversation, by gateway. The entries of a gateway end with it."""

    def set(self, conversation: str, user: str, connections: int, name: str | None = None) -> None:
        """Set how many connections `user` has here. 0 removes the entry."""
        ...

    def elsewhere(self, conversation: str) -> Mapping[str, Connections]:
        """Return the users who are connected through other gateways, with their connections added up."""
        ...


class OneTimeValues(Protocol):
    """Values that exactly one caller can take, on whichever gateway it asks. Tickets are such values."""

    async def put(
        self, kind: str, name: str, value: bytes, seconds: float, *, owner: str, per_owner: int
    ) -> None:
        """Keep `value` for `seconds` or until it is taken.

        An owner has at most `per_owner` values of a kind: one more replaces the oldest.

        :raises BusyError: too many values are kept at once.
        """
        ...

    async def take(self, kind: str, name: str) -> bytes | None:
        """Return the value and forget it; None if it was taken, has expired or was never put."""
        ...


class RateLimits(Protocol):
    """Limits that hold for a user over all gateways, by the generic cell rate algorithm (GCRA)."""

    async def allow(self, kind: str, user: str, rate: float, burst: float) -> float:
        """Count one use. Return 0.0 if it is within `rate` a second (`burst` seconds of it at once), else the seconds to wait.

        A use that is refused is not counted.
        """
        ...


class Broker(Protocol):
    """One gateway's access to all of it."""

    @property
    def logs(self) -> RunningLogs: ...

    @property
    def notes(self) -> Notes: ...

    @property
    def presence(self) -> PresenceBoard: ...

    @property
    def once(self) -> OneTimeValues: ...

    @property
    def limits(self) -> RateLimits: ...

    async def close(self) -> None:
        """Leave: the other gateways no longer see this one's presence and subscriptions."""
        ...
