"""Streams, keys and usage of the APIs, on both databases."""

from typing import Any

import pytest

from legato.errors import ConflictError
from legato.storage.api_base import ApiKeyRecord, FrameBatch, StoredStream, StreamEnding, UsageRecord
from legato.storage.sql import SqlStorage
from legato.storage.sql.api_store import SqlApiStore


@pytest.fixture
def store(storage: SqlStorage) -> SqlApiStore:
    return SqlApiStore(storage.database)


def stream(name: str, **fields: Any) -> StoredStream:
    return StoredStream(name, "ann", "openai", "chat", "qwen", 100.25, 200.5, **fields)


async def test_a_stream_is_read_as_it_was_written(store: SqlApiStore) -> None:
    written = stream("a", options={"n": 2}, request={"input": "wörd"}, result=[1], error=("busy", "Wait."))
    assert await store.add_stream(written) == written
    assert await store.stream("a") == written
    assert await store.stream("b") is None
    assert await store.delete_stream("a")
    assert not await store.delete_stream("a")


async def test_a_key_names_one_stream_of_its_owner(store: SqlApiStore) -> None:
    first = await store.add_stream(stream("a", idempotency_key="k"))
    assert await store.add_stream(stream("b", idempotency_key="k", fingerprint="other")) == first
    assert await store.stream("b") is None
    other = StoredStream("c", "bob", "openai", "chat", "qwen", 1, 2, idempotency_key="k")
    assert await store.add_stream(other) == other


async def test_frames_are_read_in_order_and_an_end_is_final(store: SqlApiStore) -> None:
    await store.add_stream(stream("a"))
    await store.append_frames([FrameBatch("a", 0, [b"one", b"\0\xff"]), FrameBatch("gone", 0, [b"x"])])
    assert [each.id for each in await store.running_streams()] == ["a"]
    await store.append_frames(
        [FrameBatch("a", 5, [b"end"])], [StreamEnding("a", ("broke", "It broke."), {"id": 1})]
    )
    await store.append_frames([], [StreamEnding("a")])
    assert await store.frames("a") == [b"one", b"\0\xff", b"end"]
    ended = await store.stream("a")
    assert ended is not None
    assert (ended.ended, ended.error, ended.result) == (True, ("broke", "It broke."), {"id": 1})
    assert await store.running_streams() == []
    assert await store.restart_stream("a") is None


async def test_a_restart_is_another_incarnation(store: SqlApiStore) -> None:
    await store.add_stream(stream("a"))
    restarted = await store.restart_stream("a")
    assert restarted is not None
    assert restarted.incarnation == 2


async def test_streams_expire_with_their_frames_once_they_ended(store: SqlApiStore) -> None:
    await store.add_stream(stream("a"))
    await store.append_frames([FrameBatch("a", 0, [b"x"])])
    assert await store.expire_streams(1000) == 0
    await store.append_frames([], [StreamEnding("a")])
    assert await store.expire_streams(200) == 0
    assert await store.expire_streams(200.5) == 1
    assert await store.frames("a") == []


async def test_a_key_is_found_by_its_digest_until_it_is_revoked(store: SqlApiStore) -> None:
    key = ApiKeyRecord(
        "k1", "ann", "laptop", "d" * 64, 5.5, models=("qwen",), limits={"streams": 2}, expires_at=9
    )
    await store.add_key(key)
    await store.add_key(ApiKeyRecord("k2", "bob", "", "e" * 64, 6))
    assert await store.key_by_digest("d" * 64) == key
    assert await store.key_by_digest("f" * 64) is None
    assert await store.keys("ann") == [key]
    assert [each.id for each in await store.keys()] == ["k1", "k2"]
    assert await store.revoke_key("k1", 7)
    assert not await store.revoke_key("k1", 8)
    revoked = await store.key_by_digest("d" * 64)
    assert revoked is not None
    assert revoked.revoked_at == 7


async def test_usage_adds_up_by_day_user_key_and_model(store: SqlApiStore) -> None:
    one = UsageRecord("2026-11-30", "ann", "k1", "qwen", 1, 10, 20)
    other = UsageRecord("2026-12-01", "bob", "", "qwen", 1, 1, 1)
    await store.add_usage([one, other])
    await store.add_usage([one])
    total = UsageRecord("2026-11-30", "ann", "k1", "qwen", 2, 20, 40)
    assert await store.usage("2026-11-30") == [other, total]
    assert await store.usage("2026-11-30", "ann") == [total]
    assert await store.usage("2026-12-02") == []


async def test_a_stream_that_is_kept_expires_later(store: SqlApiStore) -> None:
    await store.add_stream(stream("a"))
    await store.append_frames([], [StreamEnding("a")])
    await store.keep_streams(["a", "none"], 300.5)
    await store.keep_streams(["a"], 250)
    assert await store.expire_streams(300) == 0
    assert await store.expire_streams(300.5) == 1


async def test_keys_are_found_by_id_and_a_name_is_used_once_until_it_is_revoked(store: SqlApiStore) -> None:
    def key(name: str, digest: str, user: str = "ann") -> ApiKeyRecord:
        return ApiKeyRecord(digest, user, name, digest, 1.0)

    for each in (key("laptop", "a"), key("laptop", "b", "bob"), key("phone", "c")):
        await store.add_key(each)
    with pytest.raises(ConflictError, match="'laptop'"):
        await store.add_key(key("laptop", "d"))
    assert await store.revoke_key("a", 2.0)
    await store.add_key(key("laptop", "d"))
    ids = ["a", "d", "none", *(f"none {number}" for number in range(1000))]
    assert {each.id: each.revoked_at for each in await store.keys_by_id(ids)} == {"a": 2.0, "d": None}
    assert await store.keys_by_id([]) == []
