"""How the engines are, asked of them at most once a second: whoever may ask the server must not set it to work."""

import asyncio
from collections.abc import Callable, Mapping

from legato.engines.base import Engine, Health

SECONDS = 1.0
"""How old an answer may be, from when it was asked for."""


class HealthCache:
    """All who ask while the engines are being asked wait for that one answer. `clock` is in seconds."""

    def __init__(
        self, engines: Mapping[str, Engine], clock: Callable[[], float], seconds: float = SECONDS
    ) -> None:
        self._engines = engines
        self._clock = clock
        self._seconds = seconds
        self._asked = 0.0
        self._asking: asyncio.Task[dict[str, Health]] | None = None

    async def __call__(self) -> dict[str, Health]:
        """The health of each engine in use, by its name. It may take the 5 s that an engine may take."""
        asking = self._asking
        if asking is None or (asking.done() and self._clock() - self._asked >= self._seconds):
            self._asked = self._clock()
            asking = self._asking = asyncio.create_task(self._ask(), name="pulse of the engines")
        # Whoever is cancelled leaves it to those who go on waiting.
        return await asyncio.shield(asking)

    async def _ask(self) -> dict[str, Health]:
        names = list(self._engines)
        found = await asyncio.gather(*(self._engines[name].health() for name in names))
        return dict(zip(names, found, strict=True))
