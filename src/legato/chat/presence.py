"""Who is here and who is typing, as far as this server's own connections tell.

Pure state: the time is an argument, in seconds of any clock that never goes backwards.
"""

from msgspec import Struct

TYPING_SECONDS = 6.0
"""Seconds after which a user who says nothing more of it no longer types."""


class Present(Struct, frozen=True):
    """A user who is here, through so many connections. `name` is the display name, None if it is unknown."""

    user: str
    name: str | None
    connections: int
    typing: bool


class _Here(Struct):
    name: str | None
    connections: int


class ConnectionCounts:
    """The connections of every user in every conversation."""

    def __init__(self) -> None:
        self._here: dict[str, dict[str, _Here]] = {}

    def enter(self, conversation: str, user: str, name: str | None = None) -> None:
        """Count one more connection of a user. The latest name counts."""
        here = self._here.setdefault(conversation, {})
        known = here.setdefault(user, _Here(name, 0))
        known.connections += 1
        known.name = name or known.name

    def leave(self, conversation: str, user: str) -> bool:
        """Count one connection of a user less, and return whether it was the last one. For a user who is not here, nothing changes."""
        here = self._here.get(conversation, {})
        if user not in here:
            return False
        here[user].connections -= 1
        if here[user].connections:
            return False
        del here[user]
        if not here:
            del self._here[conversation]
        return True

    def count(self, conversation: str, user: str) -> int:
        """Return how many connections a user has."""
        here = self._here.get(conversation, {}).get(user)
        return here.connections if here is not None else 0

    def name(self, conversation: str, user: str) -> str | None:
        """Return the display name of a user who is here."""
        here = self._here.get(conversation, {}).get(user)
        return here.name if here is not None else None

    def here(self, conversation: str) -> dict[str, int]:
        """Return the connections of every user who is here, the one who came first first."""
        return {user: here.connections for user, here in self._here.get(conversation, {}).items()}


class TypingTracker:
    """Tracks who is typing where, and until when that counts."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}

    def begin(self, conversation: str, user: str, now: float) -> bool:
        """Note that a user types at `now`. Return whether that is new."""
        key = (conversation, user)
        news = key not in self._until
        self._until.pop(key, None)
        self._until[key] = now + TYPING_SECONDS
        return news

    def end(self, conversation: str, user: str) -> bool:
        """Note that a user types no more. Return whether that is new."""
        return self._until.pop((conversation, user), None) is not None

    def lapse(self, now: float) -> list[tuple[str, str]]:
        """Forget those who said nothing for too long, and return them as (conversation, user)."""
        over: list[tuple[str, str]] = []
        for key, until in self._until.items():
            if until > now:
                break
            over.append(key)
        for key in over:
            del self._until[key]
        return over

    @property
    def next(self) -> float | None:
        """When the next one lapses; None if nobody types."""
        return next(iter(self._until.values()), None)

    def typing(self, conversation: str, user: str) -> bool:
        return (conversation, user) in self._until
