"""Who takes part in a conversation, and the links by which one joins, each function inside a transaction of its caller."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from legato.domain.conversation import Conversation
from legato.domain.invitation import Invitation
from legato.domain.participant import MAX_PARTICIPANTS, Participant, ParticipantRole
from legato.errors import ConflictError, NotFoundError
from legato.storage.sql import conversations as of_conversations
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
from legato.storage.sql.tables import conversations, invitations, participants

_OWNER = select(conversations.c.owner, conversations.c.created_at).where(
    conversations.c.id == bindparam("conversation")
)
_BY_CONVERSATION = (
    select(participants)
    .where(participants.c.conversation == bindparam("of"))
    .order_by(participants.c.joined_at, participants.c.user)
)
_THIS = and_(participants.c.conversation == bindparam("of"), participants.c.user == bindparam("who"))
_ONE = select(participants).where(_THIS)
_COUNT = select(func.count()).select_from(participants).where(participants.c.conversation == bindparam("of"))
_KEY = [participants.c.conversation, participants.c.user]


def _raised(excluded: Any) -> dict[str, Any]:
    """What joining again changes: a viewer may become a member, never the other way, and a name may become known."""
    raised = and_(participants.c.standing == "viewer", excluded.standing == "member")
    return {
        "standing": case((raised, "member"), else_=participants.c.standing),
        "name": func.coalesce(excluded.name, participants.c.name),
    }


_in_sqlite = sqlite.insert(participants)
_in_postgresql = postgresql.insert(participants)
_ADMIT = {
    "sqlite": _in_sqlite.on_conflict_do_update(index_elements=_KEY, set_=_raised(_in_sqlite.excluded)),
    "postgresql": _in_postgresql.on_conflict_do_update(
        index_elements=_KEY, set_=_raised(_in_postgresql.excluded)
    ),
}
_CHANGE = update(participants).where(_THIS).values(standing=bindparam("becomes"))
_EXPEL = delete(participants).where(_THIS)
_LOCK = _OWNER.with_for_update()
"""Locks the conversation too, so that what is counted next stays true until the commit."""
_HAND_OVER = of_conversations.changed(owner=bindparam("to")).where(
    select(participants.c.user)
    .where(participants.c.conversation == bindparam("in"), participants.c.user == bindparam("to"))
    .exists()
)
_STANDINGS = select(participants.c.conversation, participants.c.standing).where(
    participants.c.user == bindparam("of"),
    participants.c.conversation.in_(bindparam("these", expanding=True)),
)
_INVITE = insert(invitations)
_INVITATIONS = (
    select(invitations)
    .where(invitations.c.conversation == bindparam("of"), invitations.c.expires_at > bindparam("now"))
    .order_by(invitations.c.created_at, invitations.c.id)
)
_COUNT_INVITATIONS = (
    select(func.count()).select_from(invitations).where(invitations.c.conversation == bindparam("of"))
)
_STALE = delete(invitations).where(
    invitations.c.conversation == bindparam("of"), invitations.c.expires_at <= bindparam("now")
)
_BY_DIGEST = select(invitations).where(
    invitations.c.digest == bindparam("shown"), invitations.c.expires_at > bindparam("now")
)
_TAKE_BACK = delete(invitations).where(
    invitations.c.conversation == bindparam("of"), invitations.c.id == bindparam("which")
)


def everyone(connection: Connection, conversation: str) -> list[Participant]:
    """The owner, then those who joined, in the order in which they came; nobody where there is no such conversation."""
    owned = connection.execute(_OWNER, {"conversation": conversation}).mappings().first()
    if owned is None:
        return []
    rows = connection.execute(_BY_CONVERSATION, {"of": conversation}).mappings().all()
    owner, began = owned["owner"], moment(owned["created_at"])
    name = next((row["name"] for row in rows if row["user"] == owner), None)
    others = [participant_of(row) for row in rows if row["user"] != owner]
    return [Participant(conversation, owner, "owner", began, name), *others]


def admit(connection: Connection, participant: Participant) -> Participant:
    """:raises NotFoundError: there is no such conversation. :raises ConflictError: it has `MAX_PARTICIPANTS`, and this is one more."""
    made = participant_row(participant)
    of = participant.conversation
    owner = connection.execute(_LOCK, {"conversation": of}).mappings().first()
    if owner is None:
        raise NotFoundError("There is no such conversation.")
    known = connection.execute(_ONE, {"of": of, "who": participant.user}).first()
    new = known is None and participant.role != "owner"
    if new and connection.execute(_COUNT, {"of": of}).scalar_one() >= MAX_PARTICIPANTS:
        raise ConflictError(
            f"{MAX_PARTICIPANTS} people take part in this conversation, and it takes no more."
        )
    return _add(connection, participant, made, owner)


def _add(
    connection: Connection, participant: Participant, made: Row, owner: Mapping[Any, Any]
) -> Participant:
    """Write the row. `owner` has the conversation's `owner` and `created_at`."""
    connection.execute(_ADMIT[connection.dialect.name], made)
    key = {"of": participant.conversation, "who": participant.user}
    row = dict(connection.execute(_ONE, key).mappings().one())
    if owner["owner"] == participant.user:
        return participant_of(row | {"standing": "owner", "joined_at": owner["created_at"]})
    return participant_of(row)


def join(
    connection: Connection, digest: str, user: str, name: str | None, now: datetime
) -> Participant | None:
    """Admit whom an invitation lets in; None where there is none of this digest, or it is over."""
    row = connection.execute(_BY_DIGEST, {"shown": digest, "now": micros(now)}).mappings().first()
    if row is None:
        return None
    invitation = invitation_of(row)
    return admit(connection, Participant(invitation.conversation, user, invitation.role, now, name))


def change(connection: Connection, conversation: str, user: str, role: ParticipantRole) -> Participant | None:
    key = {"of": conversation, "who": user}
    if connection.execute(_CHANGE, key | {"becomes": role}).rowcount == 0:
        return None
    return participant_of(connection.execute(_ONE, key).mappings().one())


def expel(connection: Connection, conversation: str, user: str) -> bool:
    return connection.execute(_EXPEL, {"of": conversation, "who": user}).rowcount > 0


def hand_over(connection: Connection, conversation: str, user: str, now: datetime) -> Conversation | None:
    """Another owner: one who takes part already. The one before stays, as a member."""
    owned = connection.execute(_LOCK, {"conversation": conversation}).mappings().first()
    if owned is None or owned["owner"] == user:
        return None
    parameters = {"in": conversation, "to": user, "now": micros(now)}
    row = connection.execute(_HAND_OVER, parameters).mappings().first()
    if row is None:
        return None
    former = Participant(conversation, owned["owner"], "member", now)
    _add(connection, former, participant_row(former), row)
    # The row of a former owner may hold any role; the conversation's `owner` decides who owns it.
    connection.execute(_CHANGE, {"of": conversation, "who": former.user, "becomes": "member"})
    return conversation_of(row)


def standings(connection: Connection, user: str, these: list[str]) -> dict[str, ParticipantRole]:
    rows = connection.execute(_STANDINGS, {"of": user, "these": these}).mappings()
    return {row["conversation"]: row["standing"] for row in rows}


def invite(connection: Connection, invitation: Invitation, limit: int) -> None:
    """:raises NotFoundError: there is no such conversation. :raises ConflictError: there are too many, or there is such an invitation."""
    made = invitation_row(invitation)
    if connection.execute(_LOCK, {"conversation": invitation.conversation}).first() is None:
        raise NotFoundError("There is no such conversation.")
    connection.execute(_STALE, {"of": invitation.conversation, "now": made["created_at"]})
    if connection.execute(_COUNT_INVITATIONS, {"of": invitation.conversation}).scalar_one() >= limit:
        raise ConflictError(f"There are {limit} open invitations already. Take some back first.")
    try:
        connection.execute(_INVITE, made)
    except IntegrityError as error:
        raise ConflictError("There is already an invitation of this id or secret.") from error


def open_invitations(connection: Connection, conversation: str, now: datetime) -> list[Invitation]:
    rows = connection.execute(_INVITATIONS, {"of": conversation, "now": micros(now)}).mappings()
    return [invitation_of(row) for row in rows]


def take_back(connection: Connection, conversation: str, invitation: str) -> bool:
    return connection.execute(_TAKE_BACK, {"of": conversation, "which": invitation}).rowcount > 0
