"""Whether the database answers, asked of it no more than once at a time."""

import asyncio
from collections.abc import Awaitable, Callable

from legato.errors import StorageError

SECONDS = 2.0
"""How long whoever asks waits. A load balancer gives up soon after."""


class DatabaseProbe:
    """All who ask while a `ping` is under way wait for that one: pings must not queue up before what people write."""

    def __init__(self, ping: Callable[[], Awaitable[None]], seconds: float = SECONDS) -> None:
        self._ping = ping
        self._seconds = seconds
        self._asking: asyncio.Task[StorageError | None] | None = None

    async def __call__(self) -> None:
        """Return where it answers.

        :raises StorageError: it cannot take a message, or did not answer in time.
        """
        asking = self._asking
        if asking is None or asking.done():
            asking = self._asking = asyncio.create_task(self._ask(), name="probe of the database")
        done, _ = await asyncio.wait({asking}, timeout=self._seconds)
        if not done:
            raise StorageError(
                f"The database has not answered for {self._seconds:g} s. See whether another process holds it."
            )
        failed = asking.result()
        if failed is not None:
            raise failed

    async def _ask(self) -> StorageError | None:
        try:
            await self._ping()
        except StorageError as error:
            return error
        return None
