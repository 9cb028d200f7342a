"""Finding passages: the one question that SQLite and PostgreSQL are asked in different words."""

from sqlalchemy import Connection, Text, bindparam, cast, column, func, literal_column, or_, select, table
from sqlalchemy.dialects.postgresql import TSQUERY

from legato.message import text_of
from legato.storage.base import Found
from legato.storage.sql.codec import conversation_of, parts_of
from legato.storage.sql.conversations import check_limit, taken_part_in
from legato.storage.sql.tables import conversations, messages, passages
from legato.storage.sql.words import Term, snippet_of, terms_of

MOST = 100
"""The most that one call finds."""

_index = table("passages_index", column("rowid"), column("passages_index"))
_asked = bindparam("terms", type_=Text())
_vector = func.array_to_tsvector(func.string_to_array(passages.c.words, literal_column("' '")))
_query = cast(_asked, TSQUERY)

_FOUND = (
    select(conversations, passages.c.message, messages.c.parts)
    .select_from(
        passages.join(conversations, conversations.c.id == passages.c.conversation).outerjoin(
            messages, messages.c.id == passages.c.message
        )
    )
    .where(or_(conversations.c.owner == bindparam("of"), taken_part_in()))
    .limit(bindparam("most"))
)
_FIND = {
    "sqlite": _FOUND.where(
        _index.c.rowid == passages.c.number, _index.c.passages_index.match(_asked)
    ).order_by(func.bm25(literal_column("passages_index")), passages.c.number.desc()),
    "postgresql": _FOUND.where(_vector.bool_op("@@")(_query)).order_by(
        func.ts_rank(_vector, _query, 1).desc(), passages.c.number.desc()
    ),
}
"""Short passages first, which say little else; then the newest."""


def find(connection: Connection, person: str, query: str, limit: int) -> list[Found]:
    """:raises InvalidError: the limit is out of bounds."""
    check_limit(limit, MOST)
    terms = terms_of(query)
    if not terms:
        return []
    dialect = connection.dialect.name
    parameters = {"terms": _written(dialect, terms), "of": person, "most": limit}
    rows = connection.execute(_FIND[dialect], parameters).mappings()
    return [
        Found(
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
