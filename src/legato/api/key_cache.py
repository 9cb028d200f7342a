"""API keys: how they are made, found by what a caller sends, and watched until they are revoked or expire."""

import asyncio
import hashlib
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection

from msgspec import Struct

from legato.errors import StorageError, UnauthenticatedError
from legato.storage.api_base import ApiKeyRecord, ApiKeyStore

logger = logging.getLogger(__name__)

KEY_PREFIX = "sk-"
"""How a key begins. A token of a user never does."""

SCOPES = ("chat", "embed")
"""What a key can allow: to ask for replies, and for embeddings."""

KEY_BYTES = 24
"""Random bytes of a key: it cannot be guessed, so that one SHA-256 is enough to store it."""

FRESH_SECONDS = 0.5
"""How long a key is good before the database is asked again whether it still is."""

WATCH_SECONDS = 1.0
"""How often the keys of running streams are looked up."""

CACHED_KEYS = 10_000

UNKNOWN_SECONDS = 60.0
"""How long a text that is no key is remembered as such. It cannot become one: keys are made at random."""

UNKNOWN = "This API key is not valid here. `legato key create` makes one."
REVOKED = "This API key was revoked. `legato key create` makes another one."
LOST = "The API key of this request was revoked, or has expired."
EXPIRED = "This API key has expired. `legato key create` makes another one."


def new_key() -> str:
    """Return a new random key."""
    return KEY_PREFIX + secrets.token_hex(KEY_BYTES)


def digest_of(key: str) -> str:
    """Return what is stored of a key: its SHA-256 in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def invalid_reason(key: ApiKeyRecord | None, now: float) -> str | None:
    """Return a sentence that says why a key is not valid at `now` (seconds since the epoch), None if it is."""
    if key is None:
        return UNKNOWN
    if key.revoked_at is not None:
        return REVOKED
    if key.expires_at is not None and key.expires_at <= now:
        return EXPIRED
    return None


class _CachedKey(Struct):
    record: ApiKeyRecord
    read_at: float


class ApiKeyCache:
    """Finds keys in the database, at most twice a second each, and reports those that stop to be valid while they are in use.

    `running` returns the ids of the keys under which streams run, and `stop` is called with those that are not valid any
    more. `now` is in seconds since the epoch, `clock` in seconds.
    """

    def __init__(
        self,
        store: ApiKeyStore,
        *,
        now: Callable[[], float],
        clock: Callable[[], float],
        running: Callable[[], Collection[str]] = frozenset,
        stop: Callable[[Collection[str]], None] = lambda keys: None,
        watch_seconds: float = WATCH_SECONDS,
    ) -> None:
        self._store = store
        self._now = now
        self._clock = clock
        self._running = running
        self._stop = stop
        self._watch_seconds = watch_seconds
        self._cached: OrderedDict[str, _CachedKey] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._reading: dict[str, asyncio.Task[ApiKeyRecord | None]] = {}
        self._watcher: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch the keys of running streams."""
        self._watcher = asyncio.create_task(self._watch(), name="watch of API keys")

    async def close(self) -> None:
        """Stop to watch."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    def has(self, key: str) -> bool:
        """Return whether a key was found before. It costs no query."""
        return digest_of(key) in self._cached

    async def find(self, key: str) -> ApiKeyRecord:
        """Return a valid key.

        :raises UnauthenticatedError: there is no such key, it was revoked, or it has expired.
        :raises StorageError: the database cannot be asked.
        """
        digest = digest_of(key)
        cached = self._cached.get(digest)
        record: ApiKeyRecord | None
        if cached is not None and self._clock() < cached.read_at + FRESH_SECONDS:
            self._cached.move_to_end(digest)
            record = cached.record
        elif self._clock() < self._unknown.get(digest, float("-inf")):
            record = None
        else:
            record = await self._read(digest)
        reason = invalid_reason(record, self._now())
        if record is None or reason is not None:
            raise UnauthenticatedError(reason or UNKNOWN)
        return record

    async def _read(self, digest: str) -> ApiKeyRecord | None:
        """Read a key. Callers at the same time share one query."""
        task = self._reading.get(digest)
        if task is None:
            task = self._reading[digest] = asyncio.create_task(self._query(digest), name="read an API key")
            task.add_done_callback(lambda done: self._read_done(digest, done))
        return await asyncio.shield(task)

    def _read_done(self, digest: str, task: asyncio.Task[ApiKeyRecord | None]) -> None:
        del self._reading[digest]
        # If all callers have left, nothing else looks at the error.
        if not task.cancelled():
            task.exception()

    async def _query(self, digest: str) -> ApiKeyRecord | None:
        asked_at = self._clock()
        record = await self._store.key_by_digest(digest)
        self._cached.pop(digest, None)
        if record is not None:
            self._cached[digest] = _CachedKey(record, asked_at)
            if len(self._cached) > CACHED_KEYS:
                self._cached.popitem(last=False)
        else:
            self._unknown[digest] = asked_at + UNKNOWN_SECONDS
            if len(self._unknown) > CACHED_KEYS:
                self._unknown.popitem(last=False)
        return record

    async def _watch(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(self._watch_seconds)
            try:
                await self._check()
                failing = False
            except StorageError as error:
                if not failing:
                    logger.warning("API keys cannot be checked: %s", error.message)
                failing = True
            except Exception:
                logger.exception("API keys could not be checked; the next check tries again")

    async def _check(self) -> None:
        ids = set(self._running())
        if not ids:
            return
        now = self._now()
        valid = {
            record.id for record in await self._store.keys_by_id(ids) if invalid_reason(record, now) is None
        }
        if lost := ids - valid:
            for digest in [digest for digest, each in self._cached.items() if each.record.id in lost]:
                del self._cached[digest]
            self._stop(lost)
