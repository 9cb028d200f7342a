"""The journal of running replies, each function inside a transaction of its caller."""

import logging
from collections.abc import Collection, Iterator

from sqlalchemy import Connection, bindparam, delete, insert, select

from legato.storage.base import LOCAL_GATEWAY, JournalEntry
from legato.storage.sql.codec import from_blob, to_blob
from legato.storage.sql.tables import journal
from legato.stream import Event

logger = logging.getLogger(__name__)

_INSERT = insert(journal).returning(journal.c.number)
_OF_GATEWAY = delete(journal).where(journal.c.gateway == bindparam("owner"))
_TRIM = _OF_GATEWAY.where(journal.c.number < bindparam("before"))
_AFTER = (
    select(journal.c.number, journal.c.entries)
    .where(journal.c.gateway.in_(bindparam("owners", expanding=True)), journal.c.number > bindparam("after"))
    .order_by(journal.c.number)
    .limit(100)
)


def append(connection: Connection, gateway: str, blob: bytes) -> int:
    number: int = connection.execute(_INSERT, {"gateway": gateway, "entries": blob}).scalar_one()
    return number


def trim(connection: Connection, gateway: str, before: int) -> None:
    connection.execute(_TRIM, {"owner": gateway, "before": before})


def drop(connection: Connection, gateway: str) -> None:
    connection.execute(_OF_GATEWAY, {"owner": gateway})


def check_writable(connection: Connection) -> None:
    """Write a page and delete it again."""
    number = append(connection, LOCAL_GATEWAY, b"[]" + b" " * 4096)
    connection.execute(delete(journal).where(journal.c.number == bindparam("only")), {"only": number})


def read(connection: Connection, gateways: list[str], replies: Collection[str]) -> dict[str, list[Event]]:
    """Return what the journals of these gateways have of each of these replies.

    A row that cannot be read may have held events of any reply. The events behind it would follow a gap, so they count
    only from the reply's next entry that is whole.
    """
    events: dict[str, list[Event]] = {reply: [] for reply in replies}
    broken: set[str] = set()
    for number, blob in _rows(connection, gateways):
        entries = from_blob(blob)
        if entries is None:
            logger.error(
                "Row %d of the journal cannot be read; the events behind it are dropped up to the next whole entry",
                number,
            )
            broken.update(events)
            continue
        for entry in entries:
            known = events.get(entry.message)
            if known is None:
                continue
            if entry.whole:
                known.clear()
                broken.discard(entry.message)
            if entry.message not in broken:
                known.extend(entry.events)
    return events


def carry_over(connection: Connection, gateway: str, events: dict[str, list[Event]]) -> None:
    """Append what other gateways had of these replies to the journal of `gateway`, so that theirs can be dropped."""
    entries = [JournalEntry(reply, those, whole=True) for reply, those in events.items() if those]
    if entries:
        append(connection, gateway, to_blob(entries))


def _rows(connection: Connection, gateways: list[str]) -> Iterator[tuple[int, bytes]]:
    after = 0
    while rows := connection.execute(_AFTER, {"owners": gateways, "after": after}).all():
        yield from ((row.number, row.entries) for row in rows)
        after = rows[-1].number
