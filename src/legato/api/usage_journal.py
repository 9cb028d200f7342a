"""What callers of the APIs use, written to the database in batches."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from legato.api.call import Caller
from legato.errors import StorageError
from legato.storage.api_base import UsageRecord, UsageStore

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
"""How often usage is written. A server that is killed loses as much; one that is stopped loses nothing."""

PENDING = 10_000
"""How many records wait at most while the database cannot be written. Further users and models are not counted then."""

COUNTED_MODELS = 200
"""How many models have numbers of their own in the metrics. The others are counted together."""

OTHER = "other"

_Key = tuple[str, str, str, str]


class ModelUsage(Struct):
    """What all callers used of one model since the start of the server."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def day_name(moment: float) -> str:
    """Return the day of a moment (seconds since the epoch) in UTC, as it is stored: `2026-11-30`."""
    return datetime.fromtimestamp(moment, UTC).date().isoformat()


class UsageJournal:
    """Adds up usage by day, user, key and model, and writes it once a second in one transaction.

    `now` is in seconds since the epoch. `models` are the numbers of this server since its start.
    """

    def __init__(self, store: UsageStore, *, now: Callable[[], float]) -> None:
        self.models: dict[str, ModelUsage] = {}
        self._store = store
        self._now = now
        self._pending: dict[_Key, UsageRecord] = {}
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._failing = False
        self._dropped = 0

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._write_on(), name="usage")

    async def close(self) -> None:
        """Write the rest, and stop."""
        if self._task is not None:
            # Not in the middle of a write: whether that is stored would not be known.
            async with self._writing:
                self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._flush_or_warn()
        if self._pending:
            logger.error("The usage of %d users and models could not be stored", len(self._pending))

    def add(self, caller: Caller, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Count one call."""
        record = UsageRecord(
            day_name(self._now()), caller.user, caller.key or "", model, 1, prompt_tokens, completion_tokens
        )
        name = model if model in self.models or len(self.models) < COUNTED_MODELS else OTHER
        counted = self.models.setdefault(name, ModelUsage())
        counted.requests += 1
        counted.prompt_tokens += prompt_tokens
        counted.completion_tokens += completion_tokens
        self._add(record)

    async def records(self, since: str, user: str | None = None) -> list[UsageRecord]:
        """Return the usage from a day on, of one user or of all, with all that was counted until now.

        :raises StorageError: the database failed.
        """
        async with self._writing:
            stored = await self._store.usage(since, user)
            found = {_key(each): each for each in stored}
            for key, more in self._pending.items():
                if more.day >= since and user in (None, more.user):
                    found[key] = _sum(found[key], more) if key in found else more
        return sorted(
            found.values(), key=lambda each: (_reversed_day(each.day), each.user, each.key, each.model)
        )

    async def flush(self) -> None:
        """Write what was counted.

        :raises StorageError: the database failed. What was not written is written later.
        """
        async with self._writing:
            if not self._pending:
                return
            batch, self._pending = self._pending, {}
            try:
                await self._store.add_usage(list(batch.values()))
            except BaseException:
                for record in batch.values():
                    self._add(record)
                raise

    def _add(self, record: UsageRecord) -> None:
        key = _key(record)
        known = self._pending.get(key)
        if known is None and len(self._pending) >= PENDING:
            if not self._dropped:
                logger.error("Usage is not counted any more: the database has not been written for too long")
            self._dropped += 1
            return
        self._pending[key] = _sum(known, record) if known is not None else record

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self._flush_or_warn()

    async def _flush_or_warn(self) -> None:
        try:
            await self.flush()
            self._failing, self._dropped = False, 0
        except StorageError as error:
            if not self._failing:
                logger.warning("Usage could not be stored, and is stored later: %s", error.message)
            self._failing = True
        except Exception:
            logger.exception("Usage could not be stored, and is stored later")


def _key(record: UsageRecord) -> _Key:
    return record.day, record.user, record.key, record.model


def _sum(one: UsageRecord, more: UsageRecord) -> UsageRecord:
    return replace(
        one,
        requests=one.requests + more.requests,
        prompt_tokens=one.prompt_tokens + more.prompt_tokens,
        completion_tokens=one.completion_tokens + more.completion_tokens,
    )


def _reversed_day(day: str) -> int:
    return -datetime.fromisoformat(day).toordinal()
