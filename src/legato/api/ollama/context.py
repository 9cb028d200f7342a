"""The `context` of `POST /api/generate`: what was said so far, as a list of whole numbers, without I/O.

With Ollama these are the tokens of its model. Here a next request may go to another machine or another model, so the numbers
are the text itself. Clients only send them back.
"""

import zlib
from collections.abc import Sequence

import msgspec

from legato.api.request_fields import InvalidFieldError
from legato.domain.message import MessageRole

History = list[tuple[MessageRole, str]]
"""What was said, by role and text."""

MARK = 0x4C4547
"""The first number. Numbers of another server begin otherwise."""

CONTEXT_BYTES = 4 * 1024 * 1024
"""The largest text of a context. A longer one is not told."""

_WIDTH = 3
"""Bytes in a number."""


def encode_context(history: History) -> list[int] | None:
    """Return the numbers for what was said, None if it is too long."""
    text = msgspec.json.encode(history)
    if len(text) > CONTEXT_BYTES:
        return None
    packed = zlib.compress(text)
    padded = packed.ljust(-(-len(packed) // _WIDTH) * _WIDTH, b"\0")
    numbers = (int.from_bytes(padded[at : at + _WIDTH], "big") for at in range(0, len(padded), _WIDTH))
    return [MARK, len(packed), *numbers]


def decode_context(numbers: Sequence[int]) -> History:
    """Return what was said.

    :raises InvalidFieldError: the numbers are not from a response of this server.
    """
    try:
        mark, length, *rest = numbers
        packed = b"".join(number.to_bytes(_WIDTH, "big") for number in rest)[:length]
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(packed, CONTEXT_BYTES)
        if mark != MARK or not unpacker.eof:
            raise ValueError("not a context of this server, or one that is too large")
        return msgspec.json.decode(text, type=History)
    except (ValueError, OverflowError, zlib.error, msgspec.DecodeError):
        raise InvalidFieldError(
            "`context` is not the one of a response of this server. Send what a response had, or leave it out.",
            "context",
        ) from None
