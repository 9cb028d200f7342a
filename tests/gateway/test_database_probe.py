"""A database that does not answer is told of in time, and is not asked again and again."""

import asyncio

import pytest

from legato.errors import StorageError
from legato.gateway.database_probe import DatabaseProbe


class Database:
    def __init__(self) -> None:
        self.asked = 0
        self.lock = asyncio.Lock()
        self.broken = False

    async def ping(self) -> None:
        self.asked += 1
        async with self.lock:
            if self.broken:
                raise StorageError("The disk is full.")


async def test_one_that_answers() -> None:
    database = Database()
    probe = DatabaseProbe(database.ping)
    await probe()
    await probe()
    assert database.asked == 2


async def test_one_that_fails_says_why() -> None:
    database = Database()
    database.broken = True
    with pytest.raises(StorageError, match="disk"):
        await DatabaseProbe(database.ping)()


async def test_one_that_is_held_is_asked_once_by_all_and_told_of_in_time() -> None:
    database = Database()
    probe = DatabaseProbe(database.ping, seconds=0.01)
    async with database.lock:
        for found in await asyncio.gather(*(probe() for _ in range(5)), return_exceptions=True):
            assert isinstance(found, StorageError)
            assert "has not answered" in found.message
        with pytest.raises(StorageError):
            await probe()
        assert database.asked == 1
    await probe()
    assert database.asked <= 2


async def test_many_who_ask_again_and_again_are_all_answered() -> None:
    database = Database()
    probe = DatabaseProbe(database.ping)

    async def prober() -> None:
        for _ in range(100):
            await probe()

    await asyncio.gather(*(prober() for _ in range(8)))
    assert 100 <= database.asked < 800
