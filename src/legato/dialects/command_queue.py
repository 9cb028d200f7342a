"""What one client has sent and is not answered yet: taken in order, one at a time, and not without end."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")

WAITING = 1200
"""Commands of one socket that may wait for their turn; one that comes back follows all it followed at once."""

WAITING_BYTES = 512 * 1024
"""What they may hold together; one of any size may always wait."""


class CommandQueue(Generic[T]):
    """While nothing waits it holds nothing, and there is no task."""

    __slots__ = ("_bytes", "_closed", "_items", "_worker")

    def __init__(self) -> None:
        self._items: deque[tuple[T, int]] | None = None
        self._bytes = 0
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def idle(self) -> bool:
        return self._worker is None

    def put(self, item: T, size: int, answer: Callable[[T], Coroutine[Any, Any, None]]) -> bool:
        """Let `answer` have it when its turn comes; False where too much waits, and nothing is done.

        `answer` must not raise. An item of any size is taken where none waits.
        """
        if self._items is None:
            self._items = deque()
        if len(self._items) >= WAITING or (self._items and self._bytes + size > WAITING_BYTES):
            return False
        self._items.append((item, size))
        self._bytes += size
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(self._items, answer))
        return True

    def close(self) -> None:
        """Take no more turns. The one that is being answered is not disturbed."""
        self._closed = True

    async def _work(
        self, items: deque[tuple[T, int]], answer: Callable[[T], Coroutine[Any, Any, None]]
    ) -> None:
        try:
            while items and not self._closed:
                item, size = items.popleft()
                self._bytes -= size
                await answer(item)
        finally:
            self._items = self._worker = None
            self._bytes = 0
