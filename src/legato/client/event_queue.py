"""A queue of events that is read at the pace of its reader."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

from legato.errors import LegatoError

T = TypeVar("T")


class EventQueue(Generic[T]):
    """Values in the order of `put`. After `close` the iteration ends, or raises the error that `close` was given."""

    def __init__(self) -> None:
        self._values: deque[T] = deque()
        self._changed = asyncio.Event()
        self._closed = False
        self._error: LegatoError | None = None

    def put(self, value: T) -> None:
        if not self._closed:
            self._values.append(value)
            self._changed.set()

    def close(self, error: LegatoError | None = None) -> None:
        """End the iteration after the values that are queued."""
        if not self._closed:
            self._closed, self._error = True, error
            self._changed.set()

    def __aiter__(self) -> "EventQueue[T]":
        return self

    async def __anext__(self) -> T:
        while not self._values:
            if self._closed:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._values.popleft()
