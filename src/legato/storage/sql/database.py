"""The contract of a database: it runs a function over a connection as one transaction.

The functions are plain SQLAlchemy Core and know nothing of threads or event loops. SQLite runs them in a thread of its
own, one call for a whole transaction; PostgreSQL runs them on the event loop, where SQLAlchemy suspends them at each
statement. See docs/decisions/0003.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from legato.disk import has_room, is_disk_full
from legato.errors import DiskFullError, StorageError, StorageTimeoutError

BUSY = "The database is too busy. Try again in a moment."
DISK_FULL = "The disk of the database is full. Make room, and try again."
TOO_SLOW = "The search took too long and was stopped. Search for rarer or more words."
CLOSED = "The database is closed, since the server is going down."

logger = logging.getLogger(__name__)

T = TypeVar("T")


def _hides_rows(record: logging.LogRecord) -> bool:
    """Return whether a record of SQLAlchemy is logged: at the level DEBUG it writes every row that it reads."""
    return record.levelno > logging.DEBUG


logging.getLogger("sqlalchemy.engine.Engine").addFilter(_hides_rows)


class Database(Protocol):
    """A LegatoError that the work raises passes through. A failure of the database itself becomes a StorageError."""

    async def open(self) -> None:
        """Connect and migrate the schema to this version. Safe if another process does the same at the same time."""
        ...

    async def close(self) -> None:
        """Release everything. Safe to call twice, and after `open` failed."""
        ...

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run work that only reads. Each of its statements can see a later state than the one before."""
        ...

    async def search(self, work: Callable[[Connection], T]) -> T:
        """Like `read`, for work that can take long: reads and writes do not wait for it. If the caller is cancelled, it is stopped."""
        ...

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run work as one transaction. When this returns, it is committed; when this raises, it left no effect.

        A caller that is cancelled meanwhile does not know which of the two happened.
        """
        ...


_REASONS = {
    "SQLITE_BUSY": "Another process holds the database for too long. Close what else has it open, and try again.",
    "SQLITE_LOCKED": "Another process holds the database for too long. Close what else has it open, and try again.",
    "SQLITE_READONLY": "The database can only be read. Give this user the right to write to its file and directory.",
    "SQLITE_CANTOPEN": "The database file cannot be opened. See that its directory is there and writable.",
    "SQLITE_CORRUPT": "The database file is damaged. Restore it from a backup.",
    "SQLITE_NOTADB": "The database file is not an SQLite database. Name another file.",
    "SQLITE_IOERR": "The disk of the database does not answer as it should. Look after the disk, and try again.",
    "08": "The connection to the database broke. It is made anew by itself; try again.",
    "28": "The database does not accept this user or password. Correct the database URL.",
    "3D": "The server has no database of this name. Create it, or correct the database URL.",
    "42501": "The database user lacks a right that is needed. Make it the owner of the database.",
    "53300": "The database takes no more connections. Raise its max_connections, and try again.",
    "55P03": "Another process holds the database for too long. Close what else has it open, and try again.",
    "57": "The database is shutting down or starting. Try again in a moment.",
}
"""Sentences by the names of SQLite's errors and by the first characters of SQLSTATEs."""


_FULL = ("SQLITE_FULL", "53100")
_MAYBE_FULL = ("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_PROTOCOL")
_STOPPED = ("SQLITE_INTERRUPT", "57014")


@contextmanager
def translated(place: str, directory: Path | None = None) -> Iterator[None]:
    """Turn what a driver raises into a StorageError. `place` names the database, without secrets.

    `directory` is where its files are, if that is known.
    """
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise _storage_error(error, place, directory) from error


def _storage_error(error: Exception, place: str, directory: Path | None) -> StorageError:
    if isinstance(error, PoolTimeoutError):
        return StorageError(BUSY)
    cause: object = error.orig if isinstance(error, DBAPIError) else error
    name: str = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or ""
    if name.startswith(_FULL) or is_disk_full(error):
        return DiskFullError(DISK_FULL)
    if name.startswith(_STOPPED):
        return StorageTimeoutError(TOO_SLOW)
    # SQLite reports an exhausted quota, and a file beside the database that cannot grow, as other errors.
    if name.startswith(_MAYBE_FULL) and directory is not None and not has_room(directory):
        return DiskFullError(DISK_FULL)
    for start, reason in _REASONS.items():
        if name.startswith(start):
            return StorageError(reason)
    if isinstance(error, TimeoutError) and not name:
        return StorageError(f"The database at {place} does not answer. See that it runs, and try again.")
    if isinstance(error, OSError) and not name:
        return StorageError(f"The database at {place} cannot be reached. See that it runs, and try again.")
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return StorageError(_REASONS["08"])
    logger.error("The database at %s failed", place, exc_info=error)
    return StorageError("The database failed. What it said is in the log of the server.")
