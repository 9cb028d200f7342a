"""The order of searches: at most one of a user runs at a time, and users take turns."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from legato.errors import BusyError

SEARCHES_AT_ONCE = 4
"""Maximum searches of all users that run at a time."""

USER_WAITING = 8
"""Maximum searches of one user that wait."""

MAX_WAITING = 1000
"""Maximum searches of all users that wait."""


class SearchQueue:
    """Gives a place to each search. However many one user starts, another one waits for the running ones only."""

    def __init__(self, at_once: int = SEARCHES_AT_ONCE) -> None:
        self._free = at_once
        self._running: set[str] = set()
        # By the user. The order is that of their turns: a user whose search has ended goes to the end.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def place(self, user: str) -> AsyncIterator[None]:
        """Wait for a place, and hold it in the block. A caller that is cancelled gives it back.

        :raises BusyError: too many searches wait.
        """
        if not self._free or user in self._running or user in self._waiting:
            await self._wait(user)
        else:
            self._take(user)
        try:
            yield
        finally:
            self._release(user)

    async def _wait(self, user: str) -> None:
        line = self._waiting.get(user, deque())
        if len(line) >= USER_WAITING:
            raise BusyError("You are searching too often at once. Wait until one search is done.")
        if sum(map(len, self._waiting.values())) >= MAX_WAITING:
            raise BusyError("Too many people search at once. Try again in a moment.")
        ready = asyncio.get_running_loop().create_future()
        self._waiting[user] = line
        line.append(ready)
        try:
            await ready
        except asyncio.CancelledError:
            if not ready.cancelled():
                self._release(user)
            elif ready in line:
                line.remove(ready)
                if not line:
                    del self._waiting[user]
            raise

    def _take(self, user: str) -> None:
        self._free -= 1
        self._running.add(user)

    def _release(self, user: str) -> None:
        self._free += 1
        self._running.remove(user)
        if (line := self._waiting.pop(user, None)) is not None:
            self._waiting[user] = line
        while self._free and (following := self._next()) is not None:
            line = self._waiting.pop(following)
            ready = line.popleft()
            if line:
                self._waiting[following] = line
            if not ready.cancelled():
                self._take(following)
                ready.set_result(None)

    def _next(self) -> str | None:
        return next((user for user in self._waiting if user not in self._running), None)
