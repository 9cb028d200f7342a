"""Usage of the APIs by day, each function inside a transaction of its caller."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, insert, select, update

from legato.storage.api_base import UsageRecord
from legato.storage.sql.tables import api_usage

_KEYS = ("day", "user", "key", "model")
_NUMBERS = ("requests", "prompt_tokens", "completion_tokens")
_ADD = (
    update(api_usage)
    .where(*[api_usage.c[name] == bindparam(f"at_{name}") for name in _KEYS])
    .values(**{name: api_usage.c[name] + bindparam(f"more_{name}") for name in _NUMBERS})
)


def add(connection: Connection, records: Sequence[UsageRecord]) -> None:
    # Sorted, so that two gateways lock the rows in the same order.
    for record in sorted(records, key=lambda each: [getattr(each, name) for name in _KEYS]):
        values = {f"at_{name}": getattr(record, name) for name in _KEYS}
        values |= {f"more_{name}": getattr(record, name) for name in _NUMBERS}
        if not connection.execute(_ADD, values).rowcount:
            connection.execute(
                insert(api_usage), {name: getattr(record, name) for name in (*_KEYS, *_NUMBERS)}
            )


def since(connection: Connection, day: str, user: str | None) -> list[UsageRecord]:
    query = select(api_usage).where(api_usage.c.day >= day)
    if user is not None:
        query = query.where(api_usage.c.user == user)
    query = query.order_by(
        api_usage.c.day.desc(), api_usage.c.user, api_usage.c.key, api_usage.c.model
    ).limit(10_000)
    return [UsageRecord(**row._mapping) for row in connection.execute(query)]
