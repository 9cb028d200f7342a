"""Full-text search: the one query that differs between SQLite and PostgreSQL."""

from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Integer,
    Text,
    bindparam,
    cast,
    column,
    exists,
    func,
    literal_column,
    select,
    table,
    union_all,
)
from sqlalchemy.dialects.postgresql import TSQUERY

from legato.domain.conversation import Conversation
from legato.domain.message import searchable_text
from legato.storage.base import SearchHit
from legato.storage.sql.codec import conversation_of, parts_of, text_of_cut
from legato.storage.sql.conversations import check_limit
from legato.storage.sql.tables import conversations, messages, participants, passages
from legato.storage.sql.tokenizer import SEARCHED_LENGTH, SNIPPET_LENGTH, Term, snippet_of, terms_of

MAX_HITS = 200
"""Maximum hits that one call returns."""

READ_LENGTH = SEARCHED_LENGTH + 20_000
"""Characters of a message as JSON that are read for its snippet."""

FOLDED_LENGTH = 1_000_000
"""Characters beyond ASCII that one search looks through for its snippets; a million take about 0.3 s."""


class FoundText(NamedTuple):
    """A hit before its snippet is made. `parts` is the beginning of the message's parts as JSON, None if the title matched."""

    conversation: Conversation
    message: str | None
    parts: str | None


_index = table("passages_index", column("rowid", Integer), column("passages_index"))
_number = _index.c.rowid + 0
"""The sum makes SQLite query its index once, and not once for each passage of the user, which takes far longer."""
_terms = bindparam("terms", type_=Text())
_vector = func.array_to_tsvector(func.string_to_array(passages.c.words, literal_column("' '")))
_query = cast(_terms, TSQUERY)
_conversations_of_user = union_all(
    select(conversations.c.id).where(conversations.c.owner == bindparam("user")),
    select(participants.c.conversation).where(participants.c.user == bindparam("user")),
)
_readable = select(passages.c.number).where(passages.c.conversation.in_(_conversations_of_user))

_HAS_PASSAGES = select(exists(_readable))


def _best(score: Any, *hits: Any) -> Any:
    """Select the passage of each conversation with the lowest score. Short passages have a low score; equal ones are ordered by age, newest first."""
    hit = (
        select(passages.c.number, passages.c.conversation, passages.c.message, score.label("score"))
        .where(*hits)
        .subquery("hit")
    )
    order = (hit.c.score, hit.c.number.desc())
    place = func.row_number().over(partition_by=hit.c.conversation, order_by=order)
    best = select(hit, place.label("place")).subquery("best")
    return (
        select(
            conversations,
            best.c.message,
            func.substr(messages.c.parts, 1, literal_column(str(READ_LENGTH))).label("parts"),
        )
        .select_from(
            best.join(conversations, conversations.c.id == best.c.conversation).outerjoin(
                messages, messages.c.id == best.c.message
            )
        )
        .where(best.c.place == 1)
        .order_by(best.c.score, best.c.number.desc())
        .limit(bindparam("limit"))
    )


_FIND = {
    "sqlite": _best(
        func.bm25(literal_column("passages_index")),
        _number == passages.c.number,
        _number.in_(_readable.correlate(None)),
        _index.c.passages_index.match(_terms),
    ),
    "postgresql": _best(
        -func.ts_rank(_vector, _query, 1),
        passages.c.conversation.in_(_conversations_of_user),
        _vector.bool_op("@@")(_query),
    ),
}


def find(connection: Connection, user: str, query: str, limit: int) -> list[FoundText]:
    """:raises InvalidError: the limit is not between 1 and 200."""
    check_limit(limit, MAX_HITS)
    terms = terms_of(query)
    if not terms:
        return []
    # The index covers the passages of all users. A user without passages need not wait for it.
    if not connection.execute(_HAS_PASSAGES, {"user": user}).scalar_one():
        return []
    dialect = connection.dialect.name
    parameters = {"terms": _query_text(dialect, terms), "user": user, "limit": limit}
    rows = connection.execute(_FIND[dialect], parameters).mappings()
    return [FoundText(conversation_of(row), row["message"], row["parts"]) for row in rows]


def hits_of(found: list[FoundText], query: str) -> list[SearchHit]:
    """Return the hits with their snippets. The time is bounded: of long texts beyond `FOLDED_LENGTH`, the beginning is shown."""
    terms = terms_of(query)
    hits, room = [], FOLDED_LENGTH
    for each in found:
        text = _text_of(each)
        if not text.isascii():
            text = text[: max(room, 2 * SNIPPET_LENGTH)]
            room -= len(text)
        hits.append(SearchHit(each.conversation, each.message, snippet_of(text, terms)))
    return hits


def _text_of(found: FoundText) -> str:
    if found.parts is None:
        return found.conversation.title
    if len(found.parts) < READ_LENGTH:
        return searchable_text(parts_of(found.parts))
    return text_of_cut(found.parts)


def _query_text(dialect: str, terms: list[Term]) -> str:
    """Return the terms in the query language of the database. They consist of letters and digits, so quoting them is enough."""
    if dialect == "sqlite":
        return " AND ".join(f'"{term.word}"{"*" if term.prefix else ""}' for term in terms)
    return " & ".join(f"'{term.word}'{':*' if term.prefix else ''}" for term in terms)
