"""The journal of replies that are being written, each function inside a transaction of its caller."""

import logging
from collections.abc import Iterator

from sqlalchemy import Connection, bindparam, delete, insert, select

from legato.storage.base import UnfinishedReply
from legato.storage.sql.codec import from_blob, message_of
from legato.storage.sql.tables import journal, messages
from legato.stream import Event

logger = logging.getLogger(__name__)

_INSERT = insert(journal).returning(journal.c.number)
_TRIM = delete(journal).where(journal.c.number < bindparam("before"))
_STREAMING = select(messages).where(messages.c.status == "streaming").order_by(messages.c.number)
_AFTER = (
    select(journal.c.number, journal.c.entries)
    .where(journal.c.number > bindparam("after"))
    .order_by(journal.c.number)
    .limit(100)
)


def append(connection: Connection, blob: bytes) -> int:
    number: int = connection.execute(_INSERT, {"entries": blob}).scalar_one()
    return number


def trim(connection: Connection, before: int) -> None:
    connection.execute(_TRIM, {"before": before})


def try_out(connection: Connection) -> None:
    """Write a page and take it away again."""
    number = append(connection, b"[]" + b" " * 4096)
    connection.execute(delete(journal).where(journal.c.number == bindparam("only")), {"only": number})


def unfinished(connection: Connection) -> list[UnfinishedReply]:
    """Every streaming reply with what the journal has of it.

    A row that cannot be read may have held a piece of any reply. What comes behind would be joined over a hole, so it
    counts only from the next entry that is whole.
    """
    replies = [message_of(row) for row in connection.execute(_STREAMING).mappings()]
    events: dict[str, list[Event]] = {reply.id: [] for reply in replies}
    broken: set[str] = set()
    for number, blob in _rows(connection):
        entries = from_blob(blob)
        if entries is None:
            logger.error("Row %d of the journal cannot be read; what follows it is joined to nothing", number)
            broken.update(events)
            continue
        for entry in entries:
            gathered = events.get(entry.message)
            if gathered is None:
                continue
            if entry.whole:
                gathered.clear()
                broken.discard(entry.message)
            if entry.message not in broken:
                gathered.extend(entry.events)
    return [UnfinishedReply(reply, events[reply.id]) for reply in replies]


def _rows(connection: Connection) -> Iterator[tuple[int, bytes]]:
    after = 0
    while rows := connection.execute(_AFTER, {"after": after}).all():
        yield from ((row.number, row.entries) for row in rows)
        after = rows[-1].number
