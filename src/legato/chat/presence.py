"""Who is here, and who is typing. Pure state: the time is an argument, in seconds of any clock that only goes forward.

It is what this server knows of its own connections. A bus that tells the servers of one another carries these two.
"""

from msgspec import Struct

TYPING_SECONDS = 6.0
"""How long somebody types who says nothing more of it."""


class Present(Struct, frozen=True):
    """A person who is here, through so many connections. `name` is how they are called, where it is known."""

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
        """How somebody who is here is called."""
        here = self._here.get(conversation, {}).get(user)
        return here.name if here is not None else None

    def here(self, conversation: str) -> dict[str, int]:
        """The connections of everybody who is here, first come first."""
        return {user: here.connections for user, here in self._here.get(conversation, {}).items()}


class TypingTracker:
    """Who is typing where, and until when that counts."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}

    def begin(self, conversation: str, user: str, now: float) -> bool:
        """They type, at `now`; whether that is news."""
        key = (conversation, user)
        news = key not in self._until
        self._until.pop(key, None)
        self._until[key] = now + TYPING_SECONDS
        return news

    def end(self, conversation: str, user: str) -> bool:
        """They type no more, or have sent it; whether that is news."""
        return self._until.pop((conversation, user), None) is not None

    def lapse(self, now: float) -> list[tuple[str, str]]:
        """Forget those who said nothing for too long; who they were, as (conversation, user)."""
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
        """When the next one lapses; None where nobody types."""
        return next(iter(self._until.values()), None)

    def typing(self, conversation: str, user: str) -> bool:
        return (conversation, user) in self._until
