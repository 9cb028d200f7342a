"""The pieces of a streamed reply as plain values, in the many shapes that servers have for them. Pure."""

from collections.abc import Iterator
from typing import Any, Literal

Kind = Literal["text", "thinking"]

_REASONING = (
    "reasoning_content", "reasoning", "thinking", "thinking_content", "reasoning_text", "thoughts",
    "reasoning_details",
)  # fmt: skip
_THINKING = ("thinking", "reasoning", "thought", "summary_text")

_LENGTH = frozenset({
    "length", "max_tokens", "max_length", "model_length", "max_output_tokens", "max_new_tokens", "token_limit",
})  # fmt: skip
_FILTERED = frozenset({
    "content_filter", "content_filtered", "safety", "sensitive", "recitation", "blocklist", "prohibited_content", "spii",
})  # fmt: skip
_NONE = frozenset(
    {"", "null", "none", "not_finished", "in_progress", "unspecified", "finish_reason_unspecified"}
)
_BROKEN = (
    "error", "abort", "fail", "cancel", "timeout", "insufficient", "interrupt", "overload", "incomplete", "unavailable",
)  # fmt: skip

Ending = Literal["stop", "length", "filtered", "broken"]


class UnreadableError(Exception):
    """A field has a value that no version of the protocol has."""


def ending(value: object) -> Ending | None:
    """Return what a `finish_reason` means; None if the reply goes on."""
    if isinstance(value, dict):
        value = value.get("type") or value.get("reason")
    if value is None or value is False:
        return None
    if not isinstance(value, str):
        return "stop"
    reason = value.strip().lower()
    if reason in _NONE:
        return None
    if reason in _LENGTH:
        return "length"
    if reason in _FILTERED:
        return "filtered"
    return "broken" if any(word in reason for word in _BROKEN) else "stop"


def choices_in(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices of a chunk, of which only the first reply is read.

    A chunk without `choices` that has the fields of a choice is one itself.
    """
    choices = chunk.get("choices", chunk.get("choice"))
    if isinstance(choices, dict):
        choices = [choices]
    if isinstance(choices, list) and choices:
        return [each for each in choices if isinstance(each, dict) and _is_first(each.get("index"))]
    message = chunk.get("message")
    if "delta" in chunk or isinstance(message, dict) or _has_text(chunk):
        return [chunk]
    return []


def reasoning_in(delta: dict[str, Any]) -> str:
    """Return the thinking in a delta or a message. A server that tells it under two names tells it once."""
    pieces: list[str] = []
    for name in _REASONING:
        text = "".join(text for _, text in texts(delta.get(name), "thinking"))
        if text and text not in pieces:
            pieces.append(text)
    return "".join(pieces)


def texts(value: object, kind: Kind = "text") -> Iterator[tuple[Kind, str]]:
    """Yield the texts of a content: a string, a part, or a list of parts, of which some may be thinking.

    :raises UnreadableError: the content is a number.
    """
    match value:
        case None:
            return
        case str():
            if value:
                yield kind, value
        case list():
            for part in value:
                yield from texts(part, kind)
        case dict():
            yield from _part(value, kind)
        case _:
            raise UnreadableError


def _part(part: dict[str, Any], kind: Kind) -> Iterator[tuple[Kind, str]]:
    named = part.get("type")
    if (isinstance(named, str) and any(word in named for word in _THINKING)) or part.get("thought") is True:
        kind = "thinking"
    for name in ("text", "content", "value", "refusal", "output_text"):
        if isinstance(part.get(name), str | list | dict):
            yield from texts(part[name], kind)
            return
    for name in ("thinking", "reasoning", "reasoning_content", "summary"):
        if isinstance(part.get(name), str | list | dict):
            yield from texts(part[name], "thinking")
            return


def _has_text(chunk: dict[str, Any]) -> bool:
    return any(chunk.get(name) and isinstance(chunk[name], str) for name in ("text", "content", "response"))


def _is_first(index: object) -> bool:
    return index in (None, 0, "0", "") or not isinstance(index, int | float | str)
