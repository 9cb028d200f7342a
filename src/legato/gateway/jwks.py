"""The public keys of whoever signs the tokens (RFC 7517), fetched when they are needed."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable

import jwt

from legato.errors import BusyError

logger = logging.getLogger(__name__)

FRESH = 600.0
"""Seconds after which the keys are fetched again, beside the work."""

KEPT = 86_400.0
"""Seconds for which they are used while they cannot be fetched again."""

PAUSE = 10.0
"""Seconds between two fetches, so that tokens with invented keys cost the issuer nothing."""

TIMEOUT = 5.0
LIMIT = 1024 * 1024

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Signatures that are made with one key and checked with another."""


async def fetch(url: str) -> bytes:
    """What stands at `url`.

    :raises OSError: it cannot be had in `TIMEOUT` seconds, or is longer than `LIMIT` bytes.
    """
    # Here, for it takes a while to import, and `legato token` never fetches anything.
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url) as response,
        ):
            response.raise_for_status()
            body = await response.content.read(LIMIT + 1)
            while len(body) <= LIMIT and (more := await response.content.read(LIMIT + 1 - len(body))):
                body += more
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise OSError(str(error) or "no answer in time") from error
    if len(body) > LIMIT:
        raise OSError("the answer is too long")
    return body


class KeySet:
    """The keys at `url`, by name. Times are seconds of a monotonic `clock`."""

    def __init__(
        self,
        url: str,
        get: Callable[[str], Awaitable[bytes]] = fetch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self._get = get
        self._clock = clock
        self._keys: list[jwt.PyJWK] = []
        self._fetched: float | None = None
        self._tried: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, name: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key `name` that signs with `algorithm`, or the only one that does, where no name is given.

        None where there is no such key. It is looked for at the issuer before, though not more often than every `PAUSE`.

        :raises BusyError: the keys cannot be had now.
        """
        age = self._age()
        if age is not None and age > KEPT:
            self._keys, self._fetched, age = [], None, None
        key = self._known(name, algorithm)
        if key is None or age is None:
            await self._refresh()
            key = self._known(name, algorithm)
            if self._fetched is None:
                raise BusyError(
                    "The keys that tokens are checked with cannot be fetched now. Try again in a moment.",
                    PAUSE,
                )
        elif age > FRESH:
            self._start()
        return key

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _age(self) -> float | None:
        return None if self._fetched is None else self._clock() - self._fetched

    def _known(self, name: str | None, algorithm: str) -> jwt.PyJWK | None:
        fitting = [key for key in self._keys if key.algorithm_name == algorithm]
        if name is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.key_id == name), None)

    async def _refresh(self) -> None:
        task = self._start()
        if task is not None:
            # One who gives up waiting does not take the keys away from the others who wait.
            await asyncio.shield(task)

    def _start(self) -> asyncio.Task[None] | None:
        """The fetch that is under way, or a new one; None where it is too early for one."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        now = self._clock()
        if self._tried is not None and now - self._tried < PAUSE:
            return None
        self._tried = now
        self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            data = json.loads(await self._get(self.url))
            if not isinstance(data, dict):
                raise jwt.PyJWKSetError("it is no key set")
            keys = [key for key in jwt.PyJWKSet.from_dict(data).keys if key.algorithm_name in ALGORITHMS]
        except (OSError, ValueError, RecursionError, jwt.PyJWTError) as error:
            logger.warning("the keys at %s cannot be fetched: %s", self.url, error)
            return
        if not keys:
            logger.warning("there is no public key for signatures at %s", self.url)
        self._keys, self._fetched = keys, self._clock()
