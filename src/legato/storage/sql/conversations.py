"""What is done to conversations, each function inside a transaction of its caller."""

from datetime import datetime
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection, Update, and_, bindparam, delete, insert, or_, select, union_all, update
from sqlalchemy.exc import IntegrityError

from legato.domain.conversation import Conversation, SettingName
from legato.domain.validation import check_storable
from legato.errors import ConflictError, InvalidError
from legato.storage.sql import attachments as of_attachments
from legato.storage.sql.codec import (
    choices_json,
    choices_of,
    conversation_of,
    conversation_row,
    micros,
)
from legato.storage.sql.tables import conversations, messages, participants, passages
from legato.storage.sql.tokenizer import words_of

PAGE = 200
"""The most that one call lists."""

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
    """The last changed of those the person owns, and of those they joined: each half by its own index."""
    owned = select(conversations).where(conversations.c.owner == bindparam("of"), *earlier)
    joined = (
        select(conversations)
        .join(participants, participants.c.conversation == conversations.c.id)
        .where(participants.c.user == bindparam("of"), conversations.c.owner != bindparam("of"), *earlier)
    )
    halves = [
        select(half.order_by(*_LAST_CHANGED).limit(bindparam("most")).subquery()) for half in (owned, joined)
    ]
    both = union_all(*halves).subquery()
    return select(both).order_by(both.c.updated_at.desc(), both.c.id.desc()).limit(bindparam("most"))


_BY_PERSON = _page()
_BY_PERSON_BEFORE = _page(_EARLIER)
_TITLE_WORDS = (
    update(passages)
    .where(passages.c.conversation == bindparam("of"), passages.c.message.is_(None))
    .values(words=bindparam("found_by"))
)


def holds(message: str) -> Any:
    """Whether the message of the parameter `message` belongs to the conversation of the parameter `in`."""
    return (
        select(messages.c.id)
        .where(messages.c.id == bindparam(message), messages.c.conversation == bindparam("in"))
        .exists()
    )


def changed(**values: Any) -> Update:
    """A change of the conversation of the parameter `in` at the time of the parameter `now`, counted as a revision."""
    return (
        update(conversations)
        .where(conversations.c.id == bindparam("in"))
        .values(revision=conversations.c.revision + 1, updated_at=bindparam("now"), **values)
        .returning(*conversations.c)
    )


_RENAME = changed(title=bindparam("named"))
_CHOICES = (
    select(conversations.c.choices).where(conversations.c.id == bindparam("conversation")).with_for_update()
)
_CHOOSE = changed(choices=bindparam("chosen"))
_SET_HEAD = changed(head=bindparam("shown")).where(holds("shown"))


def create(connection: Connection, conversation: Conversation) -> None:
    """:raises ConflictError: there is one of this id."""
    try:
        connection.execute(_INSERT, conversation_row(conversation))
    except IntegrityError as error:
        raise ConflictError("There is already a conversation of this id.") from error
    connection.execute(
        _INSERT_TITLE,
        {"conversation": conversation.id, "message": None, "words": words_of(conversation.title)},
    )


def get(connection: Connection, conversation: str) -> Conversation | None:
    row = connection.execute(_BY_ID, {"conversation": conversation}).mappings().first()
    return None if row is None else conversation_of(row)


def page(
    connection: Connection, user: str, limit: int, before: tuple[datetime, str] | None
) -> list[Conversation]:
    """:raises InvalidError: the limit is out of bounds."""
    check_limit(limit, PAGE)
    parameters: dict[str, Any] = {"of": user, "most": limit}
    if before is None:
        rows = connection.execute(_BY_PERSON, parameters)
    else:
        check_storable(before[1])
        rows = connection.execute(
            _BY_PERSON_BEFORE, parameters | {"moment": micros(before[0]), "before": before[1]}
        )
    return [conversation_of(row) for row in rows.mappings()]


def check_limit(limit: int, most: int) -> None:
    if not 1 <= limit <= most:
        raise InvalidError(f"The limit must lie between 1 and {most}.")


def rename(connection: Connection, conversation: str, title: str, now: datetime) -> Conversation | None:
    parameters = {"in": conversation, "named": title, "now": micros(now)}
    row = connection.execute(_RENAME, parameters).mappings().first()
    if row is None:
        return None
    index_title(connection, conversation, title)
    return conversation_of(row)


def index_title(connection: Connection, conversation: str, title: str) -> None:
    connection.execute(_TITLE_WORDS, {"of": conversation, "found_by": words_of(title)})


def set_head(connection: Connection, conversation: str, head: str, now: datetime) -> Conversation | None:
    parameters = {"in": conversation, "shown": head, "now": micros(now)}
    row = connection.execute(_SET_HEAD, parameters).mappings().first()
    return None if row is None else conversation_of(row)


def choose(
    connection: Connection, conversation: str, name: SettingName, value: str | None, now: datetime
) -> Conversation | None:
    row = connection.execute(_CHOICES, {"conversation": conversation}).first()
    if row is None:
        return None
    choices = replace(choices_of(row.choices), **{name: value})
    parameters = {"in": conversation, "chosen": choices_json(choices), "now": micros(now)}
    return conversation_of(connection.execute(_CHOOSE, parameters).mappings().one())


def remove(connection: Connection, conversation: str) -> bool:
    of_attachments.drop_with(connection, conversation)
    return connection.execute(_DELETE, {"conversation": conversation}).rowcount > 0
