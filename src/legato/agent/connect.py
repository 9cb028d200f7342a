"""Connect to a server, and explain its refusal or the end of the connection."""

from urllib.parse import urlunsplit

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from legato.client.address import parts_of, without_key
from legato.client.open_socket import open_socket
from legato.errors import ForbiddenError, InvalidError, LegatoError, UnauthenticatedError, UnreachableError
from legato.protocol.close_codes import CloseCode, reconnects

PATH = "/ws/agents"

PING = 10.0
"""Seconds between two pings. A ping without a pong for `PONG` seconds means that the server is gone."""

PONG = 20.0


def socket_url(server: str) -> str:
    """Return the address of the endpoint for agents: `chat.example`, `https://chat.example/chat`, `ws://host:8081/any/path?key=…`.

    The path of a `ws` or `wss` address is kept. The path of another address is the one below which a proxy publishes the server.

    :raises InvalidError: the address is not valid.
    """
    parts = parts_of(server)
    if parts is None:
        raise InvalidError(
            f"{without_key(server)!r} is not the address of a server. Write one like ws://127.0.0.1:8000{PATH}."
        )
    path = parts.path.rstrip("/")
    is_whole = path.endswith(PATH) or (path and server.strip().lower().startswith(("ws://", "wss://")))
    return urlunsplit(parts._replace(path=parts.path if is_whole else f"{path}{PATH}"))


async def connect(url: str, key: str | None) -> ClientConnection:
    """Connect to `url`, with the key in the handshake if there is one.

    :raises UnreachableError: there is no server, or not yet.
    :raises UnauthenticatedError: the server needs a key, or another one.
    :raises ForbiddenError: the server rejects this agent. :raises InvalidError: `url` is not valid.
    """

    def refusal(shown: str, status: int) -> LegatoError | None:
        match status:
            case 401:
                return UnauthenticatedError(_wrong_key(shown, key))
            case 403:
                return ForbiddenError(
                    f"The server at {shown} does not take this agent. Ask for a key that may."
                )
            case 404:
                return UnreachableError(
                    f"There is a server at {shown}, and no door for agents. Check the path."
                )
        return None

    return await open_socket(url, key, refusal, pings=(PING, PONG))


def explain_close(
    closed: ConnectionClosed, refusal: str | None, shown: str, key: str | None
) -> tuple[str, bool]:
    """Return why the connection ended, and whether it makes no sense to reconnect soon.

    `refusal` is what the server said last.

    :raises UnauthenticatedError: the server needs a key, or another one.
    :raises ForbiddenError: the server rejects this agent.
    """
    if closed.rcvd is None:
        return "The connection broke.", False
    code, reason = closed.rcvd.code, closed.rcvd.reason
    if code in (CloseCode.UNAUTHENTICATED, CloseCode.REVOKED):
        raise UnauthenticatedError(refusal or _wrong_key(shown, key))
    if code == CloseCode.FORBIDDEN:
        raise ForbiddenError(refusal or f"The server at {shown} does not take this agent: {reason or code}.")
    return refusal or reason or f"The server closed the connection ({code}).", not reconnects(code)


def _wrong_key(shown: str, key: str | None) -> str:
    if key is None:
        return f"The server at {shown} wants a key: give one with --key or LEGATO_AGENT_KEY."
    return f"The server at {shown} does not take this key. Check --key or LEGATO_AGENT_KEY."
