"""Participants and invitations. Each function runs inside a transaction of its caller."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from legato.domain.conversation import Conversation
from legato.domain.invitation import Invitation
from legato.domain.participant import MAX_PARTICIPANTS, NOT_FOUND, OWNER_STAYS, Participant, ParticipantRole
from legato.errors import ConflictError, NotFoundError
from legato.storage.sql import conversations as of_conversations
from legato.storage.sql import rights
from legato.storage.sql.codec import (
    Row,
    conversation_of,
    invitation_of,
    invitation_row,
    micros,
    moment,
    participant_of,
    participant_row,
)
from legato.storage.sql.tables import conversations, invitations, messages, participants

_OWNER = select(conversations.c.owner, conversations.c.created_at).where(
    conversations.c.id == bindparam("conversation")
)
_BY_CONVERSATION = (
    select(participants)
    .where(participants.c.conversation == bindparam("conversation"))
    .order_by(participants.c.joined_at, participants.c.user)
)
_IS_THIS_ONE = and_(
    participants.c.conversation == bindparam("in_conversation"), participants.c.user == bindparam("of_user")
)
_ONE = select(participants).where(_IS_THIS_ONE)
_COUNT = (
    select(func.count())
    .select_from(participants)
    .where(participants.c.conversation == bindparam("conversation"))
)
_KEY = [participants.c.conversation, participants.c.user]


def _merged(excluded: Any) -> dict[str, Any]:
    """What a second join changes: a viewer can become a member, never the reverse, and an unknown name is set."""
    raised = and_(participants.c.standing == "viewer", excluded.standing == "member")
    return {
        "standing": case((raised, "member"), else_=participants.c.standing),
        "name": func.coalesce(excluded.name, participants.c.name),
    }


_in_sqlite = sqlite.insert(participants)
_in_postgresql = postgresql.insert(participants)
_UPSERT = {
    "sqlite": _in_sqlite.on_conflict_do_update(index_elements=_KEY, set_=_merged(_in_sqlite.excluded)),
    "postgresql": _in_postgresql.on_conflict_do_update(
        index_elements=_KEY, set_=_merged(_in_postgresql.excluded)
    ),
}
_SET_ROLE = update(participants).where(_IS_THIS_ONE).values(standing=bindparam("role"))
_REMOVE = delete(participants).where(_IS_THIS_ONE)
_SET_OWNER = of_conversations.changed(owner=bindparam("to")).where(
    select(participants.c.user)
    .where(participants.c.conversation == bindparam("in"), participants.c.user == bindparam("to"))
    .exists()
)
_ROLES = select(participants.c.conversation, participants.c.standing).where(
    participants.c.user == bindparam("user"),
    participants.c.conversation.in_(bindparam("ids", expanding=True)),
)
_TAKES_PART = and_(
    participants.c.conversation == conversations.c.id, participants.c.user == bindparam("of_user")
)
_ROLE = (
    select(conversations.c.owner, participants.c.standing)
    .select_from(conversations.outerjoin(participants, _TAKES_PART))
    .where(conversations.c.id == bindparam("in_conversation"))
)
_CONVERSATION_OF = (
    select(messages.c.conversation, conversations.c.owner, participants.c.standing)
    .select_from(
        messages.join(conversations, conversations.c.id == messages.c.conversation).outerjoin(
            participants, _TAKES_PART
        )
    )
    .where(messages.c.id == bindparam("reply"), messages.c.role == "assistant")
)
_INVITE = insert(invitations)
_INVITATIONS = (
    select(invitations)
    .where(
        invitations.c.conversation == bindparam("conversation"), invitations.c.expires_at > bindparam("now")
    )
    .order_by(invitations.c.created_at, invitations.c.id)
)
_COUNT_INVITATIONS = (
    select(func.count())
    .select_from(invitations)
    .where(invitations.c.conversation == bindparam("conversation"))
)
_DROP_EXPIRED = delete(invitations).where(
    invitations.c.conversation == bindparam("conversation"), invitations.c.expires_at <= bindparam("now")
)
_BY_DIGEST = select(invitations).where(
    invitations.c.digest == bindparam("digest"), invitations.c.expires_at > bindparam("now")
)
_REVOKE = delete(invitations).where(
    invitations.c.conversation == bindparam("conversation"), invitations.c.id == bindparam("invitation")
)


def list_all(connection: Connection, conversation: str) -> list[Participant]:
    """Return the owner, then the participants in the order in which they joined; nothing if the conversation does not exist."""
    found = connection.execute(_OWNER, {"conversation": conversation}).mappings().first()
    if found is None:
        return []
    rows = connection.execute(_BY_CONVERSATION, {"conversation": conversation}).mappings().all()
    owner, began = found["owner"], moment(found["created_at"])
    name = next((row["name"] for row in rows if row["user"] == owner), None)
    others = [participant_of(row) for row in rows if row["user"] != owner]
    return [Participant(conversation, owner, "owner", began, name), *others]


def add(connection: Connection, participant: Participant) -> Participant:
    """Add a participant.

    :raises NotFoundError: the conversation does not exist.
    :raises ConflictError: it has `MAX_PARTICIPANTS` already.
    """
    made = participant_row(participant)
    of = participant.conversation
    owner = rights.lock(connection, of)
    if owner is None:
        raise NotFoundError(NOT_FOUND)
    known = connection.execute(_ONE, {"in_conversation": of, "of_user": participant.user}).first()
    new = known is None and participant.role != "owner"
    if new and connection.execute(_COUNT, {"conversation": of}).scalar_one() >= MAX_PARTICIPANTS:
        raise ConflictError(
            f"{MAX_PARTICIPANTS} people take part in this conversation, and it takes no more."
        )
    return _add(connection, participant, made, owner)


def _add(
    connection: Connection, participant: Participant, made: Row, owner: Mapping[Any, Any]
) -> Participant:
    """Write the row. `owner` has the conversation's `owner` and `created_at`."""
    connection.execute(_UPSERT[connection.dialect.name], made)
    key = {"in_conversation": participant.conversation, "of_user": participant.user}
    row = dict(connection.execute(_ONE, key).mappings().one())
    if owner["owner"] == participant.user:
        return participant_of(row | {"standing": "owner", "joined_at": owner["created_at"]})
    return participant_of(row)


def invitation(connection: Connection, digest: str, now: datetime) -> Invitation | None:
    row = connection.execute(_BY_DIGEST, {"digest": digest, "now": micros(now)}).mappings().first()
    return None if row is None else invitation_of(row)


def join(
    connection: Connection, digest: str, user: str, name: str | None, now: datetime
) -> Participant | None:
    """Add a participant by an invitation. Return None if it does not exist or has expired."""
    valid = {"digest": digest, "now": micros(now)}
    row = connection.execute(_BY_DIGEST, valid).mappings().first()
    if row is None:
        return None
    rights.lock(connection, row["conversation"])
    # It may have been revoked before the lock was there.
    row = connection.execute(_BY_DIGEST, valid).mappings().first()
    if row is None:
        return None
    invitation = invitation_of(row)
    return add(connection, Participant(invitation.conversation, user, invitation.role, now, name))


def set_role(
    connection: Connection, conversation: str, user: str, role: ParticipantRole, by: str | None = None
) -> Participant | None:
    rights.require(connection, conversation, by, "own")
    key = {"in_conversation": conversation, "of_user": user}
    if connection.execute(_SET_ROLE, key | {"role": role}).rowcount == 0:
        return None
    return participant_of(connection.execute(_ONE, key).mappings().one())


def remove(connection: Connection, conversation: str, user: str, by: str | None = None) -> bool:
    """:raises ConflictError: the user owns the conversation."""
    found = rights.require(connection, conversation, by, "read" if by == user else "own")
    if found is not None and found["owner"] == user:
        raise ConflictError(OWNER_STAYS)
    return connection.execute(_REMOVE, {"in_conversation": conversation, "of_user": user}).rowcount > 0


def transfer_ownership(
    connection: Connection, conversation: str, user: str, now: datetime, by: str | None = None
) -> Conversation | None:
    """Make a participant the owner. The former owner stays as a member."""
    found = rights.require(connection, conversation, by, "own")
    if found is None or found["owner"] == user:
        return None
    parameters = {"in": conversation, "to": user, "now": micros(now)}
    row = connection.execute(_SET_OWNER, parameters).mappings().first()
    if row is None:
        return None
    former = Participant(conversation, found["owner"], "member", now)
    _add(connection, former, participant_row(former), row)
    # The row of a former owner may hold any role; the conversation's `owner` decides who owns it.
    connection.execute(_SET_ROLE, {"in_conversation": conversation, "of_user": former.user, "role": "member"})
    return conversation_of(row)


def role(connection: Connection, user: str, conversation: str) -> ParticipantRole | None:
    keys = {"of_user": user, "in_conversation": conversation}
    row = connection.execute(_ROLE, keys).mappings().first()
    return None if row is None else _role_in(row, user)


def _role_in(row: Mapping[Any, Any], user: str) -> ParticipantRole | None:
    """A row of `participants` can be one of a former owner. The conversation alone says who owns it."""
    if row["owner"] == user:
        return "owner"
    if row["standing"] is None:
        return None
    return "viewer" if row["standing"] == "viewer" else "member"


def conversation_of_reply(connection: Connection, user: str, reply: str) -> str | None:
    row = connection.execute(_CONVERSATION_OF, {"of_user": user, "reply": reply}).mappings().first()
    if row is None or _role_in(row, user) is None:
        return None
    found: str = row["conversation"]
    return found


def roles(connection: Connection, user: str, ids: list[str]) -> dict[str, ParticipantRole]:
    rows = connection.execute(_ROLES, {"user": user, "ids": ids}).mappings()
    return {row["conversation"]: row["standing"] for row in rows}


def invite(
    connection: Connection,
    invitation: Invitation,
    limit: int,
    by: str | None = None,
    name: str | None = None,
) -> Participant | None:
    """Create an invitation. With `name`, note the display name of the owner `by`, and return the owner.

    :raises NotFoundError: the conversation does not exist.
    :raises ConflictError: it has `limit` valid ones, or one with this id or digest exists.
    """
    made = invitation_row(invitation)
    owner = rights.require(connection, invitation.conversation, by, "own")
    if owner is None:
        raise NotFoundError(NOT_FOUND)
    connection.execute(_DROP_EXPIRED, {"conversation": invitation.conversation, "now": made["created_at"]})
    if (
        connection.execute(_COUNT_INVITATIONS, {"conversation": invitation.conversation}).scalar_one()
        >= limit
    ):
        raise ConflictError(f"There are {limit} open invitations already. Take some back first.")
    try:
        connection.execute(_INVITE, made)
    except IntegrityError as error:
        raise ConflictError("There is already an invitation of this id or secret.") from error
    if by is None or name is None:
        return None
    named = Participant(invitation.conversation, by, "owner", invitation.created_at, name)
    return _add(connection, named, participant_row(named), owner)


def valid_invitations(connection: Connection, conversation: str, now: datetime) -> list[Invitation]:
    rows = connection.execute(_INVITATIONS, {"conversation": conversation, "now": micros(now)}).mappings()
    return [invitation_of(row) for row in rows]


def revoke(connection: Connection, conversation: str, invitation: str, by: str | None = None) -> bool:
    rights.require(connection, conversation, by, "own")
    return connection.execute(_REVOKE, {"conversation": conversation, "invitation": invitation}).rowcount > 0
