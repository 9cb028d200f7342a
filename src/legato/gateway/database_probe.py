"""Find out whether the database answers, with at most one query at a time."""

import asyncio
from collections.abc import Awaitable, Callable

from legato.errors import StorageError

TIMEOUT_SECONDS = 2.0
"""How long a caller waits. A load balancer gives up shortly after."""


class DatabaseProbe:
    """Runs `ping` for its callers. Callers during a running `ping` wait for that one, so that pings do not queue up in front of messages."""

    def __init__(self, ping: Callable[[], Awaitable[None]], seconds: float = TIMEOUT_SECONDS) -> None:
        self._ping = ping
        self._seconds = seconds
        self._task: asyncio.Task[StorageError | None] | None = None

    async def __call__(self) -> None:
        """Return if the database answers.

        :raises StorageError: it cannot store a message, or did not answer in time.
        """
        task = self._task
        if task is None or task.done():
            task = self._task = asyncio.create_task(self._query(), name="probe of the database")
        done, _ = await asyncio.wait({task}, timeout=self._seconds)
        if not done:
            raise StorageError(
                f"The database has not answered for {self._seconds:g} s. See whether another process holds it."
            )
        failed = task.result()
        if failed is not None:
            raise failed

    async def _query(self) -> StorageError | None:
        try:
            await self._ping()
        except StorageError as error:
            return error
        return None
