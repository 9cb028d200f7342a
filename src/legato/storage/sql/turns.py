"""How turns start and replies end. Each function runs inside a transaction of its caller."""

from datetime import datetime
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection, bindparam, case, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from legato.domain.conversation import Conversation
from legato.domain.message import Message, MessageRole, searchable_text
from legato.domain.participant import READ_ONLY
from legato.domain.validation import check_storable
from legato.errors import ConflictError, ForbiddenError, NotFoundError, StaleError
from legato.storage.base import NewTurn, ReplyOwner, TurnStarted, queue_full
from legato.storage.sql import attachments as of_attachments
from legato.storage.sql import conversations as of_conversations
from legato.storage.sql import rights, running, text_quota
from legato.storage.sql.codec import Row, conversation_of, message_of, message_row, micros
from legato.storage.sql.tables import conversations, exchanges, messages, passages
from legato.storage.sql.tokenizer import index_words

_KEY = [exchanges.c.sender, exchanges.c.client_message_id]
_CLAIM = {
    "sqlite": sqlite.insert(exchanges).on_conflict_do_nothing(index_elements=_KEY),
    "postgresql": postgresql.insert(exchanges).on_conflict_do_nothing(index_elements=_KEY),
}
_CLAIMED = select(exchanges).where(
    exchanges.c.sender == bindparam("sender"), exchanges.c.client_message_id == bindparam("client_message_id")
)
_HEAD = select(conversations.c.head).where(conversations.c.id == bindparam("in")).with_for_update()
_ADVANCE = of_conversations.changed(
    head=bindparam("new_head"),
    title=case((conversations.c.title == "", bindparam("new_title")), else_=conversations.c.title),
)
_ADVANCE_AFTER_PARENT = _ADVANCE.where(of_conversations.holds("parent"))
_INSERT = insert(messages).inline()
_INSERT_WORDS = insert(passages).inline()
_REINSERT_WORDS = {
    "sqlite": sqlite.insert(passages)
    .inline()
    .on_conflict_do_update(index_elements=[passages.c.message], set_={"words": bindparam("new_words")}),
    "postgresql": postgresql.insert(passages)
    .inline()
    .on_conflict_do_update(index_elements=[passages.c.message], set_={"words": bindparam("new_words")}),
}
_BY_CONVERSATION = (
    select(messages)
    .where(messages.c.conversation == bindparam("conversation"), messages.c.revision > bindparam("after"))
    .order_by(messages.c.number)
)
_BY_ID = select(messages).where(messages.c.id == bindparam("message"))
_REVISE = of_conversations.changed().where(
    select(messages.c.id)
    .where(
        messages.c.id == bindparam("written"),
        messages.c.conversation == bindparam("in"),
        messages.c.role == bindparam("as"),
    )
    .exists()
)
_WRITTEN = ("status", "parts", "reasoning", "model", "detail", "usage", "timings", "spans", "log_end")
_UPDATE = (
    update(messages)
    .where(messages.c.id == bindparam("written"))
    .values({name: bindparam(f"new_{name}") for name in (*_WRITTEN, "revision")})
    .returning(messages.c.parent, messages.c.role, messages.c.author, messages.c.created_at)
)


_EMPTY_BYTES = len("[]")
"""The text of a reply that has not begun."""


def begin(connection: Connection, turn: NewTurn, now: datetime) -> TurnStarted:
    """Write a turn once. The idempotency key comes first: of many turns with the same key only one continues."""
    if turn.client_message_id is not None and not _claim(connection, turn):
        return _started_before(connection, turn)
    if turn.after_head and turn.create is None:
        turn = _placed_after_head(connection, turn)
    conversation = _advance(connection, turn, now)
    written = [
        replace(message, conversation=conversation.id, revision=conversation.revision)
        for message in (turn.question, turn.reply)
        if message is not None
    ]
    rows = [message_row(message) for message in written]
    size = sum(text_quota.MESSAGE_BYTES + text_quota.text_bytes(row) for row in rows)
    if turn.text_quota is not None:
        text_quota.check(connection, turn.user, size, turn.text_quota)
    text_quota.charge(connection, conversation.id, turn.user, size)
    try:
        connection.execute(_INSERT, rows)
    except IntegrityError as error:
        raise ConflictError("There is already a message of this id.") from error
    if turn.enclosed:
        of_attachments.enclose(connection, conversation.id, turn.user, turn.enclosed)
    if turn.question is not None:
        question = turn.question
        words = index_words(searchable_text(question.parts))
        connection.execute(
            _INSERT_WORDS, {"conversation": conversation.id, "message": question.id, "words": words}
        )
    owner, ahead = running.start(connection, turn, conversation.id)
    if turn.max_ahead is not None and ahead > turn.max_ahead:
        raise queue_full(turn.max_ahead)
    return TurnStarted(
        conversation,
        written[0] if turn.question is not None else None,
        written[-1],
        owner=owner,
        ahead=ahead,
    )


def _claim(connection: Connection, turn: NewTurn) -> bool:
    check_storable(turn.user, turn.client_message_id, turn.fingerprint, turn.conversation)
    row = {
        "sender": turn.user,
        "client_message_id": turn.client_message_id,
        "fingerprint": turn.fingerprint,
        "conversation": turn.conversation,
        "question": turn.question.id if turn.question is not None else None,
        "reply": turn.reply.id,
    }
    return connection.execute(_CLAIM[connection.dialect.name], row).rowcount > 0


def _started_before(connection: Connection, turn: NewTurn) -> TurnStarted:
    key = {"sender": turn.user, "client_message_id": turn.client_message_id}
    claimed = connection.execute(_CLAIMED, key).mappings().first()
    if claimed is None:
        raise _not_found()
    if claimed["fingerprint"] != turn.fingerprint:
        raise ConflictError(
            "A different message was already sent with this client_message_id. Use a new one for each message."
        )
    conversation = of_conversations.get(connection, claimed["conversation"])
    reply = message(connection, claimed["reply"])
    if conversation is None or reply is None:
        raise _not_found()
    question = None if claimed["question"] is None else message(connection, claimed["question"])
    return TurnStarted(conversation, question, reply, duplicate=True)


def _placed_after_head(connection: Connection, turn: NewTurn) -> NewTurn:
    """Return the turn with the conversation's head as the parent of its first message. This locks the conversation."""
    check_storable(turn.conversation)
    head: str | None = connection.execute(_HEAD, {"in": turn.conversation}).scalar()
    if turn.question is None:
        return replace(turn, reply=replace(turn.reply, parent=head))
    return replace(turn, question=replace(turn.question, parent=head))


def _advance(connection: Connection, turn: NewTurn, now: datetime) -> Conversation:
    """Return the conversation with its next revision, its new head, and its title.

    :raises NotFoundError: it does not exist, the user takes no part in it, or the parent is not in it.
    :raises ForbiddenError: the user may only read it.
    """
    first = turn.question if turn.question is not None else turn.reply
    if turn.create is not None:
        if first.parent is not None:
            raise _not_found()
        conversation = replace(
            turn.create,
            id=turn.conversation,
            title=turn.create.title or turn.title or "",
            updated_at=now,
            revision=turn.create.revision + 1,
            head=turn.reply.id,
        )
        of_conversations.create(connection, conversation)
        return conversation
    check_storable(turn.conversation, turn.user, turn.title, first.parent, turn.reply.id)
    parameters: dict[str, Any] = {
        "in": turn.conversation,
        "new_head": turn.reply.id,
        "new_title": turn.title or "",
        "now": micros(now),
    }
    if first.parent is None:
        row = connection.execute(_ADVANCE, parameters).mappings().first()
    else:
        row = (
            connection.execute(_ADVANCE_AFTER_PARENT, parameters | {"parent": first.parent})
            .mappings()
            .first()
        )
    if row is None:
        raise _not_found()
    if row["owner"] != turn.user:
        role = rights.joined_role(connection, turn.conversation, turn.user)
        if role is None:
            raise _not_found()
        if role == "viewer":
            raise ForbiddenError(READ_ONLY)
    if turn.title and row["title"] == turn.title:
        of_conversations.index_title(connection, turn.conversation, turn.title)
    return conversation_of(row)


def _not_found() -> NotFoundError:
    return NotFoundError(
        "There is no such conversation, or the message to go on from is not in it. Load it again."
    )


def finish(connection: Connection, reply: Message, owner: ReplyOwner, now: datetime) -> Message | None:
    """Write a reply that ended, make it searchable, and remove its running row."""
    revision = _revise(connection, reply, "assistant", now)
    if revision is None:
        return None
    row = message_row(reply)
    user = running.end(connection, reply.id, owner)
    if user is not None:
        # `begin` counted the empty reply.
        text_quota.charge(connection, reply.conversation, user, text_quota.text_bytes(row) - _EMPTY_BYTES)
    elif not _is_stored(connection, row):
        raise StaleError("Another gateway runs this reply, or it has ended.")
    return _write(connection, reply, row | {"revision": revision})


def rewrite(connection: Connection, question: Message, now: datetime) -> Message | None:
    """Write a user's message again, and make its new text searchable."""
    revision = _revise(connection, question, "user", now)
    if revision is None:
        return None
    row = message_row(question)
    before = connection.execute(_BY_ID, {"message": question.id}).mappings().one()
    if before["author"] is not None:
        more = text_quota.text_bytes(row) - text_quota.text_bytes(dict(before))
        text_quota.charge(connection, question.conversation, before["author"], more)
    return _write(connection, question, row | {"revision": revision})


def _revise(connection: Connection, message: Message, role: MessageRole, now: datetime) -> int | None:
    """Lock the message's conversation and return its next revision; None if it has no such message of this role."""
    parameters = {"in": message.conversation, "written": message.id, "as": role, "now": micros(now)}
    row = connection.execute(_REVISE, parameters).mappings().first()
    return None if row is None else row["revision"]


def _is_stored(connection: Connection, row: Row) -> bool:
    """Whether exactly this was written already: the caller's commit succeeded, but it was told of a failure."""
    stored = connection.execute(_BY_ID, {"message": row["id"]}).mappings().one()
    return all(stored[name] == row[name] for name in _WRITTEN)


def _write(connection: Connection, message: Message, row: Row) -> Message:
    values = {f"new_{name}": row[name] for name in (*_WRITTEN, "revision")}
    kept = connection.execute(_UPDATE, {"written": message.id} | values).mappings().one()
    words = index_words(searchable_text(message.parts))
    connection.execute(
        _REINSERT_WORDS[connection.dialect.name],
        {"conversation": message.conversation, "message": message.id, "words": words, "new_words": words},
    )
    return message_of(row | dict(kept))


def by_conversation(connection: Connection, conversation: str, after_revision: int) -> list[Message]:
    rows = connection.execute(_BY_CONVERSATION, {"conversation": conversation, "after": after_revision})
    return [message_of(row) for row in rows.mappings()]


def message(connection: Connection, message: str) -> Message | None:
    row = connection.execute(_BY_ID, {"message": message}).mappings().first()
    return None if row is None else message_of(row)
