"""Finding passages: the one question that SQLite and PostgreSQL are asked in different words."""

from typing import Any

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

from legato.domain.message import text_of
from legato.storage.base import SearchHit
from legato.storage.sql.codec import conversation_of, parts_of
from legato.storage.sql.conversations import check_limit
from legato.storage.sql.tables import conversations, messages, participants, passages
from legato.storage.sql.tokenizer import Term, snippet_of, terms_of

MOST = 200
"""The most that one call finds."""

_index = table("passages_index", column("rowid", Integer), column("passages_index"))
_number = _index.c.rowid + 0
"""A sum keeps SQLite from asking its index anew for every passage of a person, which takes far longer than once for all."""
_asked = bindparam("terms", type_=Text())
_vector = func.array_to_tsvector(func.string_to_array(passages.c.words, literal_column("' '")))
_query = cast(_asked, TSQUERY)
_theirs = union_all(
    select(conversations.c.id).where(conversations.c.owner == bindparam("of")),
    select(participants.c.conversation).where(participants.c.user == bindparam("of")),
)
_readable = select(passages.c.number).where(passages.c.conversation.in_(_theirs))

_HAS_ANY = select(exists(_readable))


def _best(score: Any, *hits: Any) -> Any:
    """The passage of each conversation with the lowest score: short ones first, which say little else; then the newest."""
    hit = (
        select(passages.c.number, passages.c.conversation, passages.c.message, score.label("score"))
        .where(*hits)
        .subquery("hit")
    )
    order = (hit.c.score, hit.c.number.desc())
    place = func.row_number().over(partition_by=hit.c.conversation, order_by=order)
    best = select(hit, place.label("place")).subquery("best")
    return (
        select(conversations, best.c.message, messages.c.parts)
        .select_from(
            best.join(conversations, conversations.c.id == best.c.conversation).outerjoin(
                messages, messages.c.id == best.c.message
            )
        )
        .where(best.c.place == 1)
        .order_by(best.c.score, best.c.number.desc())
        .limit(bindparam("most"))
    )


_FIND = {
    "sqlite": _best(
        func.bm25(literal_column("passages_index")),
        _number == passages.c.number,
        _number.in_(_readable.correlate(None)),
        _index.c.passages_index.match(_asked),
    ),
    "postgresql": _best(
        -func.ts_rank(_vector, _query, 1),
        passages.c.conversation.in_(_theirs),
        _vector.bool_op("@@")(_query),
    ),
}


def find(connection: Connection, user: str, query: str, limit: int) -> list[SearchHit]:
    """:raises InvalidError: the limit is out of bounds."""
    check_limit(limit, MOST)
    terms = terms_of(query)
    if not terms:
        return []
    # What others have may be much, and is looked through only by who has something as well.
    if not connection.execute(_HAS_ANY, {"of": user}).scalar_one():
        return []
    dialect = connection.dialect.name
    parameters = {"terms": _written(dialect, terms), "of": user, "most": limit}
    rows = connection.execute(_FIND[dialect], parameters).mappings()
    return [
        SearchHit(
            conversation=conversation_of(row),
            message=row["message"],
            snippet=snippet_of(
                row["title"] if row["parts"] is None else text_of(parts_of(row["parts"])), terms
            ),
        )
        for row in rows
    ]


def _written(dialect: str, terms: list[Term]) -> str:
    """Terms are letters and digits, so that quotes around them are all they need."""
    if dialect == "sqlite":
        return " AND ".join(f'"{term.word}"{"*" if term.prefix else ""}' for term in terms)
    return " & ".join(f"'{term.word}'{':*' if term.prefix else ''}" for term in terms)
