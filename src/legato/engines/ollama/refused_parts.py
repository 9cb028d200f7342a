"""What a model of Ollama cannot do: read from its refusals, and the request without it. Pure."""

import re
from typing import Literal

from msgspec.structs import replace

from legato.domain.message import ImagePart, TextPart
from legato.engines.base import Request, Turn
from legato.stream import Usage

RequestPart = Literal["tools", "images"]

_REFUSED = re.compile(r"does not support (tools?|images?|vision|multimodal)", re.IGNORECASE)
_PARTS: dict[str, RequestPart] = {
    "tool": "tools",
    "tools": "tools",
    "image": "images",
    "images": "images",
    "vision": "images",
    "multimodal": "images",
}
_SENTENCES: dict[RequestPart, str] = {
    "tools": "{model} cannot use tools, so it answers without them.",
    "images": "{model} cannot see pictures, so it answers without them.",
}

BYTES_PER_TOKEN = 6
"""More bytes of UTF-8 than a token has on average in a text of any language: a prompt of more tokens than this says was cut."""


def refused_part(request: Request, said: str) -> RequestPart | None:
    """Return what a refusal is about; None if it is about something else, or the request has no such part."""
    match = _REFUSED.search(said)
    part = _PARTS[match[1].lower()] if match is not None else None
    return part if part is not None and _has(request, part) else None


def without_parts(request: Request, parts: frozenset[RequestPart]) -> Request:
    """Return the request without these parts. The model is told that there was a picture."""
    if "tools" in parts and request.tools:
        request = replace(request, tools=())
    if "images" in parts and _has(request, "images"):
        request = replace(request, turns=tuple(_without_images(turn) for turn in request.turns))
    return request


def notice(request: Request, parts: frozenset[RequestPart]) -> str | None:
    """Return what to tell the person who loses these parts of their request; None if they lose nothing."""
    lost = [part for part in sorted(parts) if _has(request, part)]
    return " ".join(_SENTENCES[part].format(model=request.model) for part in lost) or None


def was_cut(request: Request, usage: Usage | None, context: int | None) -> bool:
    """Return whether Ollama certainly read less than the prompt: older versions cut a prompt to the context and do not say so."""
    read = usage.prompt_tokens if usage is not None else None
    if read is None or context is None or read > context:
        return False
    return sent_bytes(request) / BYTES_PER_TOKEN > context


def sent_bytes(request: Request) -> int:
    """Return the bytes of the texts of a prompt."""
    texts = [part.text for turn in request.turns for part in turn.parts if isinstance(part, TextPart)]
    return sum(len(text.encode("utf-8", "replace")) for text in texts)


def _has(request: Request, part: RequestPart) -> bool:
    match part:
        case "tools":
            return bool(request.tools)
        case "images":
            return any(
                isinstance(each, ImagePart) and each.data for turn in request.turns for each in turn.parts
            )


def _without_images(turn: Turn) -> Turn:
    return Turn(turn.role, tuple(ImagePart() if isinstance(part, ImagePart) else part for part in turn.parts))
