"""Messages and their parts: the values that chat, engines and storage hand to one another."""

from typing import Literal

from msgspec import Struct

MessageRole = Literal["system", "user", "assistant", "tool"]

Status = Literal["streaming", "complete", "stopped", "interrupted"]
"""`stopped` by a person; `interrupted`: it broke, and the text so far is what there is."""

ParticipantRole = Literal["owner", "member", "viewer"]
"""What a participant may: the owner everything, members write, viewers read."""


class TextPart(Struct, frozen=True, tag_field="type", tag="text"):
    text: str


class ImagePart(Struct, frozen=True, tag_field="type", tag="image", omit_defaults=True):
    """A picture: `data` is a `data:image/…;base64,…` URL, or `attachment` names one that was uploaded.

    An address on the network is never accepted. What is stored and shown names an attachment; an engine gets `data`.
    """

    data: str = ""
    attachment: str | None = None


class AudioPart(Struct, frozen=True, tag_field="type", tag="audio", omit_defaults=True):
    """A recording: `data` is a `data:audio/…;base64,…` URL, or `attachment` names one that was uploaded.

    `transcript` is what was heard in it, where somebody listened.
    """

    data: str = ""
    attachment: str | None = None
    transcript: str | None = None


class ToolCallPart(Struct, frozen=True, tag_field="type", tag="tool_call"):
    """The model asked for a tool. `arguments` is JSON text."""

    call: str
    name: str
    arguments: str


class ToolResultPart(Struct, frozen=True, tag_field="type", tag="tool_result"):
    call: str
    name: str
    output: str
    failed: bool = False


Part = TextPart | ImagePart | AudioPart | ToolCallPart | ToolResultPart


def attached_in(parts: tuple[Part, ...]) -> tuple[ImagePart | AudioPart, ...]:
    """The pictures and recordings."""
    return tuple(part for part in parts if isinstance(part, ImagePart | AudioPart))


def words_of(parts: tuple[Part, ...]) -> str:
    """All that a person can find a message by: its text, and what was heard in its recordings."""
    heard = [part.transcript for part in parts if isinstance(part, AudioPart) and part.transcript]
    return "\n".join(filter(None, [text_of(parts), *heard]))


def text_of(parts: tuple[Part, ...]) -> str:
    """The text parts, joined as they stand."""
    return "".join(part.text for part in parts if isinstance(part, TextPart))
