"""Who asks."""

from msgspec import Struct

EVERYTHING = frozenset({"chat", "admin"})

NAME_LENGTH = 200
"""Characters of what a person is called, at most."""


class User(Struct, frozen=True):
    """An authenticated user. `expires` is when the proof of it runs out, in seconds since the epoch (None: never)."""

    id: str
    name: str | None = None
    scopes: frozenset[str] = EVERYTHING
    expires: float | None = None
