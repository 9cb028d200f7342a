"""SQLite: one thread writes, a few read, a few search."""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event

from legato.errors import SettingsError, StorageError
from legato.storage.migrations import migrate
from legato.storage.sql.database import BUSY, CLOSED, translated

T = TypeVar("T")

READERS = 2
"""Threads that read. More would not help: Python runs one of them at a time, and only waits for the disk overlap."""

SEARCHERS = 2
"""Threads that search, so that a long search of one user does not delay another user."""

STEPS = 1000
"""Instructions of SQLite's machine between two looks whether a search was stopped; about 0.1 ms."""

MIN_VERSION = (3, 35, 0)
"""The first version with RETURNING."""

WAL_LIMIT = 64 * 1024 * 1024
"""Maximum bytes of the write-ahead log on disk after a long transaction."""


QUEUE_SECONDS = 5.0
"""How long a transaction waits for those before it. If another process holds the lock, each of those can wait for it."""


class SqliteDatabase:
    """One file in WAL mode. A transaction holds the write lock from its first statement, so it never fails half way for want of it."""

    def __init__(self, url: URL, *, durable: bool, lock_timeout: float) -> None:
        """`lock_timeout` is how long to wait for another process that writes, in seconds."""
        if not url.database or url.database == ":memory:" or "mode" in url.query:
            raise SettingsError("The database URL names no file. Write it as sqlite:///path/to/legato.db.")
        self.path = Path(url.database)
        self._durable = durable
        self._lock_timeout = lock_timeout
        self._inode: tuple[int, int] | None = None
        self._closed = False
        self._writer = self._engine(url, 1)
        self._readers = self._engine(url, READERS + SEARCHERS)
        event.listen(self._writer, "begin", _begin_immediate)
        event.listen(self._readers, "connect", _make_read_only)
        self._write_thread = ThreadPoolExecutor(1, "storage-write")
        self._read_threads = ThreadPoolExecutor(READERS, "storage-read")
        self._search_threads = ThreadPoolExecutor(SEARCHERS, "storage-search")

    def _engine(self, url: URL, connections: int) -> Engine:
        engine = create_engine(
            url.set(drivername="sqlite+pysqlite"),
            connect_args={"timeout": self._lock_timeout, "check_same_thread": False, "isolation_level": None},
            pool_size=connections,
            max_overflow=0,
            hide_parameters=True,
        )
        event.listen(engine, "connect", self._prepare)
        return engine

    def _prepare(self, connection: sqlite3.Connection, _record: object) -> None:
        self._enable_wal(connection)
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")

    def _enable_wal(self, connection: sqlite3.Connection) -> None:
        """Turn on the write-ahead log. SQLite itself does not wait for other connections here, whatever its timeout is."""
        give_up = time.monotonic() + self._lock_timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError:
                if time.monotonic() >= give_up:
                    raise
            time.sleep(0.005)

    async def open(self) -> None:
        if sqlite3.sqlite_version_info < MIN_VERSION:
            raise StorageError(
                f"SQLite {sqlite3.sqlite_version} is too old; {'.'.join(map(str, MIN_VERSION))} or newer is needed. Install a newer Python."
            )
        await self._on(self._write_thread, self._create)
        await self.write(migrate)

    def _create(self) -> None:
        """Create the file, readable by its owner alone. SQLite gives its files beside it the same mode."""
        with translated(str(self.path), self.path.parent):
            if not self.path.parent.exists():
                self.path.parent.parent.mkdir(parents=True, exist_ok=True)
                self.path.parent.mkdir(mode=0o700, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._inode = self._current_inode()

    def _current_inode(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._write_thread.shutdown()
        self._read_threads.shutdown()
        self._search_threads.shutdown()
        self._readers.dispose()
        self._writer.dispose()

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self._on(self._read_threads, partial(self._read, work))

    async def search(self, work: Callable[[Connection], T]) -> T:
        stop = threading.Event()
        try:
            return await self._on(self._search_threads, partial(self._search, work, stop))
        except asyncio.CancelledError:
            stop.set()
            raise

    async def write(self, work: Callable[[Connection], T]) -> T:
        give_up = time.monotonic() + QUEUE_SECONDS
        return await self._on(self._write_thread, partial(self._write, work, give_up))

    async def _on(self, threads: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        if self._closed:
            raise StorageError(CLOSED)
        return await asyncio.get_running_loop().run_in_executor(threads, call)

    def _read(self, work: Callable[[Connection], T]) -> T:
        with translated(str(self.path), self.path.parent), self._readers.connect() as connection:
            return work(connection)

    def _search(self, work: Callable[[Connection], T], stop: threading.Event) -> T:
        """Run work until `stop` is set."""
        with translated(str(self.path), self.path.parent), self._readers.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.set_progress_handler(stop.is_set, STEPS)
            try:
                return work(connection)
            finally:
                driver.set_progress_handler(None, 0)

    def _write(self, work: Callable[[Connection], T], give_up: float) -> T:
        """Run a transaction unless it waited until `give_up`."""
        if time.monotonic() > give_up:
            raise StorageError(BUSY)
        if self._current_inode() != self._inode:
            raise StorageError(
                f"The database file {self.path} was moved or deleted. Put it back, or restart the server."
            )
        with translated(str(self.path), self.path.parent), self._writer.begin() as connection:
            return work(connection)


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _make_read_only(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA query_only = ON")
