"""Refusals of a prompt that is longer than the model's context, in the words that servers have for it. Pure."""

import re
from typing import NamedTuple

_WORDS = re.compile(
    r"context.?(length|size|window|limit)|maximum context|max_model_len|too many (input )?tokens|input is too long"
    r"|prompt (is )?too long|too large for model|maximum (allowed )?(number of )?(input )?(tokens|length)"
    r"|exceeds? (the )?(max|maximum|token|context)|token (count|limit)|exceed_context",
    re.IGNORECASE,
)
_LIMIT = re.compile(
    r"(?:maximum|\bmax\b|limit|context|available|allowed|up to|n_ctx|>)[^\d]{0,40}?([\d,_]{2,})"
    r"|([\d,_]{2,})\s*(?:tokens?\s*)?(?:maximum|max\b|limit)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d[\d,_]*")
MOST_MODELS = 1000
LEAST = 64
"""Tokens below which a number is no context."""


class ContextRefusal(NamedTuple):
    """How many tokens the context has and how many the prompt had, None if the server does not say so."""

    limit: int | None
    asked: int | None


def context_refusal(said: str, limit: object = None, asked: object = None) -> ContextRefusal | None:
    """Return what a refusal says of the context; None if it is about something else.

    `limit` and `asked` are what the server tells in fields of their own, as llama.cpp does.
    """
    if isinstance(limit, int) and isinstance(asked, int) and asked > limit > 0:
        return ContextRefusal(limit, asked)
    if not _WORDS.search(said):
        return None
    found = next(
        (size for match in _LIMIT.finditer(said) if (size := _int(match[1] or match[2])) >= LEAST), None
    )
    sizes = [_int(match[0]) for match in _NUMBER.finditer(said)]
    most = max(sizes, default=0)
    return ContextRefusal(found, most if found is not None and most > found else None)


def _int(text: str) -> int:
    digits = text.replace(",", "").replace("_", "")
    return int(digits) if digits.isdigit() and len(digits) < 10 else 0


class LearnedContexts:
    """The contexts that a server named when it refused a prompt, by model."""

    __slots__ = ("_limits",)

    def __init__(self) -> None:
        self._limits: dict[str, int] = {}

    def learn(self, model: str, limit: int | None) -> None:
        """Remember the tokens that a refusal named."""
        if limit is not None and (model in self._limits or len(self._limits) < MOST_MODELS):
            self._limits[model] = limit

    def of(self, model: str, told: int | None) -> int | None:
        """Return the tokens of a model's context: what the server lists, or less if a refusal named less."""
        learned = self._limits.get(model)
        if told is None or learned is None:
            return told if learned is None else learned
        return min(told, learned)
