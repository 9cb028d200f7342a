"""An authenticated user."""

from msgspec import Struct

ALL_SCOPES = frozenset({"chat", "admin"})

MAX_USER_NAME_LENGTH = 200
"""Maximum characters of a display name."""


class User(Struct, frozen=True):
    """An authenticated user. `expires` is when the credential expires, in seconds since the epoch (None: never)."""

    id: str
    name: str | None = None
    scopes: frozenset[str] = ALL_SCOPES
    expires: float | None = None
