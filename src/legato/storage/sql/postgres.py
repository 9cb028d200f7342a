"""PostgreSQL through asyncpg, on the event loop."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import URL, Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from legato.errors import SettingsError, StorageError
from legato.storage.migrations import migrate
from legato.storage.sql.database import CLOSED, translated

try:
    import asyncpg
except ImportError:
    asyncpg = None

T = TypeVar("T")

CONNECTIONS = 16
SEARCHES = 4
"""Maximum connections that search at the same time."""

CONNECT_TIMEOUT = 10.0
"""Seconds."""

_MIGRATION_LOCK = 0x6C656761746F
"""An arbitrary number, the same in every server: one migrates while the others wait."""


class PostgresDatabase:
    """A pool of connections. A broken one is replaced at its next use."""

    def __init__(self, url: URL, *, lock_timeout: float) -> None:
        """asyncpg parses the URL, so every parameter of libpq is allowed. `lock_timeout` is in seconds."""
        if asyncpg is None:
            raise SettingsError(
                'PostgreSQL needs a driver that is not installed. Install it with: pip install "legato[postgres]"'
            )
        self.place = f"{url.host or 'the local socket'}/{url.database or ''}"
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._settings = {
            "application_name": "legato",
            "lock_timeout": str(int(lock_timeout * 1000)),
            "jit": "off",
        }
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            pool_size=CONNECTIONS,
            max_overflow=0,
            hide_parameters=True,
            pool_timeout=CONNECT_TIMEOUT,
        )
        self._closed = False
        self._searches = asyncio.Semaphore(SEARCHES)
        self._reading = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    async def _connect(self) -> "asyncpg.Connection":
        return await asyncpg.connect(
            dsn=self._dsn, timeout=CONNECT_TIMEOUT, server_settings=dict(self._settings)
        )

    async def open(self) -> None:
        await self.write(_migrate_locked)

    async def close(self) -> None:
        self._closed = True
        with translated(self.place):
            await self._engine.dispose()

    async def read(self, work: Callable[[Connection], T]) -> T:
        with self._guarded():
            async with self._reading.connect() as connection:
                return await connection.run_sync(work)

    async def search(self, work: Callable[[Connection], T]) -> T:
        async with self._searches:
            return await self.read(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        with self._guarded():
            async with self._engine.begin() as connection:
                return await connection.run_sync(work)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        if self._closed:
            raise StorageError(CLOSED)
        with translated(self.place):
            yield


def _migrate_locked(connection: Connection) -> None:
    connection.execute(text("SET LOCAL lock_timeout = 0"))
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
    migrate(connection)
