"""What the model APIs have in common: a history of flat messages, tools, and errors in one of two formats."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from legato.domain.message import (
    AudioPart,
    FilePart,
    ImagePart,
    MessageRole,
    Part,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from legato.engines.base import Capabilities, ToolSpec, Turn

NOT_SHOWN = "[There is a picture here that is not shown to you. Do not guess what is in it.]"
NOT_READ = "[There is a file here that is not shown to you. Do not guess what is in it.]"
NOT_HEARD = "[There is a recording here that you cannot hear. Do not guess what is said in it.]"


class FlatMessage(Struct, frozen=True):
    """One message: text, pictures and recordings (`data:` URLs), and the tools that were called with it."""

    role: MessageRole
    text: str
    images: tuple[str, ...] = ()
    calls: tuple[ToolCallPart, ...] = ()
    recordings: tuple[str, ...] = ()


def flatten_turns(turns: Iterable[Turn]) -> Iterator[FlatMessage | ToolResultPart]:
    """Yield the messages of the history. A turn may contain several tool calls with text between them, and the APIs need a
    message for each.

    A call without a result (the reply was stopped there) is left out, because the APIs refuse it.
    """
    turns = tuple(turns)
    answered = {part.call for turn in turns for part in turn.parts if isinstance(part, ToolResultPart)}
    for turn in turns:
        message = _MessageBuilder(turn.role)
        results = False
        for part in turn.parts:
            match part:
                case ToolCallPart():
                    if part.call in answered:
                        message.calls.append(part)
                case ToolResultPart():
                    if message.has_content:
                        yield message.build()
                        message = _MessageBuilder(turn.role)
                    results = True
                    yield part
                case _:
                    message.add(part)
        if message.has_content or not results:
            yield message.build()


class _MessageBuilder:
    def __init__(self, role: MessageRole) -> None:
        self._role = role
        self._text: list[str] = []
        self._images: list[str] = []
        self._recordings: list[str] = []
        self.calls: list[ToolCallPart] = []

    @property
    def has_content(self) -> bool:
        return bool(self._text or self._images or self._recordings or self.calls)

    def add(self, part: TextPart | ImagePart | AudioPart | FilePart) -> None:
        match part:
            case TextPart():
                self._text.append(part.text)
            case ImagePart(data=""):
                self._note(NOT_SHOWN)
            case FilePart():
                self._note(NOT_READ)
            case AudioPart(data=""):
                self._note(NOT_HEARD)
            case ImagePart():
                self._images.append(part.data)
            case AudioPart():
                self._recordings.append(part.data)

    def _note(self, note: str) -> None:
        self._text.append(f"\n\n{note}" if self._text else note)

    def build(self) -> FlatMessage:
        return FlatMessage(
            self._role,
            "".join(self._text),
            tuple(self._images),
            tuple(self.calls),
            tuple(self._recordings),
        )


def drop_unsupported_media(turns: tuple[Turn, ...], can: Capabilities) -> tuple[Turn, ...]:
    """Return the turns for a model with these capabilities: unsupported pictures and recordings have no `data`."""
    if can.images and can.audio and not can.image_types:
        return turns
    return tuple(
        Turn(turn.role, tuple(_supported(part, can) for part in turn.parts))
        if any(isinstance(part, ImagePart | AudioPart) for part in turn.parts)
        else turn
        for turn in turns
    )


def _supported(part: Part, can: Capabilities) -> Part:
    match part:
        case ImagePart() if part.data and not can.sees(media_type_of(part.data)):
            return ImagePart()
        case AudioPart() if not can.audio:
            return AudioPart()
    return part


def has_media(turns: tuple[Turn, ...]) -> bool:
    """Return whether there is a picture or a recording with data."""
    return any(isinstance(part, ImagePart | AudioPart) and part.data for turn in turns for part in turn.parts)


def functions(tools: Iterable[ToolSpec]) -> list[dict[str, Any]]:
    """Return the tools as both APIs describe them."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
                **({"strict": tool.strict} if tool.strict is not None else {}),
            },
        }
        for tool in tools
    ]


def media_type_of(url: str) -> str:
    """Return the media type of a `data:` URL."""
    return url.removeprefix("data:").partition(";")[0]


def base64_of(url: str) -> str:
    """Return the base64 text of a `data:` URL."""
    return url.partition(",")[2]


def object_of(arguments: str) -> dict[str, object]:
    """Return the arguments of a call as an object. If the model wrote something else, it is the value of `arguments`."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        value = arguments
    return value if isinstance(value, dict) else {"arguments": value}


def object_text(arguments: str) -> str:
    """Return the arguments of a call as the text of an object: as the model wrote it, or else as `object_of` makes one. Servers
    parse it, and would refuse the whole history because of one call.
    """
    made = object_of(arguments)
    return msgspec.json.encode(made).decode() if made.keys() == {"arguments"} or not arguments else arguments


def error_text(error: object) -> str:
    """Return the text of an `error` field, which is a string, or an object with a `message`; without a full stop."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("error") or error
    text = error if isinstance(error, str) else msgspec.json.encode(error).decode()
    return text.strip().rstrip(".")[:500]


def inside(who: str) -> str:
    """Return the name of a server for use inside a sentence."""
    return f"the{who[3:]}" if who.startswith("The ") else who
