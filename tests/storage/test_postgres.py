import asyncio
from collections.abc import AsyncIterator
from functools import partial

import asyncpg
import pytest
from sqlalchemy import Connection, text
from tests.services import PostgresServer, postgres_server
from tests.storage.made import NOW, conversation, conversed, exchange, opened

from legato.errors import SettingsError, StorageError
from legato.storage.sql import SqlStorage, open_storage, postgres

pytestmark = pytest.mark.postgres


@pytest.fixture
async def url(postgres: PostgresServer) -> AsyncIterator[str]:
    async with postgres.schema() as name:
        yield name


def test_a_missing_driver_is_reported_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "asyncpg", None)
    with pytest.raises(SettingsError, match=r"legato\[postgres\]"):
        open_storage("postgresql://ada@localhost/legato")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
async def test_each_url_scheme_connects(url: str, scheme: str) -> None:
    async with opened(url.replace("postgresql", scheme, 1)) as storage:
        await storage.ping()


async def test_a_locked_row_is_a_storage_error_until_it_is_released(url: str) -> None:
    async with opened(url, lock_timeout=0.05) as storage:
        await conversed(storage)
        other = await asyncpg.connect(url)
        lock = other.transaction()
        await lock.start()
        await other.execute("SELECT * FROM conversations FOR UPDATE")
        with pytest.raises(StorageError, match="Another process"):
            await storage.begin(exchange(1, key="k"), NOW)
        await lock.rollback()
        await other.close()
        assert not (await storage.begin(exchange(1, key="k"), NOW)).duplicate


async def test_callers_beyond_the_pool_size_wait(url: str) -> None:
    async with opened(url) as storage:
        await asyncio.gather(*(storage.create_conversation(conversation(f"c{i}")) for i in range(100)))
        assert len(await storage.conversations("ada", limit=200)) == 100


async def test_reads_do_not_wait_for_searches(url: str) -> None:
    async with opened(url) as storage:
        await conversed(storage)
        slow = partial(Connection.execute, statement=text("SELECT pg_sleep(30)"))
        searches = [asyncio.ensure_future(storage.database.search(slow)) for _ in range(postgres.CONNECTIONS)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(storage.conversation("c"), 10) is not None
        for search in searches:
            search.cancel()
        await asyncio.gather(*searches, return_exceptions=True)


async def test_a_stopped_server_is_a_storage_error_until_it_is_back() -> None:
    with postgres_server() as server:
        async with opened(server.url) as storage:
            await asyncio.gather(*(storage.create_conversation(conversation(f"c{i}")) for i in range(10)))
            server.stop()
            for _ in range(2):
                with pytest.raises(StorageError):
                    await storage.begin(exchange(1, of="c1"), NOW)
                with pytest.raises(StorageError):
                    await storage.conversation("c1")
            server.start()
            await storage.ping()
            await storage.begin(exchange(1, of="c1"), NOW)
            assert len(await storage.messages("c1")) == 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("@/", "@127.0.0.1:1/"), "cannot be reached"),
        (("host=", "host=/nowhere"), "cannot be reached"),
        (("postgres@", "nobody@"), "user or password"),
        (("/postgres?", "/nothing?"), "no database of this name"),
    ],
)
async def test_a_wrong_url_is_reported_with_its_cause(
    url: str, change: tuple[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A machine that stalls is not the cause that is asked for.
    monkeypatch.setattr(postgres, "CONNECT_TIMEOUT", 60.0)
    wrong = url.replace(*change, 1)
    if "127" in wrong:
        wrong = wrong.split("?")[0]
    with pytest.raises(StorageError, match=sentence):
        await SqlStorage(wrong).open()


async def test_errors_contain_no_password(url: str, caplog: pytest.LogCaptureFixture) -> None:
    storage = SqlStorage("postgresql://ada:hunter2@127.0.0.1:1/legato")
    with pytest.raises(StorageError) as raised:
        await storage.open()
    assert "hunter2" not in str(raised.value)
    assert "hunter2" not in caplog.text
