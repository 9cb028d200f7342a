"""Messages and their parts: the values that chat, engines and storage exchange."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from legato.stream import Span, Timings, Usage

MessageRole = Literal["system", "user", "assistant", "tool"]

Status = Literal["streaming", "complete", "stopped", "interrupted"]
"""`stopped`: a user stopped the reply. `interrupted`: the reply failed, and the text so far is all there is."""


class TextPart(Struct, frozen=True, tag_field="type", tag="text"):
    text: str


class ImagePart(Struct, frozen=True, tag_field="type", tag="image", omit_defaults=True):
    """A picture: `data` is a `data:image/…;base64,…` URL, or `attachment` is the id of an uploaded file.

    A network address is never accepted. A stored or displayed part names an attachment; an engine gets `data`.
    """

    data: str = ""
    attachment: str | None = None


class AudioPart(Struct, frozen=True, tag_field="type", tag="audio", omit_defaults=True):
    """A recording: `data` is a `data:audio/…;base64,…` URL, or `attachment` is the id of an uploaded file.

    `transcript` is the transcribed speech, None if the recording was not transcribed.
    """

    data: str = ""
    attachment: str | None = None
    transcript: str | None = None


class FilePart(Struct, frozen=True, tag_field="type", tag="file", omit_defaults=True):
    """A text file: `attachment` is the id of an uploaded file. The model reads its text as a part of the prompt.

    The server sets `name` and `size` (bytes) when it stores the message.
    """

    attachment: str
    name: str = ""
    size: int = 0


class ToolCallPart(Struct, frozen=True, tag_field="type", tag="tool_call"):
    """A tool call that the model requested. `arguments` is JSON text."""

    call: str
    name: str
    arguments: str


class ToolResultPart(Struct, frozen=True, tag_field="type", tag="tool_result"):
    """What a tool call came to. `refused`: it waited for approval and ended without it, so it never ran."""

    call: str
    name: str
    output: str
    failed: bool = False
    refused: bool = False


Part = TextPart | ImagePart | AudioPart | FilePart | ToolCallPart | ToolResultPart


class Message(Struct, frozen=True):
    """One message. The messages of a conversation form a tree: `parent` is the one before it, None for a root.

    `revision` is the conversation's revision when this message was last written. `author` is the user who wrote it.
    `reasoning` is the model's thinking. The log of a reply has the id of its message. `detail` is a sentence for users
    about how the reply was made or why it failed. `spans` say who wrote which part of a reply's text. `log_end` is the epoch and the
    length of the log of an ended reply: a client at this position has all of it. Times are UTC.
    """

    id: str
    conversation: str
    role: MessageRole
    status: Status
    parts: tuple[Part, ...]
    created_at: datetime
    parent: str | None = None
    revision: int = 0
    author: str | None = None
    reasoning: str = ""
    model: str | None = None
    detail: str | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    spans: tuple[Span, ...] = ()
    log_end: tuple[str, int] | None = None


def attached_parts(parts: tuple[Part, ...]) -> tuple[ImagePart | AudioPart | FilePart, ...]:
    """Return the pictures, recordings and text files."""
    return tuple(part for part in parts if isinstance(part, ImagePart | AudioPart | FilePart))


def searchable_text(parts: tuple[Part, ...]) -> str:
    """Return all text by which a user can find a message: its text parts, transcripts of recordings and names of files."""
    heard = [part.transcript for part in parts if isinstance(part, AudioPart) and part.transcript]
    names = [part.name for part in parts if isinstance(part, FilePart)]
    return "\n".join(filter(None, [text_of(parts), *heard, *names]))


def visible_text(parts: tuple[Part, ...]) -> str:
    """Return the text for a client that shows text only: the text parts, then a line with the name of each text file."""
    names = [f"[File: {part.name or part.attachment}]" for part in parts if isinstance(part, FilePart)]
    return "\n".join(filter(None, [text_of(parts), *names]))


def text_of(parts: tuple[Part, ...]) -> str:
    """Return the text parts, concatenated without a separator."""
    return "".join(part.text for part in parts if isinstance(part, TextPart))
