"""What the model APIs have in common: a history told message by message, tools, and errors in one of two shapes."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from legato.domain.message import (
    AudioPart,
    ImagePart,
    MessageRole,
    Part,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from legato.engines.base import Capabilities, ToolSpec, Turn

NOT_SHOWN = "[There is a picture here that is not shown to you. Do not guess what is in it.]"
NOT_HEARD = "[There is a recording here that you cannot hear. Do not guess what is said in it.]"


class FlatMessage(Struct, frozen=True):
    """One message of somebody: text, images and recordings (`data:` URLs), and the tools that were asked for with it."""

    role: MessageRole
    text: str
    images: tuple[str, ...] = ()
    calls: tuple[ToolCallPart, ...] = ()
    recordings: tuple[str, ...] = ()


def flatten_turns(turns: Iterable[Turn]) -> Iterator[FlatMessage | ToolResultPart]:
    """A turn may hold a whole run of tools: text, calls, results, more text. The APIs want a message for each of them.

    A call that nothing answered (the reply was stopped there) is left out, since the APIs refuse it.
    """
    turns = tuple(turns)
    answered = {part.call for turn in turns for part in turn.parts if isinstance(part, ToolResultPart)}
    for turn in turns:
        said = _MessageBuilder(turn.role)
        results = False
        for part in turn.parts:
            match part:
                case ToolCallPart():
                    if part.call in answered:
                        said.calls.append(part)
                case ToolResultPart():
                    if said.anything:
                        yield said.told()
                        said = _MessageBuilder(turn.role)
                    results = True
                    yield part
                case _:
                    said.add(part)
        if said.anything or not results:
            yield said.told()


class _MessageBuilder:
    def __init__(self, role: MessageRole) -> None:
        self._role = role
        self._text: list[str] = []
        self._images: list[str] = []
        self._recordings: list[str] = []
        self.calls: list[ToolCallPart] = []

    @property
    def anything(self) -> bool:
        return bool(self._text or self._images or self._recordings or self.calls)

    def add(self, part: TextPart | ImagePart | AudioPart) -> None:
        match part:
            case TextPart():
                self._text.append(part.text)
            case ImagePart(data=""):
                self._note(NOT_SHOWN)
            case AudioPart(data=""):
                self._note(NOT_HEARD)
            case ImagePart():
                self._images.append(part.data)
            case AudioPart():
                self._recordings.append(part.data)

    def _note(self, note: str) -> None:
        self._text.append(f"\n\n{note}" if self._text else note)

    def told(self) -> FlatMessage:
        return FlatMessage(
            self._role,
            "".join(self._text),
            tuple(self._images),
            tuple(self.calls),
            tuple(self._recordings),
        )


def drop_unsupported_media(turns: tuple[Turn, ...], can: Capabilities) -> tuple[Turn, ...]:
    """The turns for a model that can do this: what it cannot see or hear is there without its `data`."""
    if can.images and can.audio and not can.image_types:
        return turns
    return tuple(
        Turn(turn.role, tuple(_fitted(part, can) for part in turn.parts))
        if any(isinstance(part, ImagePart | AudioPart) for part in turn.parts)
        else turn
        for turn in turns
    )


def _fitted(part: Part, can: Capabilities) -> Part:
    match part:
        case ImagePart() if part.data and not can.sees(media_type_of(part.data)):
            return ImagePart()
        case AudioPart() if not can.audio:
            return AudioPart()
    return part


def has_media(turns: tuple[Turn, ...]) -> bool:
    """Whether there is a picture or a recording to be perceived."""
    return any(isinstance(part, ImagePart | AudioPart) and part.data for turn in turns for part in turn.parts)


def functions(tools: Iterable[ToolSpec]) -> list[dict[str, Any]]:
    """Tools as both APIs describe them."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
        }
        for tool in tools
    ]


def media_type_of(url: str) -> str:
    """The media type of a `data:` URL."""
    return url.removeprefix("data:").partition(";")[0]


def base64_of(url: str) -> str:
    """The base64 text of a `data:` URL."""
    return url.partition(",")[2]


def object_of(arguments: str) -> dict[str, object]:
    """The arguments of a call as an object. A model may have written something else: then it stands under `arguments`."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        value = arguments
    return value if isinstance(value, dict) else {"arguments": value}


def object_text(arguments: str) -> str:
    """The arguments of a call as the text of an object: as the model wrote it, or else as `object_of` makes it one. Servers
    parse it, and would refuse the whole history for one call."""
    made = object_of(arguments)
    return msgspec.json.encode(made).decode() if made.keys() == {"arguments"} or not arguments else arguments


def error_text(error: object) -> str:
    """The words of an `error` field, which is a string, or an object with a `message`; without a full stop."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("error") or error
    text = error if isinstance(error, str) else msgspec.json.encode(error).decode()
    return text.strip().rstrip(".")[:500]


def inside(who: str) -> str:
    """What a server is called where a sentence does not begin with it."""
    return f"the{who[3:]}" if who.startswith("The ") else who
