"""Why this side closes a connection: a code of the standard, and a sentence."""

from typing import Final

PROTOCOL_ERROR: Final = 1002
UNSUPPORTED: Final = 1003
NOT_UTF8: Final = 1007
POLICY: Final = 1008
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011

FAULTS: Final = frozenset({PROTOCOL_ERROR, NOT_UTF8, TOO_BIG})
"""Codes with which the library of the asgi transport closes because of what a client sent."""

SERVER_ERROR: Final = "The server made a mistake with this connection."
GOING_AWAY: Final = "The server is going away: connect again."
NO_FRAME: Final = "That is not a frame as RFC 6455 has it."
NO_TEXT: Final = "That text is not UTF-8."
TEXT_ONLY: Final = "Only text is spoken here: send text frames."
TOO_MANY: Final = "Too many frames: send fewer, longer messages."
TOO_LONG: Final = "A message took too long to arrive: send it again, as a whole."
TOO_SILENT: Final = "No sign of life: connect again."
TOO_SLOW: Final = "Too much was left unread: connect again, and go on from your positions."


def too_big(limit: int) -> str:
    return f"A message may have {limit} bytes at most here."


SESSION_FAILED: Final = "A session failed; its connection is closed."
"""For the log."""
