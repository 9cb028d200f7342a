"""Running replies and their owners, each function inside a transaction of its caller."""

from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam, delete, insert, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from legato.errors import NotFoundError, StaleError
from legato.storage.base import AdoptedReply, NewTurn, ReplyOwner
from legato.storage.sql import journal, rights
from legato.storage.sql.codec import message_of
from legato.storage.sql.tables import approvals, gateways, messages, running

NOT_DECIDED = "This reply is not running, so none of its tools can be decided on."

_AHEAD = literal_column(
    "(SELECT count(*) FROM running AS earlier"
    " WHERE earlier.conversation = running.conversation AND earlier.number < running.number)",
    BigInteger(),
).label("ahead")
"""As text: SQLAlchemy drops the names of tables in a RETURNING clause."""

_INSERT = insert(running).returning(_AHEAD)
_DELETE = (
    delete(running)
    .where(
        running.c.reply == bindparam("reply"),
        running.c.gateway == bindparam("gateway"),
        running.c.term == bindparam("term"),
    )
    .returning(running.c.user)
)
_REGISTER = {
    "sqlite": sqlite.insert(gateways).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(gateways).on_conflict_do_nothing(),
}
_ADOPTABLE = (
    select(running.c.number)
    .where(running.c.gateway.in_(bindparam("gone", expanding=True)))
    .order_by(running.c.number)
    .with_for_update(skip_locked=True)
)
_ADOPT = (
    update(running)
    .where(running.c.number.in_(_ADOPTABLE))
    .values(gateway=bindparam("new_gateway"), term=running.c.term + 1)
    .returning(running.c.reply)
)
_ADOPTED = (
    select(messages, running.c.term, running.c.user, running.c.wanted)
    .join(running, running.c.reply == messages.c.id)
    .where(running.c.gateway == bindparam("owner"))
    .order_by(running.c.number)
)
_DECISIONS_OF_GATEWAY = (
    select(approvals).join(running).where(running.c.gateway == bindparam("owner")).order_by(approvals.c.call)
)
_EMPTY = (
    select(gateways.c.id)
    .where(
        gateways.c.id.in_(bindparam("gone", expanding=True)),
        ~select(running.c.number).where(running.c.gateway == gateways.c.id).exists(),
    )
    .order_by(gateways.c.id)
)
_UNREGISTER = delete(gateways).where(gateways.c.id == bindparam("empty"))
_RUNNING = (
    select(running.c.number)
    .where(running.c.conversation == bindparam("of"))
    .order_by(running.c.number)
    .with_for_update()
)
_STOP = update(running).values(wanted="stop").returning(running.c.reply, running.c.number)
_STOP_ALL = _STOP.where(running.c.number.in_(_RUNNING))
_STOP_ONE = _STOP.where(running.c.number.in_(_RUNNING.where(running.c.reply == bindparam("only"))))
_STOPS = (
    select(running.c.reply)
    .where(running.c.gateway == bindparam("owner"), running.c.wanted == "stop")
    .order_by(running.c.number)
)
_CONVERSATION = select(running.c.conversation).where(running.c.reply == bindparam("of"))
_KEY = [approvals.c.reply, approvals.c.call]
_DECIDE = {
    "sqlite": sqlite.insert(approvals).on_conflict_do_nothing(index_elements=_KEY),
    "postgresql": postgresql.insert(approvals).on_conflict_do_nothing(index_elements=_KEY),
}
_DECISION = select(approvals.c.allow).where(
    approvals.c.reply == bindparam("of"), approvals.c.call == bindparam("this")
)
_DECISIONS = select(approvals.c.call, approvals.c.allow).where(approvals.c.reply == bindparam("of"))


def start(connection: Connection, turn: NewTurn, conversation: str) -> tuple[ReplyOwner, int]:
    """Give the reply of a turn to its gateway. Return the owner, and how many replies of the conversation are ahead.

    :raises StaleError: the gateway was declared dead.
    """
    owner = ReplyOwner(turn.gateway)
    row = {
        "reply": turn.reply.id,
        "conversation": conversation,
        "gateway": owner.gateway,
        "term": owner.term,
        "user": turn.user,
    }
    try:
        ahead: int = connection.execute(_INSERT, row).scalar_one()
    except IntegrityError as error:
        raise StaleError("This gateway was declared dead and runs no more replies.") from error
    return owner, ahead


def end(connection: Connection, reply: str, owner: ReplyOwner) -> str | None:
    """Remove the row of a reply that has ended. Return the user for whom it ran, None if `owner` does not run it."""
    key = {"reply": reply, "gateway": owner.gateway, "term": owner.term}
    user: str | None = connection.execute(_DELETE, key).scalar()
    return user


def adopt(connection: Connection, gateway: str, gone: list[str]) -> list[AdoptedReply]:
    connection.execute(_REGISTER[connection.dialect.name], {"id": gateway})
    adopted = set(connection.execute(_ADOPT, {"gone": gone, "new_gateway": gateway}).scalars())
    rows = [
        row for row in connection.execute(_ADOPTED, {"owner": gateway}).mappings() if row["id"] in adopted
    ]
    decisions: dict[str, dict[str, bool]] = {reply: {} for reply in adopted}
    for row in connection.execute(_DECISIONS_OF_GATEWAY, {"owner": gateway}).mappings():
        decisions.get(row["reply"], {})[row["call"]] = row["allow"]
    events = journal.read(connection, gone, adopted)
    if gateway not in gone:
        journal.carry_over(connection, gateway, events)
    _forget(connection, [each for each in gone if each != gateway])
    return [
        AdoptedReply(
            message=message_of(row),
            owner=ReplyOwner(gateway, row["term"]),
            user=row["user"],
            events=events[row["id"]],
            stop_requested=row["wanted"] == "stop",
            decisions=decisions[row["id"]],
        )
        for row in rows
    ]


def _forget(connection: Connection, gone: list[str]) -> None:
    """Remove gateways without running replies, and their journals. From then on such a gateway cannot begin a turn."""
    for empty in connection.execute(_EMPTY, {"gone": gone}).scalars().all():
        connection.execute(_UNREGISTER, {"empty": empty})
        journal.drop(connection, empty)


def request_stop(
    connection: Connection, conversation: str, reply: str | None, by: str | None = None
) -> list[str]:
    rights.require(connection, conversation, by, "write")
    parameters: dict[str, Any] = {"of": conversation}
    if reply is None:
        rows = connection.execute(_STOP_ALL, parameters).all()
    else:
        rows = connection.execute(_STOP_ONE, parameters | {"only": reply}).all()
    return [row.reply for row in sorted(rows, key=lambda row: row.number)]


def stop_requests(connection: Connection, gateway: str) -> list[str]:
    return list(connection.execute(_STOPS, {"owner": gateway}).scalars())


def decide(connection: Connection, reply: str, call: str, allow: bool, by: str | None = None) -> bool:
    """:raises NotFoundError: the reply does not run."""
    if by is not None:
        conversation: str | None = connection.execute(_CONVERSATION, {"of": reply}).scalar()
        if conversation is None:
            raise NotFoundError(NOT_DECIDED)
        rights.require(connection, conversation, by, "write")
    try:
        connection.execute(_DECIDE[connection.dialect.name], {"reply": reply, "call": call, "allow": allow})
    except IntegrityError as error:
        raise NotFoundError(NOT_DECIDED) from error
    first: bool = connection.execute(_DECISION, {"of": reply, "this": call}).scalar_one()
    return first


def decisions(connection: Connection, reply: str) -> dict[str, bool]:
    return {row.call: row.allow for row in connection.execute(_DECISIONS, {"of": reply})}
