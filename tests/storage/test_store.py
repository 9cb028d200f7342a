import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.storage.made import NOW, adopted, conversed, exchange, opened

from legato.errors import SettingsError, StorageError
from legato.storage.sql import SqlStorage, open_storage
from legato.storage.sql.sqlite import SqliteDatabase

CHILD = """
import asyncio, sys, time
from legato.storage.sql import open_storage
from tests.storage.made import NOW, conversation, exchange, opened

async def main():
    storage = open_storage(sys.argv[1])
    await storage.open()
    await storage.begin(exchange(1, "whales", key="k", create=conversation("c")), NOW)
    print("begun", flush=True)
    time.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+aiosqlite", "sqlite+pysqlite"])
def test_a_sqlite_url_names_a_file(scheme: str) -> None:
    relative = open_storage(f"{scheme}:///a/legato.db").database
    absolute = open_storage(f"{scheme}:////a/legato.db").database
    assert isinstance(relative, SqliteDatabase)
    assert isinstance(absolute, SqliteDatabase)
    assert (str(relative.path), str(absolute.path)) == ("a/legato.db", "/a/legato.db")


@pytest.mark.parametrize(
    "url", ["mysql://root:hunter2@localhost/x", "legato.db", "", "sqlite:/x", "postgresql://[::1/x"]
)
def test_other_urls_are_refused_without_showing_a_secret(url: str) -> None:
    with pytest.raises(SettingsError, match=r"sqlite:///path/to/legato\.db") as raised:
        open_storage(url)
    assert "hunter2" not in str(raised.value)


async def test_a_turn_survives_kill_9_once_begin_returned(url: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, url],
        stdout=subprocess.PIPE,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])},
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"begun\n"
        child.kill()
        child.wait()
    async with opened(url) as storage:
        assert [each.id for each in await storage.messages("c")] == ["q1", "r1"]
        assert [each.message.id for each in await adopted(storage)] == ["r1"]
        assert len(await storage.search("ada", "whales")) == 1
        assert (await storage.begin(exchange(2, key="k"), NOW)).duplicate


async def test_calls_after_close_are_storage_errors(url: str) -> None:
    storage = SqlStorage(url)
    await storage.open()
    await storage.close()
    await storage.close()
    for call in (storage.ping(), storage.conversation("c")):
        with pytest.raises(StorageError, match="closed"):
            await call


async def test_cancelled_callers_do_not_affect_others(storage: SqlStorage) -> None:
    await conversed(storage)
    for turns in range(12):
        tasks = [asyncio.ensure_future(storage.begin(exchange(100 * turns + i), NOW)) for i in range(20)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await storage.begin(exchange(9999), NOW)
    stored = await storage.conversation("c")
    assert stored is not None
    told = await storage.messages("c")
    assert len(told) == 2 * stored.revision
    assert [each.role for each in told] == ["user", "assistant"] * stored.revision
