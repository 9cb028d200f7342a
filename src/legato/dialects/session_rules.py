"""How the sessions of a dialect authenticate and close their sockets."""

from msgspec import Struct

from legato.protocol.close_codes import CloseCode

LATE = "The server could not find out in time who you are. Try again in a moment."
EXPIRED = "Your token has expired. Sign in again, or get a new one."


class Close(Struct, frozen=True):
    """How a session closes its socket. `error` is sent before, as an error of the dialect, unless it is None."""

    code: CloseCode
    reason: str
    error: str | None = None


def close_with(code: CloseCode, error: str | None = None) -> Close:
    """Return a `Close` whose reason is the name of its code."""
    return Close(code, code.name.lower().replace("_", " "), error)


class SessionRules(Struct, frozen=True, kw_only=True):
    """How the sessions of a dialect authenticate, and how they close their sockets.

    By default a client shows a token in the handshake, and the socket is closed if the token is not accepted. With
    `hello`, a client may also show credentials in a frame. `binary_is_error`: a binary message is answered with an error;
    otherwise the socket is closed for it. A frame of up to `read_bytes` is read, so that one over the server's limit is
    answered with an error; a longer one closes the socket. `has_start`: the handler's `start` precedes the first command;
    otherwise it is not called.
    """

    hello: bool = False
    has_start: bool = True
    binary_is_error: bool = True
    read_bytes: int = 1024 * 1024
    too_many: Close = Close(CloseCode.TOO_MANY, "too much at once")
    """Too many commands wait."""
    no_hello: Close = close_with(CloseCode.UNAUTHENTICATED)
    """The client showed no credentials within `AUTHENTICATION_SECONDS`, or none that were accepted."""
    unchecked: Close = close_with(CloseCode.GOING_AWAY, LATE)
    """The credentials of the handshake were not checked within `AUTHENTICATION_SECONDS`."""
    unauthenticated: Close = close_with(CloseCode.UNAUTHENTICATED)
    """The credentials are not enough; the error was sent."""
    forbidden: Close = close_with(CloseCode.UNAUTHENTICATED)
    """The user may not chat; the error was sent."""
    unavailable: Close | None = close_with(CloseCode.GOING_AWAY)
    """The credentials cannot be checked now; the error was sent. None: the client may show them again."""
    expired: Close = close_with(CloseCode.UNAUTHENTICATED, EXPIRED)
    """The token of the user has expired."""
