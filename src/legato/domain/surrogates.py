"""Lone surrogates: halves of UTF-16 pairs, which no UTF-8 text, no database and no strict JSON reader accepts.

Browsers send them when they cut text by UTF-16 units. Some model servers write half a pair into one chunk and the other
half into the next, as JSON escapes.
"""

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""An escape in JSON. A surrogate pair counts as one; the group matches a lone surrogate."""


def join_surrogates(text: str) -> str:
    """Return the text with surrogate pairs joined and each lone surrogate replaced by U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """Return `value`, made of JSON's types, with `change` applied to every string in it and to every key."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {map_strings(key, change): map_strings(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [map_strings(each, change) for each in value]
    return value


def replace_escaped_surrogates(payload: bytes) -> bytes:
    """Return JSON in which each escaped lone surrogate is replaced by an escaped U+FFFD."""
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], payload)


def decode_replacing_surrogates(decode: Callable[[bytes], T], payload: bytes) -> T:
    """Decode JSON with a strict `decode`. Each escaped lone surrogate becomes U+FFFD.

    :raises msgspec.DecodeError: as `decode` does.
    """
    try:
        return decode(payload)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if (replaced := replace_escaped_surrogates(payload)) == payload:
            raise
        return decode(replaced)


def decode_keeping_surrogates(decode: Callable[[bytes], T], payload: bytes, shape: type[T]) -> T:
    """Decode JSON with a strict `decode` of a `shape`. Escaped lone surrogates stay in its strings, for `SurrogateJoiner`.

    :raises msgspec.DecodeError: as `decode` does.
    """
    try:
        return decode(payload)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if not _ESCAPED_SURROGATE.search(payload):
            raise
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
    return msgspec.convert(value, shape)


class SurrogateJoiner:
    """Joins surrogate pairs across the chunks of one text."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending = ""

    @property
    def waits(self) -> bool:
        """Whether a half of a pair waits for the next chunk."""
        return bool(self._pending)

    def feed(self, chunk: str) -> str:
        """Return the text that is complete. A high surrogate at the end of a chunk waits for the next chunk."""
        if self._pending:
            chunk, self._pending = self._pending + chunk, ""
        if "\ud800" <= chunk[-1:] <= "\udbff":
            chunk, self._pending = chunk[:-1], chunk[-1]
        return join_surrogates(chunk)

    def flush(self) -> str:
        """Return what still waits, at the end of the text: U+FFFD or nothing."""
        pending, self._pending = self._pending, ""
        return join_surrogates(pending)
