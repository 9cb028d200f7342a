"""Streams of the APIs, each function inside a transaction of its caller."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from legato.storage.api_base import FrameBatch, StoredStream, StreamEnding
from legato.storage.sql.codec import to_json
from legato.storage.sql.tables import api_frames, api_streams

EXPIRED_AT_ONCE = 500
"""How many streams one transaction deletes at most."""

_SECOND = 1_000_000
_BY_ID = select(api_streams).where(api_streams.c.id == bindparam("stream"))
_BY_KEY = select(api_streams).where(
    api_streams.c.owner == bindparam("of"), api_streams.c.idempotency_key == bindparam("key")
)
_FRAMES = (
    select(api_frames.c.sizes, api_frames.c.data)
    .where(api_frames.c.stream == bindparam("of"))
    .order_by(api_frames.c.first)
)
_END = (
    update(api_streams)
    .where(api_streams.c.id == bindparam("of"), ~api_streams.c.ended)
    .values(ended=True, error=bindparam("why"))
)
_RESULT = update(api_streams).where(api_streams.c.id == bindparam("of")).values(result=bindparam("what"))
_RESTART = (
    update(api_streams)
    .where(api_streams.c.id == bindparam("of"), ~api_streams.c.ended)
    .values(incarnation=api_streams.c.incarnation + 1)
)
_EXPIRED = (
    select(api_streams.c.id)
    .where(api_streams.c.expires_at <= bindparam("now"), api_streams.c.ended)
    .order_by(api_streams.c.expires_at)
    .limit(EXPIRED_AT_ONCE)
)


def add(connection: Connection, stream: StoredStream) -> StoredStream:
    values = {
        **{
            name: getattr(stream, name)
            for name in ("id", "owner", "api", "format", "model", "incarnation", "ended")
        },
        "options": to_json(stream.options),
        "created_at": round(stream.created_at * _SECOND),
        "expires_at": round(stream.expires_at * _SECOND),
        "error": _optional(stream.error),
        "idempotency_key": stream.idempotency_key,
        "fingerprint": stream.fingerprint,
        "request": _optional(stream.request),
        "result": _optional(stream.result),
    }
    try:
        with connection.begin_nested():
            connection.execute(insert(api_streams), values)
    except IntegrityError:
        if stream.idempotency_key is None:
            raise
        row = connection.execute(_BY_KEY, {"of": stream.owner, "key": stream.idempotency_key}).one()
        return _stream(row._mapping)
    return stream


def get(connection: Connection, stream: str) -> StoredStream | None:
    row = connection.execute(_BY_ID, {"stream": stream}).one_or_none()
    return _stream(row._mapping) if row is not None else None


def frames(connection: Connection, stream: str) -> list[bytes]:
    found: list[bytes] = []
    for sizes, data in connection.execute(_FRAMES, {"of": stream}):
        at = 0
        for size in msgspec.json.decode(sizes, type=list[int]):
            found.append(bytes(data[at : at + size]))
            at += size
    return found


def append(connection: Connection, batches: Sequence[FrameBatch], ends: Sequence[StreamEnding]) -> None:
    named = {batch.stream for batch in batches} | {end.stream for end in ends}
    open_streams = select(api_streams.c.id, api_streams.c.incarnation).where(
        api_streams.c.id.in_(named), ~api_streams.c.ended
    )
    known = {(row.id, row.incarnation) for row in connection.execute(open_streams)}
    rows = [
        {
            "stream": batch.stream,
            "first": batch.first,
            "sizes": to_json([len(frame) for frame in batch.frames]),
            "data": b"".join(batch.frames),
        }
        for batch in batches
        if (batch.stream, batch.incarnation) in known
    ]
    if rows:
        connection.execute(insert(api_frames), rows)
    for end in ends:
        if (end.stream, end.incarnation) not in known:
            continue
        connection.execute(_END, {"of": end.stream, "why": _optional(end.error)})
        if end.result is not None:
            connection.execute(_RESULT, {"of": end.stream, "what": to_json(end.result)})


def running(connection: Connection) -> list[StoredStream]:
    rows = connection.execute(
        select(api_streams).where(~api_streams.c.ended).order_by(api_streams.c.created_at)
    )
    return [_stream(row._mapping) for row in rows]


def failed(connection: Connection, api: str, since: float, most: int) -> list[StoredStream]:
    rows = connection.execute(
        select(api_streams)
        .where(
            api_streams.c.api == api,
            api_streams.c.created_at >= round(since * _SECOND),
            api_streams.c.error.is_not(None),
        )
        .order_by(api_streams.c.created_at.desc())
        .limit(most)
    )
    return [_stream(row._mapping) for row in reversed(rows.all())]


def restart(connection: Connection, stream: str) -> StoredStream | None:
    if not connection.execute(_RESTART, {"of": stream}).rowcount:
        return None
    return get(connection, stream)


def remove(connection: Connection, stream: str) -> bool:
    return bool(connection.execute(delete(api_streams).where(api_streams.c.id == stream)).rowcount)


def keep(connection: Connection, streams: Sequence[str], until: float) -> None:
    micros = round(until * _SECOND)
    for first in range(0, len(streams), EXPIRED_AT_ONCE):
        ids = streams[first : first + EXPIRED_AT_ONCE]
        connection.execute(
            update(api_streams)
            .where(api_streams.c.id.in_(ids), api_streams.c.expires_at < micros)
            .values(expires_at=micros)
        )


def expire(connection: Connection, now: float) -> int:
    ids = list(connection.scalars(_EXPIRED, {"now": round(now * _SECOND)}))
    if ids:
        connection.execute(delete(api_streams).where(api_streams.c.id.in_(ids)))
    return len(ids)


def _optional(value: object) -> str | None:
    return None if value is None else to_json(value)


def _stream(row: Any) -> StoredStream:
    values = dict(row)
    for name in ("created_at", "expires_at"):
        values[name] /= _SECOND
    for name in ("options", "request", "result"):
        values[name] = None if values[name] is None else msgspec.json.decode(values[name])
    error = values["error"]
    values["error"] = None if error is None else msgspec.json.decode(error, type=tuple[str, str])
    return StoredStream(**values)
