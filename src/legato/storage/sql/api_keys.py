"""API keys, each function inside a transaction of its caller."""

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, insert, select, update

from legato.errors import ConflictError
from legato.storage.api_base import ApiKeyRecord
from legato.storage.sql.codec import to_json
from legato.storage.sql.tables import api_keys

_SECOND = 1_000_000
_REVOKE = (
    update(api_keys)
    .where(api_keys.c.id == bindparam("key"), api_keys.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("now"))
)

_SAME_NAME = (
    select(api_keys.c.id)
    .where(
        api_keys.c.user == bindparam("of"),
        api_keys.c.name == bindparam("named"),
        api_keys.c.revoked_at.is_(None),
    )
    .limit(1)
)

IDS_AT_ONCE = 500
"""How many ids one query names at most."""


def add(connection: Connection, key: ApiKeyRecord) -> None:
    if connection.execute(_SAME_NAME, {"of": key.user, "named": key.name}).first() is not None:
        raise ConflictError(
            f"{key.user} has a key with the name {key.name!r}. Choose another name, or revoke that key first."
        )
    values = {
        **{name: getattr(key, name) for name in ("id", "user", "name", "digest")},
        **{name: to_json(getattr(key, name)) for name in ("scopes", "models", "limits")},
        **{name: _micros(getattr(key, name)) for name in ("created_at", "expires_at", "revoked_at")},
    }
    connection.execute(insert(api_keys), values)


def of_user(connection: Connection, user: str | None) -> list[ApiKeyRecord]:
    query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
    if user is not None:
        query = query.where(api_keys.c.user == user)
    return [_record(row._mapping) for row in connection.execute(query)]


def by_digest(connection: Connection, digest: str) -> ApiKeyRecord | None:
    row = connection.execute(select(api_keys).where(api_keys.c.digest == digest)).one_or_none()
    return _record(row._mapping) if row is not None else None


def by_id(connection: Connection, ids: Collection[str]) -> list[ApiKeyRecord]:
    found: list[ApiKeyRecord] = []
    for first in range(0, len(ids), IDS_AT_ONCE):
        some = list(ids)[first : first + IDS_AT_ONCE]
        rows = connection.execute(select(api_keys).where(api_keys.c.id.in_(some)))
        found += [_record(row._mapping) for row in rows]
    return found


def revoke(connection: Connection, key: str, now: float) -> bool:
    return bool(connection.execute(_REVOKE, {"key": key, "now": _micros(now)}).rowcount)


def _micros(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * _SECOND)


def _record(row: Any) -> ApiKeyRecord:
    values = dict(row)
    for name in ("created_at", "expires_at", "revoked_at"):
        values[name] = None if values[name] is None else values[name] / _SECOND
    values["scopes"] = msgspec.json.decode(values["scopes"], type=tuple[str, ...])
    values["models"] = msgspec.json.decode(values["models"], type=tuple[str, ...])
    values["limits"] = msgspec.json.decode(values["limits"], type=dict[str, int])
    return ApiKeyRecord(**values)
