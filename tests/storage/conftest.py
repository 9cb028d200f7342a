"""Each test here that takes `url` or `storage` runs twice: on SQLite, and on a PostgreSQL that is started for it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from legato.storage.sql import SqlStorage
from tests.services import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@asynccontextmanager
async def database_on(server: PostgresServer) -> AsyncIterator[str]:
    """An empty database for one test."""
    name = f"t{uuid4().hex}"
    connection = await asyncpg.connect(server.url())
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield server.url(name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/legato.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    async with database_on(server) as name:
        yield name


@pytest.fixture
async def storage(url: str) -> AsyncIterator[SqlStorage]:
    async with opened(url) as storage:
        yield storage


@asynccontextmanager
async def opened(url: str, **options: float) -> AsyncIterator[SqlStorage]:
    storage = SqlStorage(url, **options)
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()
