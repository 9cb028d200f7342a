"""Making a connection, and what its refusal or its end means."""

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


async def dial(url: str, token: str | None) -> ClientConnection:
    """A connection to `url`, with a JWT in its handshake if there is one.

    :raises UnreachableError: it may be there later.
    :raises UnauthenticatedError: it does not take this token. :raises ForbiddenError: nor this person.
    :raises InvalidError: there is something else.
    """
    # Silence is watched in the protocol's own words, which pass every proxy.
    return await open_socket(url, token, _refusal, subprotocols=[PROTOCOL])


def closing(closed: ConnectionClosed, complaint: str | None) -> str:
    """Why the connection ended, where one may come back. `complaint` is what the server said last.

    :raises LegatoError: where it is of no use to come back.
    """
    if closed.rcvd is None:
        return "the connection broke"
    code, reason = closed.rcvd.code, closed.rcvd.reason
    if reconnects(code):
        return reason or "the server closed the connection"
    if code in (CloseCode.UNAUTHENTICATED, CloseCode.REVOKED):
        raise UnauthenticatedError(
            complaint or f"The server does not take this token: {reason or 'it is not valid'}."
        )
    if code == CloseCode.FORBIDDEN:
        raise ForbiddenError(
            complaint or f"The server does not allow this: {reason or 'no reason is given'}."
        )
    raise InvalidError(
        complaint or f"The server ended the connection for good: {reason or 'no reason'} ({code})."
    )


def error_of(answer: Error) -> LegatoError:
    """The exception that the server's error stands for."""
    if answer.code == BusyError.code:
        return BusyError(answer.message, answer.retry_after or 1.0)
    return _BY_CODE.get(answer.code, LegatoError)(answer.message)


async def hang_up(socket: ClientConnection, dead: bool = False) -> None:
    """Close; a peer that is gone is not waited for."""
    if dead:
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
