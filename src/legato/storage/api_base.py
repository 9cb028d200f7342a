"""The contract of what the APIs store: streams that outlive their connection, keys, and usage.

Times are in seconds since the epoch, UTC.
"""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from msgspec import Struct, field


class StoredStream(Struct, frozen=True):
    """A response of an API that is kept in the database.

    `format` and `options` name the codec that wrote its frames. `idempotency_key` is unique for an owner. `error` is the code and
    the sentence of a failure. `request` and `result` are JSON of the API's own, for example an object of OpenAI's Responses.
    """

    id: str
    owner: str
    api: str
    format: str
    model: str
    created_at: float
    expires_at: float
    options: dict[str, Any] = field(default_factory=dict)
    incarnation: int = 1
    ended: bool = False
    error: tuple[str, str] | None = None
    idempotency_key: str | None = None
    fingerprint: str = ""
    request: Any = None
    result: Any = None


class FrameBatch(Struct, frozen=True):
    """Consecutive frames of one stream. `first` is the offset of the first byte."""

    stream: str
    first: int
    frames: Sequence[bytes]
    incarnation: int = 1


class StreamEnding(Struct, frozen=True):
    """How a stream ended. `result` replaces the stored one unless it is None."""

    stream: str
    error: tuple[str, str] | None = None
    result: Any = None
    incarnation: int = 1


class ApiKeyRecord(Struct, frozen=True):
    """An API key. The key itself is not stored, only `digest`, its SHA-256 in hexadecimal.

    `models` are the names that it may use, empty: all. `limits` override those of the settings: `requests_per_minute`,
    `streams`, `tokens_per_day`.
    """

    id: str
    user: str
    name: str
    digest: str
    created_at: float
    scopes: tuple[str, ...] = ("chat", "embed")
    models: tuple[str, ...] = ()
    limits: dict[str, int] = field(default_factory=dict)
    expires_at: float | None = None
    revoked_at: float | None = None


class UsageRecord(Struct, frozen=True):
    """What one key (empty: without a key) of one user used of one model on one day (UTC, `2026-11-30`)."""

    day: str
    user: str
    key: str
    model: str
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class ApiStreamStore(Protocol):
    """Streams. Every call may raise StorageError."""

    async def add_stream(self, stream: StoredStream) -> StoredStream:
        """Store a new stream and return it. If its owner has a stream with the same idempotency key, return that one instead."""
        ...

    async def stream(self, stream: str) -> StoredStream | None:
        """Return a stream that has not expired by its own time; the caller compares `expires_at`."""
        ...

    async def frames(self, stream: str) -> list[bytes]:
        """Return all stored frames of a stream, in order."""
        ...

    async def append_frames(self, batches: Sequence[FrameBatch], ends: Sequence[StreamEnding] = ()) -> None:
        """Append frames and end streams, in one transaction.

        A stream that was deleted, has ended or has another incarnation is skipped: another server ended it.
        """
        ...

    async def running_streams(self) -> list[StoredStream]:
        """Return the streams that have no end."""
        ...

    async def failed_streams(self, api: str, since: float, most: int) -> list[StoredStream]:
        """Return the streams of an API that were created at `since` or later and ended with an error: the `most` newest, the oldest first."""
        ...

    async def restart_stream(self, stream: str) -> StoredStream | None:
        """Increase the incarnation of a stream that has no end, and return it."""
        ...

    async def delete_stream(self, stream: str) -> bool:
        """Delete a stream with its frames. Return whether it existed."""
        ...

    async def keep_streams(self, streams: Sequence[str], until: float) -> None:
        """Keep streams at least until this time. Those that do not exist are skipped."""
        ...

    async def expire_streams(self, now: float) -> int:
        """Delete ended streams whose time is over, at most 500. Return how many."""
        ...


class ApiKeyStore(Protocol):
    """API keys. Every call may raise StorageError."""

    async def add_key(self, key: ApiKeyRecord) -> None:
        """Store a new key.

        :raises ConflictError: its user has a key of this name that is not revoked.
        """
        ...

    async def keys(self, user: str | None = None) -> list[ApiKeyRecord]:
        """Return the keys of a user, or all, the oldest first."""
        ...

    async def key_by_digest(self, digest: str) -> ApiKeyRecord | None:
        """Return the key with this digest, also if it is revoked or has expired."""
        ...

    async def keys_by_id(self, ids: Collection[str]) -> list[ApiKeyRecord]:
        """Return the keys with these ids, also if they are revoked or have expired."""
        ...

    async def revoke_key(self, key: str, now: float) -> bool:
        """Revoke a key. Return whether it exists and was not revoked before."""
        ...


class UsageStore(Protocol):
    """Usage by day, user, key and model. Every call may raise StorageError."""

    async def add_usage(self, records: Sequence[UsageRecord]) -> None:
        """Add the numbers of these records to what is stored."""
        ...

    async def usage(self, since: str, user: str | None = None) -> list[UsageRecord]:
        """Return the usage from a day on, of one user or of all, the newest day first."""
        ...
