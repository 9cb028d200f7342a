"""Close codes of the native protocol. The range says what a client does next.

4000–4099: do not reconnect by yourself; something must change first. 4100–4199: reconnect, with positions. Codes of the
WebSocket standard (1000, 1001, 1006, 1011, 1012, 1013 …) mean reconnect too, but for 1002, 1003, 1007, 1008, 1009 and 1010, which say
that this client speaks wrongly.
"""

from enum import IntEnum


class CloseCode(IntEnum):
    BAD_REQUEST = 4000
    UNAUTHENTICATED = 4001
    FORBIDDEN = 4003
    TOO_MANY = 4008
    SLOW = 4100
    """The client fell too far behind."""
    SILENT = 4101
    """The client gave no sign of life."""
    GOING_AWAY = 4102
    """The server drains; another one, or the same one, will be there."""
    REVOKED = 4004
    """The token ran out while connected, or was revoked."""


SPEAKS_WRONGLY = frozenset({1002, 1003, 1007, 1008, 1009, 1010})


def reconnects(code: int) -> bool:
    """Whether a client that was closed with `code` should come back by itself."""
    return not (4000 <= code <= 4099 or code in SPEAKS_WRONGLY)
