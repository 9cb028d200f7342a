"""Each test here that takes `url` or `storage` runs twice: on SQLite, and on a PostgreSQL that is started for it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.services import PostgresServer, postgres_server
from tests.storage.made import opened

from legato.storage.sql import SqlStorage


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.postgres),
    ]
)
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/legato.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    async with server.schema() as name:
        yield name


@pytest.fixture
async def storage(url: str) -> AsyncIterator[SqlStorage]:
    async with opened(url) as storage:
        yield storage
