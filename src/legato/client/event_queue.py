"""Where events wait for one who reads them at their own pace."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

from legato.errors import LegatoError

T = TypeVar("T")


class EventQueue(Generic[T]):
    """Values in the order they came, then an end: a plain one, or an error that is raised."""

    def __init__(self) -> None:
        self._values: deque[T] = deque()
        self._there = asyncio.Event()
        self._closed = False
        self._error: LegatoError | None = None

    def put(self, value: T) -> None:
        if not self._closed:
            self._values.append(value)
            self._there.set()

    def close(self, error: LegatoError | None = None) -> None:
        """Nothing more will come."""
        if not self._closed:
            self._closed, self._error = True, error
            self._there.set()

    def __aiter__(self) -> "EventQueue[T]":
        return self

    async def __anext__(self) -> T:
        while not self._values:
            if self._closed:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._there.clear()
            await self._there.wait()
        return self._values.popleft()
