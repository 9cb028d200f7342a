"""Characters whose two halves come apart: servers that cut text by UTF-16 units write half a surrogate pair into one piece
and half into the next, as escapes in JSON that no strict reader takes. Pure.
"""

import json
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

T = TypeVar("T")

_ESCAPED = re.compile(rb"\\u[dD][89a-fA-F]")
_HALF = re.compile("[\ud800-\udfff]")


def lenient(decode: Callable[[bytes], T], data: bytes, kind: type[T]) -> T:
    """What a strict `decode` of a `kind` makes of JSON; halves of characters are left in its texts as they are.

    :raises msgspec.DecodeError: as `decode` does.
    """
    try:
        return decode(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if not _ESCAPED.search(data):
            raise
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
    return msgspec.convert(value, kind)


def whole(text: str) -> str:
    """The text with its halves joined; one that has no other half is U+FFFD."""
    if not _HALF.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Halves:
    """Joins what comes in pieces."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = ""

    def more(self, text: str) -> str:
        """What can be told now: a first half at the end of a piece waits for the next."""
        if self._kept:
            text, self._kept = self._kept + text, ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._kept = text[:-1], text[-1]
        return whole(text)

    def rest(self) -> str:
        """What still waited, at the end."""
        kept, self._kept = self._kept, ""
        return whole(kept)
