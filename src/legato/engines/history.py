"""What the model APIs have in common: a history told message by message, tools, and errors in one of two shapes."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from legato.engines.base import ToolSpec, Turn
from legato.message import ImagePart, Role, TextPart, ToolCallPart, ToolResultPart


class Said(Struct, frozen=True):
    """One message of somebody: text, images (`data:` URLs), and the tools that were asked for with it."""

    role: Role
    text: str
    images: tuple[str, ...] = ()
    calls: tuple[ToolCallPart, ...] = ()


def told(turns: Iterable[Turn]) -> Iterator[Said | ToolResultPart]:
    """A turn may hold a whole run of tools: text, calls, results, more text. The APIs want a message for each of them.

    A call that nothing answered (the reply was stopped there) is left out, since the APIs refuse it.
    """
    turns = tuple(turns)
    answered = {part.call for turn in turns for part in turn.parts if isinstance(part, ToolResultPart)}
    for turn in turns:
        text: list[str] = []
        images: list[str] = []
        calls: list[ToolCallPart] = []
        results = False
        for part in turn.parts:
            match part:
                case TextPart():
                    text.append(part.text)
                case ImagePart():
                    images.append(part.data)
                case ToolCallPart():
                    if part.call in answered:
                        calls.append(part)
                case ToolResultPart():
                    if text or images or calls:
                        yield Said(turn.role, "".join(text), tuple(images), tuple(calls))
                        text, images, calls = [], [], []
                    results = True
                    yield part
        if text or images or calls or not results:
            yield Said(turn.role, "".join(text), tuple(images), tuple(calls))


def functions(tools: Iterable[ToolSpec]) -> list[dict[str, Any]]:
    """Tools as both APIs describe them."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
        }
        for tool in tools
    ]


def base64_of(url: str) -> str:
    """The base64 text of a `data:` URL."""
    return url.partition(",")[2]


def object_of(arguments: str) -> dict[str, object]:
    """The arguments of a call as an object. A model may have written something else: then it stands under `arguments`."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except msgspec.DecodeError:
        value = arguments
    return value if isinstance(value, dict) else {"arguments": value}


def error_text(error: object) -> str:
    """The words of an `error` field, which is a string, or an object with a `message`; without a full stop."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("error") or error
    text = error if isinstance(error, str) else msgspec.json.encode(error).decode()
    return text.strip().rstrip(".")[:500]
