"""The slots of an engine: as many replies run at once as it has, and people take turns for the next one."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from legato.errors import EngineBusyError

T = TypeVar("T")

WAITING = 10_000
"""Replies that wait for one engine at most."""

TOLD = 100
"""How far back in the queue those who wait are told every change of their place. Others are told by tens."""

_FULL = "Too many requests wait for this model. Try again in a moment."


class TurnQueue(Generic[T]):
    """Items of users. The users take turns: one item of each, then a second one of each. No I/O.

    A user who comes new is served after those who wait already have been served once.
    """

    def __init__(self) -> None:
        self._users: dict[str, deque[T]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, user: str, item: T) -> None:
        """Append an item behind the others of its user."""
        self._users.setdefault(user, deque()).append(item)
        self._length += 1

    def take(self) -> T:
        """Remove and return the next item. The queue must not be empty."""
        user, items = next(iter(self._users.items()))
        item = items.popleft()
        del self._users[user]
        if items:
            self._users[user] = items
        self._length -= 1
        return item

    def remove(self, user: str, item: T) -> bool:
        """Remove an item. Return whether it was there."""
        items = self._users.get(user)
        if items is None or item not in items:
            return False
        items.remove(item)
        if not items:
            del self._users[user]
        self._length -= 1
        return True

    def in_order(self) -> list[T]:
        """Return all items in the order in which they will be taken if nothing is added."""
        rows = [list(items) for items in self._users.values()]
        depth = max(map(len, rows), default=0)
        return [row[at] for at in range(depth) for row in rows if at < len(row)]


class _WaitingReply:
    __slots__ = ("moved", "place", "turn")

    def __init__(self, moved: Callable[[int], None]) -> None:
        self.moved = moved
        self.place = 0
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class FairSlots:
    """Grants `count` slots (None: any number). While all are taken, those who wait are served by user in turn."""

    def __init__(self, count: int | None) -> None:
        self._free = count
        self._queue: TurnQueue[_WaitingReply] = TurnQueue()

    @property
    def waiting(self) -> int:
        """How many replies wait."""
        return len(self._queue)

    @asynccontextmanager
    async def hold(self, user: str, moved: Callable[[int], None]) -> AsyncIterator[None]:
        """Hold a slot. While waiting, `moved` receives the place in the queue, from 1, at first and after changes.

        :raises EngineBusyError: too many wait.
        """
        if self._free is None:
            yield
            return
        await self._take(user, moved)
        try:
            yield
        finally:
            self._give()

    async def _take(self, user: str, moved: Callable[[int], None]) -> None:
        if self._free and not len(self._queue):
            self._free -= 1
            return
        if len(self._queue) >= WAITING:
            raise EngineBusyError(_FULL)
        waiting = _WaitingReply(moved)
        self._queue.put(user, waiting)
        self._tell()
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if self._queue.remove(user, waiting):
                self._tell()
            elif not waiting.turn.cancelled():
                self._give()
            raise

    def _give(self) -> None:
        while len(self._queue):
            waiting = self._queue.take()
            if not waiting.turn.done():
                waiting.turn.set_result(None)
                self._tell()
                return
        if self._free is not None:
            self._free += 1

    def _tell(self) -> None:
        """Tell those who wait their place, if it changed."""
        for place, waiting in enumerate(self._queue.in_order(), 1):
            if place == waiting.place or (place > TOLD and waiting.place and place % 10):
                continue
            waiting.place = place
            waiting.moved(place)
