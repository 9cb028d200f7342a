"""JSON as model servers really write it, decoded to plain values."""

import json
import math
import re
from typing import Any, Literal

import msgspec

from legato.domain.surrogates import join_surrogates, map_strings

_decode = msgspec.json.Decoder().decode
_scan = json.JSONDecoder(strict=False).raw_decode
_HEARTBEAT = re.compile(r"[A-Za-z][\w .:!-]{0,40}", re.ASCII)


def decode_values(data: bytes) -> list[Any]:
    """Return the JSON values in `data`, which is one in most cases.

    Accepts what Python's `json` writes beside the standard (`NaN`, `Infinity`), control characters in strings, bytes that
    are not UTF-8 (as U+FFFD), escaped lone surrogates (they stay in the strings) and several values in a row.

    :raises ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return [_decode(data)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _scan_values(data)


def _scan_values(data: bytes) -> list[Any]:
    """Return the values of JSON that is not standard.

    :raises ValueError: as `decode_values` does.
    """
    text = data.decode("utf-8-sig", "replace").strip()
    values: list[Any] = []
    try:
        while text:
            value, end = _scan(text)
            values.append(value)
            text = text[end:].lstrip()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not values:
        raise ValueError("no JSON")
    return values


def is_heartbeat(value: object) -> bool:
    """Whether a value that is no object says nothing but that the server is alive: a number, null, `[]`, a word."""
    if isinstance(value, str):
        return not value.strip() or _HEARTBEAT.fullmatch(value.strip()) is not None
    return value is None or isinstance(value, bool | int | float) or value == []


def string(value: object) -> str:
    """Return a string or a number as text, anything else as an empty text."""
    if isinstance(value, str):
        return join_surrogates(value)
    return "" if isinstance(value, bool) or not isinstance(value, int | float) else str(value)


def number(value: object) -> float | None:
    """Return a finite number, also one that is written as text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def count(value: object) -> int | None:
    """Return a number that is not negative, rounded."""
    found = number(value)
    return None if found is None or found < 0 else round(found)


def encode_text(value: object, *, ordered: bool = False) -> str:
    """Return a decoded value as JSON text, with sorted keys if it is to be `ordered`. Lone surrogates become U+FFFD."""
    order: Literal["sorted"] | None = "sorted" if ordered else None
    try:
        return msgspec.json.encode(value, order=order).decode()
    except (UnicodeEncodeError, OverflowError):
        plain = map_strings(value, join_surrogates)
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), sort_keys=ordered)
