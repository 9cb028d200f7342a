"""One timer for all connections of a process: a wheel of slots. Each connection is in the slot of its next check."""

import asyncio
import logging
from math import ceil
from typing import Protocol

logger = logging.getLogger(__name__)


class TimerTarget(Protocol):
    """An object that is checked from time to time. `slot` belongs to the wheel; 0 means that it is not checked."""

    slot: int

    def due(self) -> float:
        """Check, and return in how many seconds to check again; 0 for never."""
        ...


class TimerWheel:
    """Slots of `tick` seconds. `now` is its clock: coarse, cheap to read, never backwards.

    The clock counts served time: a late tick advances it by two ticks at most. Time in which the loop did not run, because of
    a blocking call or a suspended laptop, does not count as silence of a client.
    """

    __slots__ = ("_slots", "now", "tick")

    def __init__(self, tick: float = 1.0) -> None:
        self.tick = tick
        self.now = 0.0
        self._slots: dict[int, set[TimerTarget]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def watch(self, item: TimerTarget, seconds: float) -> None:
        """Check `item` in `seconds`, or up to a tick later. It is in one slot only: the last call counts."""
        self.forget(item)
        item.slot = max(ceil((self.now + seconds) / self.tick), int(self.now / self.tick) + 1)
        self._slots.setdefault(item.slot, set()).add(item)

    def forget(self, item: TimerTarget) -> None:
        """Stop checking `item`. Safe to call twice."""
        if item.slot:
            slot = self._slots.get(item.slot)
            if slot is not None:
                slot.discard(item)
                if not slot:
                    del self._slots[item.slot]
            item.slot = 0

    def advance(self, elapsed: float) -> None:
        """Advance the clock by `elapsed` seconds, and check everything that is due."""
        self.now += min(elapsed, 2 * self.tick)
        current = int(self.now / self.tick)
        for slot in [slot for slot in self._slots if slot <= current]:
            for item in self._slots.pop(slot):
                if item.slot == slot:
                    item.slot = 0
                    self._call_due(item)

    def _call_due(self, item: TimerTarget) -> None:
        try:
            seconds = item.due()
        except Exception:
            logger.exception("The check of a connection failed; it is not checked again.")
            return
        if seconds > 0 and not item.slot:
            self.watch(item, seconds)


class TimerClock(TimerWheel):
    """A wheel that a running loop advances, while it has items."""

    __slots__ = ("_last", "_loop")

    def __init__(self, tick: float = 1.0) -> None:
        super().__init__(tick)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last = 0.0

    @property
    def turning(self) -> bool:
        return self._loop is not None

    def watch(self, item: TimerTarget, seconds: float) -> None:
        super().watch(item, seconds)
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._last = self._loop.time()
            self._loop.call_later(self.tick, self._turn, self._loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        elapsed, self._last = now - self._last, now
        self.advance(elapsed)
        if self._slots:
            loop.call_later(self.tick, self._turn, loop)
        else:
            self._loop = None
