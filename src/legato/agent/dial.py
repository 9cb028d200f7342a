"""Making the connection to a server, and what its refusal or its end means."""

import asyncio
import ssl
from urllib.parse import urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidProxy, InvalidStatus, InvalidURI

from legato import __version__
from legato.client.address import is_here, parts_of
from legato.client.socket import Socket
from legato.errors import ForbiddenError, InvalidError, UnauthenticatedError, UnreachableError
from legato.protocol.close import CloseCode, reconnects

PATH = "/ws/agents"

PATIENCE = 10.0
"""Seconds until a handshake is through, at most."""

FRAME = 64 * 1024 * 1024
"""Bytes of the longest frame that is taken: a job may carry images."""

PING = 10.0
"""Seconds between two pings. One without a pong for `PONG` seconds means that nobody is there."""

PONG = 20.0


def socket_url(server: str) -> str:
    """The address of the agents' door: `chat.example`, `https://chat.example`, `ws://host:8081/any/path?key=…`.

    :raises InvalidError: this is no address.
    """
    parts = parts_of(server)
    if parts is None:
        raise InvalidError(
            f"{without_key(server)!r} is not the address of a server. Write one like ws://127.0.0.1:8000{PATH}."
        )
    return urlunsplit(parts._replace(path=parts.path if parts.path.strip("/") else PATH))


def without_key(url: str) -> str:
    """`url` as it may be shown: without its query and its user, where keys stand."""
    before, separator, rest = url.partition("://")
    place = (rest if separator else before).partition("?")[0]
    host, slash, path = place.partition("/")
    return f"{before + separator if separator else ''}{host.rpartition('@')[2]}{slash}{path}"


async def dial(url: str, key: str | None) -> ClientConnection:
    """A connection to `url`, with the key in its handshake if there is one.

    :raises UnreachableError: it may be there later.
    :raises UnauthenticatedError: it wants a key, or another one.
    :raises ForbiddenError: it does not take this agent.
    """
    shown = without_key(url)
    secure = url.startswith("wss:")
    try:
        return await connect(
            url,
            create_connection=Socket,
            additional_headers={"Authorization": f"Bearer {key}"} if key else {},
            user_agent_header=f"legato/{__version__}",
            compression=None,
            proxy=None if is_here(url) else True,
            ssl=_tls() if secure else None,
            open_timeout=PATIENCE,
            close_timeout=1.0,
            ping_interval=PING,
            ping_timeout=PONG,
            max_size=FRAME,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        if status == 401:
            raise UnauthenticatedError(_wrong_key(shown, key)) from None
        if status == 403:
            raise ForbiddenError(
                f"The server at {shown} does not take this agent. Ask for a key that may."
            ) from None
        if status == 404:
            raise UnreachableError(
                f"There is a server at {shown}, and no door for agents. Check the path."
            ) from None
        raise UnreachableError(f"The server at {shown} cannot answer now (HTTP {status}).") from None
    except InvalidURI as error:
        raise UnreachableError(
            f"The server at {shown} sends us to {without_key(error.uri)}: if that is right, give it as --server."
        ) from None
    except (InvalidHandshake, InvalidProxy) as error:
        raise UnreachableError(f"What answers at {shown} is no Legato: {error}.") from None
    except TimeoutError:
        raise UnreachableError(f"Nothing answers at {shown} within {PATIENCE:g} s.") from None
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(
            f"The certificate of {shown} is not trusted ({error.verify_message}): install the authority that signed it "
            "in the system, or name its file in SSL_CERT_FILE."
        ) from None
    except ImportError as error:
        raise UnreachableError(f"The proxy before {shown} cannot be used: {error}.") from None
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreachableError(f"No server answers at {shown}: {reason}.") from None


def closing(closed: ConnectionClosed, complaint: str | None, shown: str, key: str | None) -> tuple[str, bool]:
    """Why the connection ended, and whether the server said that it is of no use to come back soon.

    `complaint` is what the server said last.

    :raises UnauthenticatedError: it wants a key, or another one.
    :raises ForbiddenError: it does not take this agent.
    """
    if closed.rcvd is None:
        return "The connection broke.", False
    code, reason = closed.rcvd.code, closed.rcvd.reason
    if code in (CloseCode.UNAUTHENTICATED, CloseCode.REVOKED):
        raise UnauthenticatedError(complaint or _wrong_key(shown, key))
    if code == CloseCode.FORBIDDEN:
        raise ForbiddenError(
            complaint or f"The server at {shown} does not take this agent: {reason or code}."
        )
    return complaint or reason or f"The server closed the connection ({code}).", not reconnects(code)


async def hang_up(socket: ClientConnection) -> None:
    """Close, with a word if there is still somebody."""
    try:
        await socket.close()
    except (OSError, asyncio.IncompleteReadError):
        socket.transport.abort()


def _wrong_key(shown: str, key: str | None) -> str:
    if key is None:
        return f"The server at {shown} wants a key: give one with --key or LEGATO_AGENT_KEY."
    return f"The server at {shown} does not take this key. Check --key or LEGATO_AGENT_KEY."


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Authorities made at home often lack the key identifiers that Python 3.13 asks for by default.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
