"""Making a connection, and what its refusal or its end means."""

import asyncio
import errno
import os
from socket import gaierror

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from legato import errors
from legato.client.address import is_here
from legato.client.socket import Socket
from legato.errors import (
    BusyError,
    ForbiddenError,
    InvalidError,
    LegatoError,
    UnauthenticatedError,
    UnreachableError,
)
from legato.protocol.close import CloseCode, reconnects
from legato.protocol.messages import PROTOCOL, Error

FRAME = 64 * 1024 * 1024
"""Bytes of the longest frame that is taken from a server."""

PATIENCE = 10.0
"""Seconds until a handshake is through, at most."""


async def dial(url: str, token: str | None) -> ClientConnection:
    """A connection to `url`, with a JWT in its handshake if there is one.

    :raises UnreachableError: it may be there later.
    :raises UnauthenticatedError: it does not take this token.
    :raises InvalidError: there is something else.
    """
    try:
        return await connect(
            url,
            create_connection=Socket,
            subprotocols=[Subprotocol(PROTOCOL)],
            additional_headers={"Authorization": f"Bearer {token}"} if token else {},
            compression=None,
            proxy=None if is_here(url) else True,
            open_timeout=PATIENCE,
            close_timeout=1.0,
            # Silence is watched in the protocol's own words, which pass every proxy.
            ping_interval=None,
            max_size=FRAME,
        )
    except InvalidStatus as error:
        raise _status_error(url, error.response.status_code) from None
    except InvalidURI:
        raise InvalidError(f"{url} is not the address of a server.") from None
    except InvalidHandshake as error:
        raise UnreachableError(f"What answers at {url} is no Legato: {error}.") from None
    except TimeoutError:
        raise UnreachableError(f"Nothing answers at {url} within {PATIENCE:g} s.") from None
    except (OSError, EOFError) as error:
        raise UnreachableError(f"No server answers at {url}: {_reason(error)}.") from None


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


async def hang_up(socket: ClientConnection, dead: bool) -> None:
    """Close; a peer that is gone is not waited for."""
    if dead:
        socket.transport.abort()
    try:
        await socket.close()
    except (OSError, asyncio.IncompleteReadError):
        socket.transport.abort()


def _status_error(url: str, status: int) -> LegatoError:
    if status == 401:
        return UnauthenticatedError(f"{url} wants to know who you are, and does not take this token.")
    if status == 403:
        return ForbiddenError(f"{url} does not allow this connection.")
    if status == 404:
        return InvalidError(f"There is a server at {url}, and it is no Legato.")
    return UnreachableError(f"The server at {url} cannot answer now (HTTP {status}).")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, gaierror) and error.errno:
        return os.strerror(error.errno).lower()
    # A name with several addresses gives one error that quotes all of them.
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return (
        "connection refused"
        if said.startswith(f"Multiple exceptions: [Errno {errno.ECONNREFUSED}]")
        else said
    )


def _all(kind: type[LegatoError]) -> list[type[LegatoError]]:
    return [kind, *(each for below in kind.__subclasses__() for each in _all(below))]


_BY_CODE = {kind.code: kind for kind in _all(errors.LegatoError) if kind is not BusyError}
