"""What people write, and the replies to it, has a bound for each of them."""

import asyncio

import pytest
from msgspec.structs import replace
from sqlalchemy import text
from tests.storage.made import NOW, OWNER, conversed, ended, exchange, opened, question

from legato.errors import TooLargeError
from legato.storage.sql import SqlStorage
from legato.storage.sql.text_quota import MESSAGE_BYTES

QUOTA = 10_000


async def used(storage: SqlStorage, user: str = "ada") -> int:
    return await storage.database.read(
        lambda connection: int(
            connection.execute(
                text('SELECT COALESCE(SUM(bytes), 0) FROM text_usage WHERE "user" = :user'), {"user": user}
            ).scalar_one()
        )
    )


async def test_messages_and_replies_count_and_a_deletion_gives_them_back(storage: SqlStorage) -> None:
    await conversed(storage, "c")
    await conversed(storage, "d")
    await storage.begin(replace(exchange(1, "é" * 1000), text_quota=QUOTA), NOW)
    begun = await used(storage)
    assert 2000 + 2 * MESSAGE_BYTES <= begun < 2100 + 2 * MESSAGE_BYTES
    reply = ended("r1", "x" * 7000)
    await storage.finish(reply, OWNER, NOW)
    full = await used(storage)
    assert begun + 7000 <= full < begun + 7100
    await storage.finish(reply, OWNER, NOW)
    assert await used(storage) == full, "the same end is counted once"
    for of in ("c", "d"):
        with pytest.raises(TooLargeError, match=r"no room for more messages.*Delete conversations"):
            await storage.begin(replace(exchange(2, "more", of=of), text_quota=QUOTA), NOW)
    assert await used(storage) == full
    assert len(await storage.messages("c")) == 2
    await storage.delete_conversation("c")
    assert await used(storage) == 0
    await storage.begin(replace(exchange(2, "more", of="d"), text_quota=QUOTA), NOW)


async def test_a_message_that_is_sent_again_counts_once_and_is_answered_beyond_the_quota(
    storage: SqlStorage,
) -> None:
    await conversed(storage)
    turn = replace(exchange(1, "x" * 8000, key="once"), text_quota=QUOTA)
    await storage.begin(turn, NOW)
    before = await used(storage)
    assert (await storage.begin(replace(turn, text_quota=10), NOW)).duplicate
    assert await used(storage) == before


async def test_a_transcript_counts(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1, "short"), NOW)
    before = await used(storage)
    await storage.rewrite(question("q1", "short" + "x" * 500), NOW)
    assert await used(storage) == before + 500


async def test_many_messages_at_once_do_not_exceed_the_quota(storage: SqlStorage) -> None:
    for n in range(8):
        await conversed(storage, f"c{n}")
    turns = [replace(exchange(n, "x" * 1900, of=f"c{n}"), text_quota=QUOTA) for n in range(8)]
    done = await asyncio.gather(*(storage.begin(turn, NOW) for turn in turns), return_exceptions=True)
    refused = [each for each in done if isinstance(each, TooLargeError)]
    assert (len(refused), len(done)) == (5, 8)
    assert await used(storage) <= QUOTA


async def test_an_existing_database_is_counted_by_its_migration(url: str) -> None:
    async with opened(url) as storage:
        await conversed(storage)
        await storage.begin(exchange(1, "é" * 100), NOW)
        await storage.finish(ended("r1", "x" * 1000), OWNER, NOW)
        counted = await used(storage)
        await storage.database.write(
            lambda connection: [
                connection.execute(text(statement)).close()
                for statement in ("DROP TABLE text_usage", "UPDATE alembic_version SET version_num = '0005'")
            ]
        )
    async with opened(url) as storage:
        assert await used(storage) == counted
