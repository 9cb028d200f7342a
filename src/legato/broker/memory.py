"""The broker in memory, for gateways of one process: one with SQLite, several in tests.

`MemoryBroker` is what the gateways share; `MemoryBroker.gateway` gives each its own access.
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping

from msgspec import Struct

from legato.broker.base import Connections, LogKey, Note, NoteHandler, StoredLog
from legato.broker.rate_limit import RateLimiter
from legato.errors import BusyError
from legato.stream import Log

VALUES = 10_000
"""One-time values that are kept at once, of all kinds and owners."""

LIMITERS = 10_000
"""Limiters that are kept at once. One that is forgotten allows a burst again, so the longest unused goes first."""


class MemoryLogs:
    """A log is shown as it is written: in one process nobody takes over what another gateway writes."""

    def show(self, written: Log, key: LogKey, term: int) -> Log:
        return written

    async def all_shown(self, written: Log) -> None:
        return None

    async def take(self, key: LogKey, term: int) -> StoredLog | None:
        return None

    def end(self, key: LogKey) -> None:
        return None


class MemoryNotes:
    """Notes to the other gateways of this process, delivered within `publish`."""

    def __init__(self, subscriptions: dict[str, dict[str, NoteHandler]], gateway: str) -> None:
        self._subscriptions = subscriptions
        self._gateway = gateway

    async def subscribe(self, conversation: str, handler: NoteHandler) -> None:
        self._subscriptions.setdefault(conversation, {})[self._gateway] = handler
        handler.on_doubt(conversation)

    def unsubscribe(self, conversation: str) -> None:
        handlers = self._subscriptions.get(conversation, {})
        handlers.pop(self._gateway, None)
        if not handlers:
            self._subscriptions.pop(conversation, None)

    def publish(self, conversation: str, note: Note) -> None:
        for gateway, handler in list(self._subscriptions.get(conversation, {}).items()):
            if gateway != self._gateway:
                handler.on_note(conversation, note)

    async def subscribed_elsewhere(self, conversation: str) -> int:
        return len(self._subscriptions.get(conversation, {}).keys() - {self._gateway})


class MemoryPresence:
    """The connections of all gateways of this process."""

    def __init__(self, board: dict[str, dict[tuple[str, str], Connections]], gateway: str) -> None:
        self._board = board
        self._gateway = gateway

    def set(self, conversation: str, user: str, connections: int, name: str | None = None) -> None:
        entries = self._board.setdefault(conversation, {})
        key = (self._gateway, user)
        if connections:
            known = entries.get(key)
            entries[key] = Connections(name or (known.name if known is not None else None), connections)
        else:
            entries.pop(key, None)
        if not entries:
            del self._board[conversation]

    def elsewhere(self, conversation: str) -> Mapping[str, Connections]:
        found: dict[str, Connections] = {}
        for (gateway, user), entry in self._board.get(conversation, {}).items():
            if gateway != self._gateway:
                before = found.get(user, Connections(None, 0))
                found[user] = Connections(before.name or entry.name, before.connections + entry.connections)
        return found


class _Value(Struct):
    value: bytes
    expires: float
    owner: tuple[str, str]


class MemoryOneTimeValues:
    """Values by kind and name. `clock` is in seconds and never goes backwards."""

    def __init__(self, clock: Callable[[], float], capacity: int = VALUES) -> None:
        self._clock = clock
        self._capacity = capacity
        self._values: dict[tuple[str, str], _Value] = {}
        self._owned: dict[tuple[str, str], deque[tuple[str, str]]] = {}
        self._expiries: list[tuple[float, tuple[str, str]]] = []

    def __len__(self) -> int:
        return len(self._values)

    async def put(
        self, kind: str, name: str, value: bytes, seconds: float, *, owner: str, per_owner: int
    ) -> None:
        now = self._clock()
        self._forget_expired(now)
        owned = self._owned.get((kind, owner))
        if owned is not None and len(owned) >= per_owner:
            self._forget(owned[0])
        if len(self._values) >= self._capacity:
            raise BusyError("Too many people are signing in at once. Try again in a moment.", seconds)
        key = (kind, name)
        self._forget(key)
        self._values[key] = _Value(value, now + seconds, (kind, owner))
        self._owned.setdefault((kind, owner), deque()).append(key)
        heapq.heappush(self._expiries, (now + seconds, key))

    async def take(self, kind: str, name: str) -> bytes | None:
        found = self._forget((kind, name))
        return found.value if found is not None and found.expires > self._clock() else None

    def _forget_expired(self, now: float) -> None:
        while self._expiries and self._expiries[0][0] <= now:
            expires, key = heapq.heappop(self._expiries)
            if (kept := self._values.get(key)) is not None and kept.expires == expires:
                self._forget(key)

    def _forget(self, key: tuple[str, str]) -> _Value | None:
        found = self._values.pop(key, None)
        if found is not None:
            owned = self._owned[found.owner]
            owned.remove(key)
            if not owned:
                del self._owned[found.owner]
        return found


class MemoryRateLimits:
    """One limiter for each kind and user. `clock` is in seconds and never goes backwards."""

    def __init__(self, clock: Callable[[], float], capacity: int = LIMITERS) -> None:
        self._clock = clock
        self._capacity = capacity
        self._limiters: OrderedDict[tuple[str, str], RateLimiter] = OrderedDict()

    async def allow(self, kind: str, user: str, rate: float, burst: float) -> float:
        key = (kind, user)
        limiter = self._limiters.get(key)
        if limiter is None or (limiter.rate, limiter.burst) != (rate, burst):
            limiter = self._limiters[key] = RateLimiter(rate, burst)
            if len(self._limiters) > self._capacity:
                self._limiters.popitem(last=False)
        self._limiters.move_to_end(key)
        return limiter.wait(self._clock())


class MemoryGateway:
    """One gateway's access to a `MemoryBroker`."""

    def __init__(self, broker: "MemoryBroker", gateway: str) -> None:
        self._broker = broker
        self._gateway = gateway
        self.logs = MemoryLogs()
        self.notes = MemoryNotes(broker.subscriptions, gateway)
        self.presence = MemoryPresence(broker.board, gateway)
        self.once = broker.once
        self.limits = broker.limits

    async def close(self) -> None:
        for conversation in list(self._broker.subscriptions):
            self.notes.unsubscribe(conversation)
        for conversation, entries in list(self._broker.board.items()):
            for gateway, user in list(entries):
                if gateway == self._gateway:
                    self.presence.set(conversation, user, 0)


class MemoryBroker:
    """What the gateways of one process share."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.subscriptions: dict[str, dict[str, NoteHandler]] = {}
        self.board: dict[str, dict[tuple[str, str], Connections]] = {}
        self.once = MemoryOneTimeValues(clock)
        self.limits = MemoryRateLimits(clock)

    def gateway(self, name: str = "local") -> MemoryGateway:
        """Return the access of the gateway `name`."""
        return MemoryGateway(self, name)
