"""Storage in SQLite or PostgreSQL, through one code."""

from legato.storage.sql.store import SqlStorage, open_storage

__all__ = ["SqlStorage", "open_storage"]
