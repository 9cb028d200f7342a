"""Conversations. Each function runs inside a transaction of its caller."""

from datetime import datetime
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection, Update, and_, bindparam, delete, insert, or_, select, union_all, update
from sqlalchemy.exc import IntegrityError

from legato.domain.conversation import Conversation, SettingName
from legato.domain.validation import check_storable
from legato.errors import ConflictError, InvalidError
from legato.storage.sql import attachments as of_attachments
from legato.storage.sql import rights
from legato.storage.sql.codec import (
    conversation_of,
    conversation_row,
    micros,
    settings_json,
    settings_of,
)
from legato.storage.sql.tables import conversations, messages, participants, passages
from legato.storage.sql.tokenizer import index_words

MAX_PAGE = 200
"""Maximum conversations that one call returns."""

_INSERT = insert(conversations)
_INSERT_TITLE = insert(passages).inline()
_BY_ID = select(conversations).where(conversations.c.id == bindparam("conversation"))
_DELETE = delete(conversations).where(conversations.c.id == bindparam("conversation"))
_LAST_CHANGED = (conversations.c.updated_at.desc(), conversations.c.id.desc())
_EARLIER = or_(
    conversations.c.updated_at < bindparam("moment"),
    and_(conversations.c.updated_at == bindparam("moment"), conversations.c.id < bindparam("before")),
)


def _page(*earlier: Any) -> Any:
    """Select the last changed of the conversations that a user owns or joined. Each of the two halves uses its own index."""
    owned = select(conversations).where(conversations.c.owner == bindparam("user"), *earlier)
    joined = (
        select(conversations)
        .join(participants, participants.c.conversation == conversations.c.id)
        .where(participants.c.user == bindparam("user"), conversations.c.owner != bindparam("user"), *earlier)
    )
    halves = [
        select(half.order_by(*_LAST_CHANGED).limit(bindparam("limit")).subquery()) for half in (owned, joined)
    ]
    both = union_all(*halves).subquery()
    return select(both).order_by(both.c.updated_at.desc(), both.c.id.desc()).limit(bindparam("limit"))


_OF_USER = _page()
_OF_USER_BEFORE = _page(_EARLIER)
_TITLE_WORDS = (
    update(passages)
    .where(passages.c.conversation == bindparam("in"), passages.c.message.is_(None))
    .values(words=bindparam("new_words"))
)


def holds(message: str) -> Any:
    """Return the condition that the message in the parameter `message` belongs to the conversation in the parameter `in`."""
    return (
        select(messages.c.id)
        .where(messages.c.id == bindparam(message), messages.c.conversation == bindparam("in"))
        .exists()
    )


def changed(**values: Any) -> Update:
    """Return a change of the conversation in the parameter `in` at the time in the parameter `now`. It counts as a revision."""
    return (
        update(conversations)
        .where(conversations.c.id == bindparam("in"))
        .values(revision=conversations.c.revision + 1, updated_at=bindparam("now"), **values)
        .returning(*conversations.c)
    )


_RENAME = changed(title=bindparam("new_title"))
_SETTINGS = select(conversations.c.choices).where(conversations.c.id == bindparam("conversation"))
_SET_SETTINGS = changed(choices=bindparam("new_settings"))
_SET_HEAD = changed(head=bindparam("new_head")).where(holds("new_head"))


def create(connection: Connection, conversation: Conversation) -> None:
    """:raises ConflictError: a conversation with this id exists."""
    try:
        connection.execute(_INSERT, conversation_row(conversation))
    except IntegrityError as error:
        raise ConflictError("There is already a conversation of this id.") from error
    connection.execute(
        _INSERT_TITLE,
        {"conversation": conversation.id, "message": None, "words": index_words(conversation.title)},
    )


def get(connection: Connection, conversation: str) -> Conversation | None:
    row = connection.execute(_BY_ID, {"conversation": conversation}).mappings().first()
    return None if row is None else conversation_of(row)


def page(
    connection: Connection, user: str, limit: int, before: tuple[datetime, str] | None
) -> list[Conversation]:
    """:raises InvalidError: the limit is out of bounds."""
    check_limit(limit, MAX_PAGE)
    parameters: dict[str, Any] = {"user": user, "limit": limit}
    if before is None:
        rows = connection.execute(_OF_USER, parameters)
    else:
        check_storable(before[1])
        rows = connection.execute(
            _OF_USER_BEFORE, parameters | {"moment": micros(before[0]), "before": before[1]}
        )
    return [conversation_of(row) for row in rows.mappings()]


def check_limit(limit: int, most: int) -> None:
    if not 1 <= limit <= most:
        raise InvalidError(f"The limit must lie between 1 and {most}.")


def rename(
    connection: Connection, conversation: str, title: str, now: datetime, by: str | None = None
) -> Conversation | None:
    rights.require(connection, conversation, by, "own")
    return _rename(connection, conversation, title, now)


def _rename(connection: Connection, conversation: str, title: str, now: datetime) -> Conversation | None:
    parameters = {"in": conversation, "new_title": title, "now": micros(now)}
    row = connection.execute(_RENAME, parameters).mappings().first()
    if row is None:
        return None
    index_title(connection, conversation, title)
    return conversation_of(row)


def index_title(connection: Connection, conversation: str, title: str) -> None:
    connection.execute(_TITLE_WORDS, {"in": conversation, "new_words": index_words(title)})


def set_head(
    connection: Connection, conversation: str, head: str, now: datetime, by: str | None = None
) -> Conversation | None:
    rights.require(connection, conversation, by, "write")
    return _set_head(connection, conversation, head, now)


def rename_and_set_head(
    connection: Connection, conversation: str, title: str, head: str, now: datetime, by: str | None = None
) -> Conversation | None:
    rights.require(connection, conversation, by, "own")
    if _set_head(connection, conversation, head, now) is None:
        return None
    return _rename(connection, conversation, title, now)


def _set_head(connection: Connection, conversation: str, head: str, now: datetime) -> Conversation | None:
    parameters = {"in": conversation, "new_head": head, "now": micros(now)}
    row = connection.execute(_SET_HEAD, parameters).mappings().first()
    return None if row is None else conversation_of(row)


def set_setting(
    connection: Connection,
    conversation: str,
    name: SettingName,
    value: str | None,
    now: datetime,
    by: str | None = None,
) -> Conversation | None:
    rights.require(connection, conversation, by, "own")
    row = connection.execute(_SETTINGS, {"conversation": conversation}).first()
    if row is None:
        return None
    settings = replace(settings_of(row.choices), **{name: value})
    parameters = {"in": conversation, "new_settings": settings_json(settings), "now": micros(now)}
    return conversation_of(connection.execute(_SET_SETTINGS, parameters).mappings().one())


def remove(connection: Connection, conversation: str, by: str | None = None) -> bool:
    rights.require(connection, conversation, by, "own")
    of_attachments.drop_with(connection, conversation)
    return connection.execute(_DELETE, {"conversation": conversation}).rowcount > 0
