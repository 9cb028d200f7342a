"""The commands of one socket: run in order, one at a time, within limits."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

WAITING = 1200
"""Commands of one socket that may wait; a client that reconnects follows all its conversations at once."""

WAITING_BYTES = 512 * 1024
"""Bytes that the waiting commands may have together; a single one may have any size."""

Command = Callable[[], Coroutine[Any, Any, None]]


class CommandQueue:
    """An idle queue holds no items and no task."""

    __slots__ = ("_bytes", "_closed", "_items", "_worker")

    def __init__(self) -> None:
        self._items: deque[tuple[Command, int]] | None = None
        self._bytes = 0
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether no command runs or waits."""
        return self._worker is None

    def put(self, command: Command, size: int) -> bool:
        """Run `command`, which must not raise, after those before it. Return False, and do nothing, if too much waits.

        `size` is in bytes. A command of any size is taken if none waits.
        """
        if self._items is None:
            self._items = deque()
        if len(self._items) >= WAITING or (self._items and self._bytes + size > WAITING_BYTES):
            return False
        self._items.append((command, size))
        self._bytes += size
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(self._items))
        return True

    def close(self) -> None:
        """Run no further command. The one that runs goes on to its end."""
        self._closed = True

    def cancel(self) -> None:
        """Run no further command, and cancel the one that runs."""
        self._closed = True
        if self._worker is not None:
            self._worker.cancel()

    async def _work(self, items: deque[tuple[Command, int]]) -> None:
        try:
            while items and not self._closed:
                command, size = items.popleft()
                self._bytes -= size
                await command()
        finally:
            self._items = self._worker = None
            self._bytes = 0
