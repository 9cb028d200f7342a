"""The health of the engines, queried at most once a second, so that requests for it cause no load."""

import asyncio
from collections.abc import Callable, Mapping

from legato.engines.base import Engine, Health

MAX_AGE_SECONDS = 1.0
"""The maximum age of an answer, from the moment of the query."""


class HealthCache:
    """Callers during a running query wait for that one. `clock` is in seconds."""

    def __init__(
        self, engines: Mapping[str, Engine], clock: Callable[[], float], seconds: float = MAX_AGE_SECONDS
    ) -> None:
        self._engines = engines
        self._clock = clock
        self._seconds = seconds
        self._asked_at = 0.0
        self._task: asyncio.Task[dict[str, Health]] | None = None

    async def __call__(self) -> dict[str, Health]:
        """Return the health of each engine in use, by its name. It may take the 5 s that an engine may take."""
        task = self._task
        if task is None or (task.done() and self._clock() - self._asked_at >= self._seconds):
            self._asked_at = self._clock()
            task = self._task = asyncio.create_task(self._query(), name="health of the engines")
        # Shielded: other callers may wait for the same query.
        return await asyncio.shield(task)

    async def _query(self) -> dict[str, Health]:
        names = list(self._engines)
        found = await asyncio.gather(*(self._engines[name].health() for name in names))
        return dict(zip(names, found, strict=True))
