"""Close codes of the native protocol. The range says what a client does next.

4000–4099: do not reconnect automatically; something must change first. 4100–4199: reconnect, with positions. Codes of the
WebSocket standard (1000, 1001, 1006, 1011, 1012, 1013 …) mean reconnect too, except 1002, 1003, 1007, 1008, 1009 and 1010,
which mean that the client broke the protocol.
"""

from enum import IntEnum


class CloseCode(IntEnum):
    BAD_REQUEST = 4000
    UNAUTHENTICATED = 4001
    FORBIDDEN = 4003
    TOO_MANY = 4008
    SLOW = 4100
    """The client reads too slowly."""
    SILENT = 4101
    """The client sent nothing for too long."""
    GOING_AWAY = 4102
    """The server is shutting down; it, or another one, will be available again."""
    REVOKED = 4004
    """The token expired while connected, or was revoked."""


PROTOCOL_ERRORS = frozenset({1002, 1003, 1007, 1008, 1009, 1010})


def reconnects(code: int) -> bool:
    """Return whether a client that was closed with `code` should reconnect automatically."""
    return not (4000 <= code <= 4099 or code in PROTOCOL_ERRORS)
