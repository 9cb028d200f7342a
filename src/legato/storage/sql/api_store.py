"""What the APIs store, in an SQL database: each call checks its texts and runs a function as one transaction."""

from collections.abc import Collection, Sequence
from functools import partial

from legato.domain.validation import check_storable
from legato.storage.api_base import ApiKeyRecord, FrameBatch, StoredStream, StreamEnding, UsageRecord
from legato.storage.sql import api_keys, api_streams, api_usage
from legato.storage.sql.database import Database


class SqlApiStore:
    """`ApiStreamStore`, `ApiKeyStore` and `UsageStore` on the database of an `SqlStorage`, which opens and closes it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_stream(self, stream: StoredStream) -> StoredStream:
        check_storable(stream.id, stream.owner, stream.model, stream.idempotency_key)
        return await self._database.write(partial(api_streams.add, stream=stream))

    async def stream(self, stream: str) -> StoredStream | None:
        check_storable(stream)
        return await self._database.read(partial(api_streams.get, stream=stream))

    async def frames(self, stream: str) -> list[bytes]:
        check_storable(stream)
        return await self._database.read(partial(api_streams.frames, stream=stream))

    async def append_frames(self, batches: Sequence[FrameBatch], ends: Sequence[StreamEnding] = ()) -> None:
        await self._database.write(partial(api_streams.append, batches=batches, ends=ends))

    async def running_streams(self) -> list[StoredStream]:
        return await self._database.read(api_streams.running)

    async def failed_streams(self, api: str, since: float, most: int) -> list[StoredStream]:
        return await self._database.read(partial(api_streams.failed, api=api, since=since, most=most))

    async def restart_stream(self, stream: str) -> StoredStream | None:
        return await self._database.write(partial(api_streams.restart, stream=stream))

    async def delete_stream(self, stream: str) -> bool:
        check_storable(stream)
        return await self._database.write(partial(api_streams.remove, stream=stream))

    async def keep_streams(self, streams: Sequence[str], until: float) -> None:
        check_storable(*streams)
        await self._database.write(partial(api_streams.keep, streams=streams, until=until))

    async def expire_streams(self, now: float) -> int:
        return await self._database.write(partial(api_streams.expire, now=now))

    async def add_key(self, key: ApiKeyRecord) -> None:
        check_storable(key.user, key.name)
        await self._database.write(partial(api_keys.add, key=key))

    async def keys(self, user: str | None = None) -> list[ApiKeyRecord]:
        check_storable(user)
        return await self._database.read(partial(api_keys.of_user, user=user))

    async def key_by_digest(self, digest: str) -> ApiKeyRecord | None:
        return await self._database.read(partial(api_keys.by_digest, digest=digest))

    async def keys_by_id(self, ids: Collection[str]) -> list[ApiKeyRecord]:
        return await self._database.read(partial(api_keys.by_id, ids=tuple(ids)))

    async def revoke_key(self, key: str, now: float) -> bool:
        check_storable(key)
        return await self._database.write(partial(api_keys.revoke, key=key, now=now))

    async def add_usage(self, records: Sequence[UsageRecord]) -> None:
        await self._database.write(partial(api_usage.add, records=records))

    async def usage(self, since: str, user: str | None = None) -> list[UsageRecord]:
        check_storable(since, user)
        return await self._database.read(partial(api_usage.since, day=since, user=user))
