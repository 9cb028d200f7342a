"""What a server refuses in a request, learned from its refusals, and the request without it. Pure."""

import re
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from legato.domain.message import ImagePart
from legato.engines.base import Request, Turn
from legato.engines.message_format import media_type_of

FIELDS = (
    "stream_options", "parallel_tool_calls", "reasoning_effort", "return_progress", "cache_prompt", "timings_per_token",
    "chat_template_kwargs", "service_tier", "metadata", "store", "user", "seed", "logprobs", "top_logprobs",
)  # fmt: skip
"""Fields that a request does without if a server does not know them. A strict request that asks for one itself fails instead."""

TRIES = 4
"""Times that a request is sent again, at most, without what was refused."""

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_COMMON = frozenset({"image/png", "image/jpeg"})
_ABOUT_PICTURES = re.compile(
    r"image|picture|vision|visual|media|mime|multi-?modal|webp|avif|heic|\bgif\b|\bpng\b|\bjpe?g\b|mmproj|base64",
    re.IGNORECASE,
)
_MOST_MODELS = 1000


class RequestLimits(Struct, frozen=True):
    """What a request must do without: fields, media types of pictures, and the old name of `max_completion_tokens`."""

    fields: frozenset[str] = frozenset()
    pictures: frozenset[str] = frozenset()
    renames_max_tokens: bool = False

    @property
    def image_types(self) -> tuple[str, ...]:
        """The media types of pictures that are accepted; empty if none was refused."""
        return tuple(kind for kind in PICTURES if kind not in self.pictures) if self.pictures else ()


class LearnedRefusals:
    """Remembers by model what a server refuses."""

    __slots__ = ("_limits", "_tried")

    def __init__(self) -> None:
        self._limits: dict[str, RequestLimits] = {}
        self._tried: set[str] = set()

    def of(self, model: str) -> RequestLimits:
        """Return what a request to this model must do without."""
        return self._limits.get(model, RequestLimits())

    def learn(self, model: str, limits: RequestLimits) -> None:
        """Remember limits with which a request succeeded."""
        if model in self._limits or len(self._limits) < _MOST_MODELS:
            self._limits[model] = limits

    def next(
        self, request: Request, sent: frozenset[str], limits: RequestLimits, said: str
    ) -> RequestLimits | None:
        """Return what to do without after a refusal in these words, None if the refusal must stand.

        `sent` are the fields of the refused request. A refusal that names nothing is tried once for each model without
        `stream_options`, the one field that no caller asked for.
        """
        named = {field for field in FIELDS if field in sent and re.search(rf"\b{field}\b", said)}
        if named:
            return replace(limits, fields=limits.fields | named)
        if "max_tokens" in sent and re.search(
            r"max_completion_tokens|\bmax_tokens\b.*(unsupported|not supported)", said
        ):
            return replace(limits, renames_max_tokens=True)
        kinds = set(_pictures(request)) - limits.pictures
        unnamed = len(said.split()) < 4
        if kinds and (_ABOUT_PICTURES.search(said) or (unnamed and kinds - _COMMON)):
            refused = {kind for kind in kinds if kind.partition("/")[2] in said.lower()}
            return replace(limits, pictures=limits.pictures | (refused or kinds - _COMMON or kinds))
        if "stream_options" in sent and request.model not in self._tried:
            if len(self._tried) < _MOST_MODELS:
                self._tried.add(request.model)
            return replace(limits, fields=limits.fields | {"stream_options"})
        return None


def without_pictures(request: Request, limits: RequestLimits) -> Request:
    """Return the request in which the model is told of refused pictures, and does not get them."""
    if not limits.pictures or not limits.pictures & set(_pictures(request)):
        return request
    turns = tuple(
        Turn(
            turn.role,
            tuple(
                ImagePart()
                if isinstance(part, ImagePart) and media_type_of(part.data) in limits.pictures
                else part
                for part in turn.parts
            ),
        )
        for turn in request.turns
    )
    return replace(request, turns=turns)


def notice(request: Request, limits: RequestLimits) -> str | None:
    """Return the sentence that tells a person which pictures the model did not get; None if it got all."""
    kinds = sorted(limits.pictures & set(_pictures(request)))
    names = " and ".join(kind.partition("/")[2].upper() for kind in kinds)
    return (
        f"The model server does not take pictures of the type {names}. The answer is without them."
        if kinds
        else None
    )


def _pictures(request: Request) -> Iterator[str]:
    for turn in request.turns:
        for part in turn.parts:
            if isinstance(part, ImagePart) and part.data:
                yield media_type_of(part.data)
