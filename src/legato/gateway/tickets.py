"""Tickets: a browser sends one instead of its token to open a socket. Each is valid once, for a short time."""

import secrets
from collections.abc import Callable

import msgspec

from legato.broker.base import OneTimeValues
from legato.domain.user import User
from legato.errors import UnauthenticatedError

TTL = 30.0
"""Seconds for which a ticket is valid."""

PER_USER = 16
"""Tickets that one user can hold at once."""

_KIND = "ticket"
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(User).decode


def random_ticket() -> str:
    """Return 256 random bits as text."""
    return secrets.token_urlsafe(32)


class Tickets:
    """Issue tickets and take them back, on any gateway that shares `values`.

    A user holds at most `per_user` tickets: one more replaces their oldest, so a user takes up no room of others.
    """

    def __init__(
        self,
        values: OneTimeValues,
        *,
        ttl: float = TTL,
        per_user: int = PER_USER,
        make: Callable[[], str] = random_ticket,
    ) -> None:
        self.ttl = ttl
        self._values = values
        self._per_user = per_user
        self._make = make

    async def issue(self, user: User) -> str:
        """Return a new ticket of `user`, valid once within `ttl` seconds.

        :raises BusyError: too many tickets are held at once.
        """
        ticket = self._make()
        await self._values.put(
            _KIND, ticket, _encode(user), self.ttl, owner=user.id, per_owner=self._per_user
        )
        return ticket

    async def take(self, ticket: str) -> User:
        """Return the user of a ticket, and invalidate it.

        :raises UnauthenticatedError: it was used before, is too old, or was never issued.
        """
        found = await self._values.take(_KIND, ticket)
        if found is None:
            raise UnauthenticatedError("This ticket was used before or is too old. Ask for a new one.")
        return _decode(found)
