"""The public keys of the issuer of tokens (RFC 7517), fetched on demand."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable

import jwt

from legato.errors import BusyError

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 600.0
"""Seconds after which the keys are fetched again, in the background."""

MAX_AGE_SECONDS = 86_400.0
"""Seconds for which the keys are used if they cannot be fetched again."""

MIN_INTERVAL_SECONDS = 10.0
"""Minimum seconds between two fetches, so that tokens with invented keys cause no load at the issuer."""

TIMEOUT_SECONDS = 5.0
MAX_BYTES = 1024 * 1024

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Signatures with a public and a private key."""


async def fetch(url: str) -> bytes:
    """Return the content of `url`.

    :raises OSError: it cannot be fetched in `TIMEOUT_SECONDS`, or is longer than `MAX_BYTES`.
    """
    # Imported late: it is slow to import, and `legato token` fetches nothing.
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url) as response,
        ):
            response.raise_for_status()
            body = await response.content.read(MAX_BYTES + 1)
            while len(body) <= MAX_BYTES and (more := await response.content.read(MAX_BYTES + 1 - len(body))):
                body += more
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise OSError(str(error) or "no answer in time") from error
    if len(body) > MAX_BYTES:
        raise OSError("the answer is too long")
    return body


class KeySet:
    """The keys at `url`, by name. `clock` is monotonic, in seconds."""

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
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetch_task: asyncio.Task[None] | None = None

    async def find(self, name: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return the key `name` for `algorithm`; if no name is given, the only key for it. None if there is no such key.

        An unknown key is looked for at the issuer first, at most once in `MIN_INTERVAL_SECONDS`.

        :raises BusyError: the keys cannot be fetched now.
        """
        age = self._age()
        if age is not None and age > MAX_AGE_SECONDS:
            self._keys, self._fetched_at, age = [], None, None
        key = self._cached(name, algorithm)
        if key is None or age is None:
            await self._refresh()
            key = self._cached(name, algorithm)
            if self._fetched_at is None:
                raise BusyError(
                    "The keys that tokens are checked with cannot be fetched now. Try again in a moment.",
                    MIN_INTERVAL_SECONDS,
                )
        elif age > REFRESH_SECONDS:
            self._start_fetch()
        return key

    async def close(self) -> None:
        if self._fetch_task is not None:
            self._fetch_task.cancel()
            await asyncio.gather(self._fetch_task, return_exceptions=True)

    def _age(self) -> float | None:
        return None if self._fetched_at is None else self._clock() - self._fetched_at

    def _cached(self, name: str | None, algorithm: str) -> jwt.PyJWK | None:
        matching = [key for key in self._keys if key.algorithm_name == algorithm]
        if name is None:
            return matching[0] if len(matching) == 1 else None
        return next((key for key in matching if key.key_id == name), None)

    async def _refresh(self) -> None:
        task = self._start_fetch()
        if task is not None:
            # Shielded: other callers may wait for the same fetch.
            await asyncio.shield(task)

    def _start_fetch(self) -> asyncio.Task[None] | None:
        """Return the running fetch, or a new one; None if it is too early for one."""
        if self._fetch_task is not None and not self._fetch_task.done():
            return self._fetch_task
        now = self._clock()
        if self._tried_at is not None and now - self._tried_at < MIN_INTERVAL_SECONDS:
            return None
        self._tried_at = now
        self._fetch_task = asyncio.create_task(self._fetch())
        return self._fetch_task

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
        self._keys, self._fetched_at = keys, self._clock()
