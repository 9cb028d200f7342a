"""Connects to a server for a user, and translates a refusal or the end of a connection."""

import asyncio

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from legato import errors
from legato.client.open_socket import open_socket
from legato.errors import (
    BusyError,
    ForbiddenError,
    InvalidError,
    LegatoError,
    UnauthenticatedError,
)
from legato.protocol.close_codes import CloseCode, reconnects
from legato.protocol.messages import PROTOCOL, Error


async def connect(url: str, token: str | None) -> ClientConnection:
    """Return a connection to `url`, with a JWT in its handshake unless `token` is None.

    :raises UnreachableError: the server cannot be reached now.
    :raises UnauthenticatedError: it does not accept this token. :raises ForbiddenError: it refuses this user.
    :raises InvalidError: the server is not a Legato.
    """
    # The protocol has pings of its own, which pass every proxy.
    return await open_socket(url, token, _refusal, subprotocols=[PROTOCOL])


def close_reason(closed: ConnectionClosed, last_error: str | None) -> str:
    """Return why the connection ended, if the client may reconnect. `last_error` is the last error of the server.

    :raises LegatoError: reconnecting is of no use.
    """
    if closed.rcvd is None:
        return "the connection broke"
    code, reason = closed.rcvd.code, closed.rcvd.reason
    if reconnects(code):
        return reason or "the server closed the connection"
    if code in (CloseCode.UNAUTHENTICATED, CloseCode.REVOKED):
        raise UnauthenticatedError(
            last_error or f"The server does not take this token: {reason or 'it is not valid'}."
        )
    if code == CloseCode.FORBIDDEN:
        raise ForbiddenError(
            last_error or f"The server does not allow this: {reason or 'no reason is given'}."
        )
    raise InvalidError(
        last_error or f"The server ended the connection for good: {reason or 'no reason'} ({code})."
    )


def error_of(answer: Error) -> LegatoError:
    """Return the exception for an error of the server."""
    if answer.code == BusyError.code:
        return BusyError(answer.message, answer.retry_after or 1.0)
    return _BY_CODE.get(answer.code, LegatoError)(answer.message)


async def close_socket(socket: ClientConnection, is_dead: bool = False) -> None:
    """Close a connection. If it `is_dead`, do not wait for the peer."""
    if is_dead:
        socket.transport.abort()
    try:
        await socket.close()
    except (OSError, asyncio.IncompleteReadError):
        socket.transport.abort()


def _refusal(shown: str, status: int) -> LegatoError | None:
    match status:
        case 401:
            return UnauthenticatedError(f"{shown} wants to know who you are, and does not take this token.")
        case 403:
            return ForbiddenError(f"{shown} does not allow this connection.")
        case 404:
            return InvalidError(f"There is a server at {shown}, and it is no Legato.")
    return None


def _all(kind: type[LegatoError]) -> list[type[LegatoError]]:
    return [kind, *(each for below in kind.__subclasses__() for each in _all(below))]


_BY_CODE = {kind.code: kind for kind in _all(errors.LegatoError) if kind is not BusyError}
