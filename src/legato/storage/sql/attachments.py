"""Attachments. Each function runs inside a transaction of its caller."""

from datetime import datetime
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection, bindparam, delete, exists, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from legato.domain.attachment import Attachment
from legato.domain.validation import check_storable
from legato.errors import NotFoundError, TooLargeError
from legato.storage.sql.codec import micros, moment
from legato.storage.sql.tables import attachments, conversations, enclosures, participants

NO_ATTACHMENT = "There is no such attachment. Upload it again."

_QUOTA_LOCK = 0x6C656761
"""An arbitrary number: no other advisory lock of the database has the same key."""

_INSERT = insert(attachments)
_SAME = select(attachments).where(
    attachments.c.owner == bindparam("owner"),
    attachments.c.digest == bindparam("digest"),
    attachments.c.name.is_(None),
)
_TOUCH = (
    update(attachments).where(attachments.c.id == bindparam("attachment")).values(created_at=bindparam("now"))
)
_USED = select(func.coalesce(func.sum(attachments.c.size), 0)).where(
    attachments.c.owner == bindparam("owner")
)
_LOCK_OWNER = select(func.pg_advisory_xact_lock(_QUOTA_LOCK, func.hashtext(bindparam("owner"))))
_is_enclosed = exists().where(enclosures.c.attachment == attachments.c.id)
_is_shared = (
    select(enclosures.c.attachment)
    .join(conversations, conversations.c.id == enclosures.c.conversation)
    .where(
        enclosures.c.attachment == attachments.c.id,
        or_(
            conversations.c.owner == bindparam("reader"),
            exists().where(
                participants.c.conversation == conversations.c.id, participants.c.user == bindparam("reader")
            ),
        ),
    )
    .exists()
)
_READABLE = select(attachments).where(
    attachments.c.id == bindparam("attachment"), or_(attachments.c.owner == bindparam("reader"), _is_shared)
)
_READABLE_IDS = select(attachments.c.id).where(
    attachments.c.id.in_(bindparam("values", expanding=True)),
    or_(attachments.c.owner == bindparam("reader"), _is_shared),
)
_BY_IDS = select(attachments).where(attachments.c.id.in_(bindparam("values", expanding=True)))
_KNOWN_DIGESTS = select(attachments.c.digest).where(
    attachments.c.digest.in_(bindparam("values", expanding=True))
)
_WITHDRAW = delete(attachments).where(
    attachments.c.id == bindparam("attachment"), attachments.c.created_at == bindparam("at"), ~_is_enclosed
)
_DROP_UNUSED = delete(attachments).where(attachments.c.created_at < bindparam("before"), ~_is_enclosed)
_DROP_WITH_CONVERSATION = delete(attachments).where(
    attachments.c.id.in_(
        select(enclosures.c.attachment).where(enclosures.c.conversation == bindparam("conversation"))
    ),
    ~exists().where(
        enclosures.c.attachment == attachments.c.id, enclosures.c.conversation != bindparam("conversation")
    ),
)
_KEY = [enclosures.c.conversation, enclosures.c.attachment]
_ENCLOSE = {
    "sqlite": sqlite.insert(enclosures).on_conflict_do_nothing(index_elements=_KEY),
    "postgresql": postgresql.insert(enclosures).on_conflict_do_nothing(index_elements=_KEY),
}


def add(connection: Connection, attachment: Attachment, quota: int) -> Attachment:
    """Add an attachment.

    :raises TooLargeError: its owner would then have more than `quota` bytes.
    """
    row = _row(attachment)
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK_OWNER, {"owner": attachment.owner})
    if attachment.name is None:
        key = {"owner": attachment.owner, "digest": attachment.digest}
        same = connection.execute(_SAME, key).mappings().first()
        if same is not None:
            connection.execute(_TOUCH, {"attachment": same["id"], "now": row["created_at"]})
            return replace(_attachment_of(same), created_at=attachment.created_at)
    used: int = connection.execute(_USED, {"owner": attachment.owner}).scalar_one()
    if used + attachment.size > quota:
        raise TooLargeError(
            "You have no room for more files here. Delete conversations with large ones, and try again."
        )
    connection.execute(_INSERT, row)
    return attachment


def get_readable(connection: Connection, attachment: str, reader: str) -> Attachment | None:
    row = connection.execute(_READABLE, {"attachment": attachment, "reader": reader}).mappings().first()
    return None if row is None else _attachment_of(row)


def get_all(connection: Connection, ids: list[str]) -> list[Attachment]:
    rows = connection.execute(_BY_IDS, {"values": ids}).mappings()
    return [_attachment_of(row) for row in rows]


def known_digests(connection: Connection, digests: list[str]) -> set[str]:
    return set(connection.execute(_KNOWN_DIGESTS, {"values": digests}).scalars())


def withdraw(connection: Connection, attachment: Attachment) -> bool:
    key = {"attachment": attachment.id, "at": micros(attachment.created_at)}
    return connection.execute(_WITHDRAW, key).rowcount > 0


def drop_unused(connection: Connection, before: datetime) -> int:
    return connection.execute(_DROP_UNUSED, {"before": micros(before)}).rowcount


def drop_with(connection: Connection, conversation: str) -> None:
    """Delete the attachments that only this conversation holds. Call this before the conversation is deleted."""
    connection.execute(_DROP_WITH_CONVERSATION, {"conversation": conversation})


def enclose(connection: Connection, conversation: str, by: str, ids: tuple[str, ...]) -> None:
    """Give the readers of a conversation access to these attachments, which `by` may read.

    :raises NotFoundError: one of them does not exist, or `by` may not read it.
    """
    readable = set(connection.execute(_READABLE_IDS, {"values": list(ids), "reader": by}).scalars())
    if not readable.issuperset(ids):
        raise NotFoundError(NO_ATTACHMENT)
    rows = [{"conversation": conversation, "attachment": each} for each in ids]
    try:
        connection.execute(_ENCLOSE[connection.dialect.name], rows)
    except IntegrityError as error:
        raise NotFoundError(NO_ATTACHMENT) from error


def _row(attachment: Attachment) -> dict[str, Any]:
    """:raises InvalidError: for text that cannot be stored."""
    check_storable(attachment.id, attachment.owner, attachment.name)
    return {
        "id": attachment.id,
        "owner": attachment.owner,
        "media_type": attachment.media_type,
        "size": attachment.size,
        "digest": attachment.digest,
        "created_at": micros(attachment.created_at),
        "name": attachment.name,
    }


def _attachment_of(row: Any) -> Attachment:
    return Attachment(
        id=row["id"],
        owner=row["owner"],
        media_type=row["media_type"],
        size=row["size"],
        digest=row["digest"],
        created_at=moment(row["created_at"]),
        name=row["name"],
    )
