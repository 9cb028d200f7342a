"""The queue for the slots of the model."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class SlotQueue:
    """As many permits as the model has slots, granted in the order of requests.

    llama.cpp has a queue of its own, but its entries cannot be cancelled and do not know their position.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._line: deque[_Waiting] = deque()

    @property
    def waiting(self) -> int:
        return len(self._line)

    @asynccontextmanager
    async def hold(self, moved: Callable[[int], None]) -> AsyncIterator[None]:
        """Hold a slot. While waiting, `moved` receives the queue position, from 1, at first and after every change."""
        await self._take(moved)
        try:
            yield
        finally:
            self._give()

    async def _take(self, moved: Callable[[int], None]) -> None:
        if self._free and not self._line:
            self._free -= 1
            return
        waiting = _Waiting(moved, asyncio.get_running_loop().create_future())
        self._line.append(waiting)
        moved(len(self._line))
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting in self._line:
                at = self._line.index(waiting)
                self._line.remove(waiting)
                self._tell(at)
            elif not waiting.turn.cancelled():
                self._give()
            raise

    def _give(self) -> None:
        while self._line:
            waiting = self._line.popleft()
            if not waiting.turn.done():
                waiting.turn.set_result(None)
                self._tell(0)
                return
        self._free += 1

    def _tell(self, at: int) -> None:
        for place, waiting in enumerate(self._line, 1):
            if place > at:
                waiting.moved(place)


class _Waiting:
    def __init__(self, moved: Callable[[int], None], turn: asyncio.Future[None]) -> None:
        self.moved = moved
        self.turn = turn
