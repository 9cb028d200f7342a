import asyncio
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from tests.storage.made import conversed, opened

from legato import storage as room
from legato.errors import StorageError
from legato.storage.migrations import HEAD, migrate
from legato.storage.sql import SqlStorage
from legato.storage.sql.tables import metadata


def differences(connection: Connection) -> list[Any]:
    """All but the indexes for searching, of which each database has its own."""

    def ours(name: str | None, kind: str, _parents: object) -> bool:
        return name is None or not name.startswith("passages_index")

    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True, "include_name": ours}
    )
    return list(compare_metadata(context, metadata))


async def test_migrations_create_the_declared_tables(storage: SqlStorage) -> None:
    assert await storage.database.write(differences) == []


async def test_the_comparison_detects_differences(storage: SqlStorage) -> None:
    await storage.database.write(
        lambda connection: connection.execute(text("DROP INDEX exchanges_by_conversation"))
    )
    await storage.database.write(
        lambda connection: connection.execute(text("ALTER TABLE messages DROP COLUMN model"))
    )
    found = await storage.database.write(differences)
    assert {difference[0] for difference in found} == {"add_index", "add_column"}


async def test_foreign_keys_match_the_declared_tables(storage: SqlStorage) -> None:
    def keys(connection: Connection) -> dict[str, Any]:
        return {
            name: sorted(
                (
                    key["constrained_columns"],
                    key["referred_table"],
                    key["options"].get("ondelete"),
                    key["options"].get("deferrable"),
                )
                for key in inspect(connection).get_foreign_keys(name)
            )
            for name in metadata.tables
        }

    said = {
        name: sorted(
            ([key.parent.name], key.column.table.name, key.ondelete, key.deferrable)
            for key in table.foreign_keys
        )
        for name, table in metadata.tables.items()
    }
    assert await storage.database.write(keys) == said


def test_head_names_the_last_migration() -> None:
    directory = ScriptDirectory(f"{room.__path__[0]}/migrations")
    assert directory.get_current_head() == HEAD


async def test_reopening_keeps_all_data(url: str) -> None:
    async with opened(url) as storage:
        made = await conversed(storage)
    async with opened(url) as storage:
        assert await storage.conversation("c") == made
        await storage.database.write(migrate)


async def test_two_servers_can_migrate_at_once(url: str) -> None:
    one, other = SqlStorage(url), SqlStorage(url)
    try:
        await asyncio.gather(one.open(), other.open())
        made = await conversed(one)
        assert await other.conversation("c") == made
    finally:
        await one.close()
        await other.close()


async def test_a_database_of_a_newer_version_is_left_alone(url: str) -> None:
    async with opened(url) as storage:
        await storage.database.write(
            lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        )
    newer = SqlStorage(url)
    with pytest.raises(StorageError, match="newer version"):
        await newer.open()
