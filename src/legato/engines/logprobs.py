"""Log probabilities of tokens as servers tell them. Pure."""

from collections.abc import Iterator
from typing import Any

from legato.domain.surrogates import join_surrogates
from legato.engines.base import TokenLogprob
from legato.engines.lenient_json import number

MOST_TOKENS = 100_000
"""Tokens of one piece of a reply that are read."""

MOST_ALTERNATIVES = 100


def logprobs_in(value: object) -> tuple[TokenLogprob, ...]:
    """Return the tokens of a `logprobs` field: OpenAI's of a chat (`content`), its older one of a text (`tokens`), or Ollama's list.
    Entries of no known shape are left out.
    """
    if isinstance(value, dict):
        if isinstance(value.get("tokens"), list):
            return tuple(_columns(value))
        value = value.get("content")
    if not isinstance(value, list):
        return ()
    return tuple(token for each in value[:MOST_TOKENS] if (token := _token(each)) is not None)


def _token(value: object, *, alternatives: bool = True) -> TokenLogprob | None:
    if not isinstance(value, dict):
        return None
    token, logprob, octets = value.get("token"), number(value.get("logprob")), value.get("bytes")
    if not isinstance(token, str) or logprob is None:
        return None
    top = value.get("top_logprobs") if alternatives else None
    return TokenLogprob(
        join_surrogates(token),
        logprob,
        _octets(octets),
        tuple(
            found
            for each in (top if isinstance(top, list) else [])[:MOST_ALTERNATIVES]
            if (found := _token(each, alternatives=False)) is not None
        ),
    )


def _octets(value: object) -> tuple[int, ...] | None:
    if isinstance(value, list) and all(isinstance(each, int) and 0 <= each < 256 for each in value):
        return tuple(value)
    return None


def _columns(value: dict[str, Any]) -> Iterator[TokenLogprob]:
    logprobs, tops = value.get("token_logprobs"), value.get("top_logprobs")
    for index, token in enumerate(value["tokens"][:MOST_TOKENS]):
        logprob = number(_at(logprobs, index))
        top = _at(tops, index)
        if isinstance(token, str) and logprob is not None:
            likely = top.items() if isinstance(top, dict) else ()
            yield TokenLogprob(
                join_surrogates(token),
                logprob,
                None,
                tuple(
                    TokenLogprob(join_surrogates(name), found)
                    for name, told in list(likely)[:MOST_ALTERNATIVES]
                    if (found := number(told)) is not None
                ),
            )


def _at(values: object, index: int) -> object:
    return values[index] if isinstance(values, list) and index < len(values) else None
