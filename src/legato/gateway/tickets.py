"""Tickets: what a browser shows instead of its token when it opens a socket. Once, soon, and never again."""

import secrets
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from legato.domain.user import User
from legato.errors import BusyError, UnauthenticatedError

TTL = 30.0
CAPACITY = 10_000
EACH = 16


def random_ticket() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


class _Ticket(Struct):
    person: User
    ends: float


class Tickets:
    """The tickets that were given and not yet shown, in memory; times are seconds of a monotonic clock.

    One person holds at most `each`: another one takes the place of their oldest, so nobody can use up the room of others.
    """

    def __init__(
        self,
        ttl: float = TTL,
        capacity: int = CAPACITY,
        each: int = EACH,
        make: Callable[[], str] = random_ticket,
    ) -> None:
        self.ttl = ttl
        self._capacity = capacity
        self._each = each
        self._make = make
        self._tickets: dict[str, _Ticket] = {}
        self._held: dict[str, deque[str]] = {}

    def __len__(self) -> int:
        return len(self._tickets)

    def issue(self, person: User, now: float) -> str:
        """A new ticket of this person, good once within `ttl` seconds.

        :raises BusyError: there are too many at once.
        """
        self._drop_ended(now)
        held = self._held.get(person.id)
        if held is not None and len(held) >= self._each:
            self._drop(held[0])
        if len(self._tickets) >= self._capacity:
            raise BusyError("Too many people are signing in at once. Try again in a moment.", self.ttl)
        ticket = self._make()
        self._tickets[ticket] = _Ticket(person, now + self.ttl)
        self._held.setdefault(person.id, deque()).append(ticket)
        return ticket

    def take(self, ticket: str, now: float) -> User:
        """Whose ticket this is. From now on it is nobody's.

        :raises UnauthenticatedError: it was shown before, is too old, or was never given.
        """
        found = self._drop(ticket)
        if found is None or found.ends <= now:
            raise UnauthenticatedError("This ticket was used before or is too old. Ask for a new one.")
        return found.person

    def _drop_ended(self, now: float) -> None:
        # All live equally long, so the oldest end first.
        while self._tickets:
            oldest = next(iter(self._tickets))
            if self._tickets[oldest].ends > now:
                return
            self._drop(oldest)

    def _drop(self, ticket: str) -> _Ticket | None:
        found = self._tickets.pop(ticket, None)
        if found is not None:
            held = self._held[found.person.id]
            held.remove(ticket)
            if not held:
                del self._held[found.person.id]
        return found
