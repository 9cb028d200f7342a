"""Characters whose two halves come apart: servers that cut text by UTF-16 units write half a surrogate pair into one piece
and half into the next, as escapes in JSON that no strict reader takes. Pure.
"""

import json
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from legato.engines.base import ReplyWriter

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


class SurrogateJoiner:
    """Joins the pieces of one text."""

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


class ReplyTextJoiner:
    """Writes to `out` what a reply says and thinks, its halves joined over the pieces in which it comes."""

    __slots__ = ("_out", "_text", "_thought")

    def __init__(self, out: ReplyWriter) -> None:
        self._out = out
        self._text = SurrogateJoiner()
        self._thought = SurrogateJoiner()

    def text(self, piece: str) -> None:
        """More of the answer. An empty piece is handed on: it is a sign of life."""
        self._out.text(self._text.more(piece))

    def reasoning(self, piece: str) -> None:
        if text := self._thought.more(piece):
            self._out.reasoning(text)

    def end(self) -> None:
        """No more comes: what waited for its other half is told without."""
        if text := self._thought.rest():
            self._out.reasoning(text)
        if text := self._text.rest():
            self._out.text(text)
