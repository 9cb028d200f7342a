"""One timer for all connections of a process: a wheel of slots, each connection in the one in which it is looked at next."""

import asyncio
import logging
from math import ceil
from typing import Protocol

logger = logging.getLogger(__name__)


class TimerTarget(Protocol):
    """What is looked at from time to time. `slot` belongs to the wheel; 0 means that nobody looks."""

    slot: int

    def due(self) -> float:
        """Look, and say in how many seconds to look again; 0 for never."""
        ...


class TimerWheel:
    """Slots of `tick` seconds. `now` is its clock: coarse, cheap to read, never backwards.

    The clock counts served time: a tick that comes late moves it by two ticks at most. What a loop slept through, be it a
    blocking call or a suspended laptop, is not the silence of a client.
    """

    __slots__ = ("_slots", "now", "tick")

    def __init__(self, tick: float = 1.0) -> None:
        self.tick = tick
        self.now = 0.0
        self._slots: dict[int, set[TimerTarget]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def watch(self, item: TimerTarget, seconds: float) -> None:
        """Look at `item` in `seconds`, or up to a tick later. It is in one slot only: the last call counts."""
        self.forget(item)
        item.slot = max(ceil((self.now + seconds) / self.tick), int(self.now / self.tick) + 1)
        self._slots.setdefault(item.slot, set()).add(item)

    def forget(self, item: TimerTarget) -> None:
        """Look no more. Safe to call twice."""
        if item.slot:
            slot = self._slots.get(item.slot)
            if slot is not None:
                slot.discard(item)
                if not slot:
                    del self._slots[item.slot]
            item.slot = 0

    def advance(self, elapsed: float) -> None:
        """`elapsed` seconds went by: look at everything whose time has come."""
        self.now += min(elapsed, 2 * self.tick)
        current = int(self.now / self.tick)
        for slot in [slot for slot in self._slots if slot <= current]:
            for item in self._slots.pop(slot):
                if item.slot == slot:
                    item.slot = 0
                    self._look(item)

    def _look(self, item: TimerTarget) -> None:
        try:
            seconds = item.due()
        except Exception:
            logger.exception("Looking after a connection failed; it is left alone.")
            return
        if seconds > 0 and not item.slot:
            self.watch(item, seconds)


class TimerClock(TimerWheel):
    """A wheel that a running loop turns, while there is anything to look at."""

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
