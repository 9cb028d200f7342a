"""What the messages of each user take, counted by conversation, so that deleting a conversation gives its part back."""

from typing import Any

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite

from legato.errors import TooLargeError
from legato.storage.sql.codec import Row
from legato.storage.sql.tables import text_usage

MESSAGE_BYTES = 512
"""What a message counts beside its text. The migration 0006 counts in the same way."""

_QUOTA_LOCK = 0x6C656762
"""An arbitrary number: no other advisory lock of the database has the same key."""

_KEY = [text_usage.c.conversation, text_usage.c.user]


def _add(insert: Any) -> Any:
    return insert.on_conflict_do_update(
        index_elements=_KEY, set_={"bytes": text_usage.c.bytes + insert.excluded.bytes}
    )


_ADD = {
    "sqlite": _add(sqlite.insert(text_usage).inline()),
    "postgresql": _add(postgresql.insert(text_usage).inline()),
}
_USED = select(func.coalesce(func.sum(text_usage.c.bytes), 0)).where(text_usage.c.user == bindparam("of"))
_LOCK_USER = select(func.pg_advisory_xact_lock(_QUOTA_LOCK, func.hashtext(bindparam("of"))))


def text_bytes(row: Row) -> int:
    """Return how many bytes of text the row of a message has."""
    return len(row["parts"].encode()) + len(row["reasoning"].encode())


def check(connection: Connection, user: str, more: int, quota: int) -> None:
    """Check that `user` may store `more` bytes. The user's further checks wait until the transaction ends.

    :raises TooLargeError: the user would have more than `quota` bytes.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK_USER, {"of": user})
    used: int = connection.execute(_USED, {"of": user}).scalar_one()
    if used + more > quota:
        raise TooLargeError(
            "You have no room for more messages here. Delete conversations that you need no more, and send it again."
        )


def charge(connection: Connection, conversation: str, user: str, size: int) -> None:
    """Count `size` bytes more (fewer, if negative) for a user in a conversation."""
    row = {"conversation": conversation, "user": user, "bytes": size}
    connection.execute(_ADD[connection.dialect.name], row)
