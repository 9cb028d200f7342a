"""The earliest of many times that are set, moved and cancelled without a search."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item")

ROOM = 64
"""Entries that a heap may hold before it looks for stale ones."""


class TimerHeap(Generic[Item]):
    """Times of items. `time_of` returns the present time of an item, or None if it has none: entries that differ from it are
    stale and are dropped. Adding costs O(log n); stale entries never outnumber the others by more than two to one."""

    def __init__(self, time_of: Callable[[Item], float | None]) -> None:
        self._time_of = time_of
        self._heap: list[tuple[float, int, Item]] = []
        self._numbers = count()
        self._limit = ROOM

    def add(self, item: Item) -> None:
        """Add an item with its present time. Call it whenever that time changes to another one."""
        at = self._time_of(item)
        if at is None:
            return
        if len(self._heap) >= self._limit:
            self._heap = [each for each in self._heap if self._time_of(each[2]) == each[0]]
            heapify(self._heap)
            self._limit = 2 * len(self._heap) + ROOM
        heappush(self._heap, (at, next(self._numbers), item))

    def first(self) -> float | None:
        """The earliest time."""
        while self._heap and self._time_of(self._heap[0][2]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def first_after(self, now: float) -> float | None:
        """The earliest time after `now`. Drops the others."""
        while (at := self.first()) is not None and at <= now:
            heappop(self._heap)
        return at
