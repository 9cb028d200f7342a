"""What a user may do in a conversation, checked inside the transaction that writes."""

from typing import Any

from sqlalchemy import Connection, bindparam, select

from legato.domain.participant import NOT_FOUND, OWNER_ONLY, READ_ONLY, Needs, ParticipantRole
from legato.errors import ForbiddenError, NotFoundError
from legato.storage.sql.tables import conversations, participants

_LOCK = (
    select(conversations.c.owner, conversations.c.created_at)
    .where(conversations.c.id == bindparam("conversation"))
    .with_for_update()
)
_ROLE = select(participants.c.standing).where(
    participants.c.conversation == bindparam("conversation"), participants.c.user == bindparam("user")
)


def lock(connection: Connection, conversation: str) -> Any:
    """Lock a conversation and return its `owner` and `created_at`; None if it does not exist.

    Every change of rights takes this lock, so what is read of rights and counts next stays true until the commit.
    """
    return connection.execute(_LOCK, {"conversation": conversation}).mappings().first()


def joined_role(connection: Connection, conversation: str, user: str) -> ParticipantRole | None:
    """Return the role of a user who is not the owner, None if the user takes no part. The conversation must be locked.

    This is a statement of its own: PostgreSQL shows a statement that waited for the lock what was true before it waited.
    """
    role: str | None = connection.execute(_ROLE, {"conversation": conversation, "user": user}).scalar()
    if role is None:
        return None
    # A row can be one of a former owner. The conversation alone says who owns it.
    return "viewer" if role == "viewer" else "member"


def require(connection: Connection, conversation: str, by: str | None, needs: Needs) -> Any:
    """Lock the conversation, and check that the user `by` may do something in it. None may do everything.

    Return what `lock` returns.

    :raises NotFoundError: the conversation does not exist, or the user takes no part in it.
    :raises ForbiddenError: the user may do less.
    """
    found = lock(connection, conversation)
    if by is None:
        return found
    if found is None:
        raise NotFoundError(NOT_FOUND)
    if found["owner"] == by:
        return found
    role = joined_role(connection, conversation, by)
    if role is None:
        raise NotFoundError(NOT_FOUND)
    if needs == "own":
        raise ForbiddenError(OWNER_ONLY)
    if needs == "write" and role == "viewer":
        raise ForbiddenError(READ_ONLY)
    return found
