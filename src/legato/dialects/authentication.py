"""Authentication of a socket: the credentials that a client shows, and the user they belong to."""

from typing import Protocol

from msgspec import Struct

from legato.dialects.base import Handshake
from legato.domain.user import User
from legato.errors import ForbiddenError
from legato.protocol.bearer import bearer_token

AUTHENTICATION_SECONDS = 10.0
"""Seconds after which a socket without an authenticated user is closed."""

HELLO_BYTES = 64 * 1024
"""The longest message of a client that has shown no credentials yet: what is unauthenticated costs little memory."""


class Credentials(Struct, frozen=True):
    """What a client shows: a token, or a ticket that is good for one use."""

    token: str | None = None
    ticket: str | None = None


class Authenticate(Protocol):
    """Return the user that the credentials belong to.

    :raises UnauthenticatedError: with a sentence that says why they are not enough.
    :raises BusyError: they cannot be checked now.
    """

    async def __call__(self, *, token: str | None = None, ticket: str | None = None) -> User: ...


def header_credentials(handshake: Handshake) -> Credentials | None:
    """Return the token of the `Authorization: Bearer` header, or None if there is none."""
    token = bearer_token(handshake.headers.get("authorization", ""))
    return Credentials(token) if token else None


def handshake_credentials(handshake: Handshake) -> Credentials:
    """Return the token of the `Authorization: Bearer` header or, without one, that of the query."""
    return header_credentials(handshake) or Credentials(handshake.query.get("token"))


async def authenticate_for_chat(authenticate: Authenticate, credentials: Credentials) -> User:
    """Return the user that the credentials belong to.

    :raises UnauthenticatedError: the credentials are not enough.
    :raises ForbiddenError: the user may not chat.
    :raises BusyError: the credentials cannot be checked now.
    """
    user = await authenticate(token=credentials.token, ticket=credentials.ticket)
    require_chat_scope(user)
    return user


def require_chat_scope(user: User) -> None:
    """:raises ForbiddenError: the token of this user does not allow to chat."""
    if "chat" not in user.scopes:
        raise ForbiddenError("This token does not allow its owner to chat.")
