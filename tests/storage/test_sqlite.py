import asyncio
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection
from tests.storage.made import NOW, OWNER, adopted, conversation, conversed, ended, exchange, opened, question

from legato.errors import SettingsError, StorageError
from legato.storage.sql import SqlStorage, open_storage, sqlite
from legato.storage.sql.sqlite import READERS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "legato.db"


async def pragma(storage: SqlStorage, name: str) -> object:
    return await storage.database.write(
        lambda connection: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
    )


async def test_only_the_owner_of_the_process_can_read_the_file(path: Path) -> None:
    async with opened(f"sqlite:///{path}") as storage:
        await conversed(storage)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == {"legato.db": 0o600, "legato.db-wal": 0o600, "legato.db-shm": 0o600}


@pytest.mark.parametrize(("durable", "synchronous"), [(False, 1), (True, 2)])
async def test_durable_sets_the_synchronous_mode(path: Path, durable: bool, synchronous: int) -> None:
    storage = open_storage(f"sqlite:///{path}", durable=durable)
    await storage.open()
    assert await pragma(storage, "journal_mode") == "wal"
    assert await pragma(storage, "synchronous") == synchronous
    assert await pragma(storage, "foreign_keys") == 1
    await storage.close()


async def test_a_locked_file_is_a_storage_error_until_it_is_released(path: Path) -> None:
    async with opened(f"sqlite:///{path}", lock_timeout=0.05) as storage:
        made = await conversed(storage)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="Another process"):
            await storage.begin(exchange(1), NOW)
        with pytest.raises(StorageError, match="Another process"):
            await storage.ping()
        assert await storage.conversation("c") == made
        other.execute("ROLLBACK")
        other.close()
        await storage.ping()
        await storage.begin(exchange(1), NOW)
        assert len(await storage.messages("c")) == 2


async def test_a_transaction_that_waited_too_long_is_not_run(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(f"sqlite:///{path}") as storage:
        await conversed(storage)
        began, may_end = threading.Event(), threading.Event()

        def hold(_: Connection) -> None:
            began.set()
            may_end.wait(30)

        # The thread is held before the others stand in line, for longer than they may wait.
        holding = asyncio.create_task(storage.database.write(hold))
        await asyncio.to_thread(began.wait, 30)
        monkeypatch.setattr(sqlite, "QUEUE_SECONDS", 0.01)
        waiting = [asyncio.create_task(storage.begin(exchange(n), NOW)) for n in range(1, 6)]
        await asyncio.sleep(0.02)
        may_end.set()
        await holding
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, StorageError)
            assert "too busy" in error.message
        assert await storage.messages("c") == []
        monkeypatch.undo()
        await storage.begin(exchange(1), NOW)


async def test_a_full_database_is_a_storage_error_until_there_is_space(path: Path) -> None:
    async with opened(f"sqlite:///{path}") as storage:
        await conversed(storage)
        await storage.begin(exchange(1), NOW)
        pages = await pragma(storage, "page_count")
        await pragma(storage, f"max_page_count = {pages}")
        with pytest.raises(StorageError, match="full"):
            await storage.finish(ended("r1", "x" * 100_000), OWNER, NOW)
        with pytest.raises(StorageError, match="full"):
            await storage.ping()
        [left] = await adopted(storage)
        assert left.message.id == "r1"
        await pragma(storage, "max_page_count = 1000000")
        await storage.ping()
        assert await storage.finish(ended("r1", "x" * 100_000), left.owner, NOW) is not None


async def test_a_moved_file_is_a_storage_error_until_it_is_back(path: Path) -> None:
    async with opened(f"sqlite:///{path}") as storage:
        await conversed(storage)
        path.rename(path.with_suffix(".away"))
        with pytest.raises(StorageError, match="moved or deleted"):
            await storage.begin(exchange(1), NOW)
        path.with_suffix(".away").rename(path)
        await storage.begin(exchange(1), NOW)


async def test_a_file_that_is_not_a_database_is_reported(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(StorageError, match="not an SQLite database"):
        await SqlStorage(f"sqlite:///{path}").open()
    assert path.read_bytes().startswith(b"Dear diary")


async def test_a_path_below_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        await SqlStorage(f"sqlite:///{tmp_path}/file/legato.db").open()


async def test_close_waits_for_running_transactions(path: Path) -> None:
    storage = SqlStorage(f"sqlite:///{path}")
    await storage.open()
    writes = [asyncio.ensure_future(storage.create_conversation(conversation(f"c{i}"))) for i in range(50)]
    await asyncio.sleep(0)
    await storage.close()
    await asyncio.gather(*writes)
    async with opened(f"sqlite:///{path}") as again:
        assert len(await again.conversations("ada")) == 50


async def test_reads_do_not_wait_for_searches(path: Path) -> None:
    over = threading.Event()
    async with opened(f"sqlite:///{path}") as storage:
        await conversed(storage)
        searches = [
            asyncio.ensure_future(storage.database.search(lambda _: over.wait(30)))
            for _ in range(READERS + 1)
        ]
        await asyncio.sleep(0)
        try:
            assert await asyncio.wait_for(storage.conversation("c"), 10) is not None
        finally:
            over.set()
        assert await asyncio.gather(*searches) == [True] * (READERS + 1)


async def test_the_search_index_matches_its_table(path: Path) -> None:
    async with opened(f"sqlite:///{path}") as storage:
        await conversed(storage, title="whales")
        for i in range(20):
            await storage.begin(exchange(i, f"whales {i}"), NOW)
            await storage.finish(ended(f"r{i}", f"dolphins {i}"), OWNER, NOW)
            await storage.rewrite(question(f"q{i}", f"dolphins twice {i}"), NOW)
        await storage.rename_conversation("c", "seals", NOW)
        await conversed(storage, "d", title="otters")
        await storage.delete_conversation("c")
        await storage.database.write(
            lambda connection: connection.exec_driver_sql(
                "INSERT INTO passages_index (passages_index, rank) VALUES ('integrity-check', 1)"
            )
        )


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///x.db?mode=memory"])
def test_a_database_without_a_file_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="names no file"):
        open_storage(url)
