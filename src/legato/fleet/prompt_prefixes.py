"""The beginnings of a prompt as hashes, by which a call without a conversation finds the agent that has read its history. Pure."""

import hashlib
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from legato.domain.message import AudioPart, FilePart, ImagePart, Part, TextPart, ToolCallPart, ToolResultPart
from legato.engines.base import Request, ToolCall, Turn

MAX_PREFIXES = 64
"""The largest number of prefixes of one prompt. The longest ones are used."""

_SAMPLE = 16 * 1024
"""Of a picture or a recording, this many characters at each end are hashed."""

_ORDERED = msgspec.json.Encoder(order="sorted")


class PromptPrefix(Struct, frozen=True):
    """The beginning of a prompt up to the end of a turn.

    `digest` is a hash of its owner, its tools and its turns, and `size` its length in characters. A `shared` prefix has only tools
    and system turns: other conversations begin with it too.
    """

    digest: bytes
    size: int
    shared: bool = False


def prompt_prefixes(request: Request) -> tuple[PromptPrefix, ...]:
    """Return the prefixes of a request's prompt, the shortest first; the last one is the whole prompt.

    The user and the cache key are a part of each hash, so prefixes of different users are never equal. Leading system turns count
    as one turn. What clients change when they send an answer back is not hashed: white space around a text, ids of tool calls, the
    order of JSON fields, and the division of a text into parts.
    """
    tools = b""
    if request.tools:
        tools = _ORDERED.encode([(each.name, each.description, each.parameters) for each in request.tools])
    digest = _hash(b"", (_encode(request.user), _encode(request.cache_key), tools))
    size = len(tools)
    prefixes: list[PromptPrefix] = []
    shared = True
    for turn in request.turns:
        if shared and turn.role != "system":
            shared = False
            if size:
                prefixes.append(PromptPrefix(digest, size, shared=True))
        pieces = tuple(_pieces(turn))
        digest = _hash(digest, (turn.role.encode(), *pieces))
        size += sum(map(len, pieces))
        if not shared:
            prefixes.append(PromptPrefix(digest, size))
    return (*prefixes[:1], *prefixes[1:][-(MAX_PREFIXES - 1) :])


def answered_prefix(prompt: PromptPrefix, text: str, calls: Iterable[ToolCall]) -> PromptPrefix:
    """Return the prefix that a prompt and its answer are in the prompt of the next turn."""
    parts: list[Part] = [TextPart(text)] if text else []
    parts += [ToolCallPart(each.call, each.name, each.arguments) for each in calls]
    turn = Turn("assistant", tuple(parts))
    pieces = tuple(_pieces(turn))
    digest = _hash(prompt.digest, (turn.role.encode(), *pieces))
    return PromptPrefix(digest, prompt.size + sum(map(len, pieces)))


def _pieces(turn: Turn) -> Iterator[bytes]:
    """Yield what is hashed of a turn."""
    texts: list[str] = []
    for part in turn.parts:
        match part:
            case TextPart(text):
                texts.append(text)
            case ImagePart(data) | AudioPart(data):
                yield _encode(f"{len(data)}:{data[:_SAMPLE]}{data[-_SAMPLE:]}")
            case ToolCallPart(_, name, arguments):
                yield _encode(name)
                yield _canonical(arguments)
            case ToolResultPart(_, _, output):
                yield _encode(output)
            case FilePart(attachment):
                yield _encode(attachment)
    yield _encode("".join(texts).strip())


def _canonical(arguments: str) -> bytes:
    """Return JSON text with its fields in order, or the text itself if it is not JSON."""
    try:
        return _ORDERED.encode(msgspec.json.decode(arguments))
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return _encode(arguments)


def _hash(before: bytes, pieces: Iterable[bytes]) -> bytes:
    """Return the hash of a chain, whose hash so far is `before`, with these pieces behind it."""
    hashed = hashlib.sha256(before)
    for piece in pieces:
        hashed.update(len(piece).to_bytes(8, "big"))
        hashed.update(piece)
    return hashed.digest()[:16]


def _encode(text: str) -> bytes:
    """Return text as bytes, whatever code points it has."""
    return text.encode("utf-8", "replace")
