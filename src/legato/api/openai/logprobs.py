"""Log probabilities of tokens, as OpenAI's and Ollama's APIs tell them, without I/O."""

from collections.abc import Sequence
from typing import Any

from legato.engines.base import TokenLogprob


def logprob_objects(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """Return the tokens, each with the likeliest tokens in its place."""
    return [{**_object(token), "top_logprobs": [_object(each) for each in token.top]} for token in tokens]


def _object(token: TokenLogprob) -> dict[str, Any]:
    octets = token.token.encode("utf-8", "replace") if token.bytes is None else token.bytes
    return {"token": token.token, "logprob": token.logprob, "bytes": list(octets)}
