"""`POST /v1/embeddings`: the body and the response, without I/O. The format is that of OpenAI's reference, November 2026."""

import base64
from struct import pack
from typing import Any

from msgspec import Struct

from legato.api.request_fields import InvalidFieldError
from legato.engines.embedding import MAX_DIMENSIONS, Embedding, Vector

MAX_TEXTS = 2048
"""The largest number of texts in one request."""


class EmbeddingBody(Struct, frozen=True):
    """The fields that are read. `user` is accepted and has no effect."""

    model: str
    input: str | list[Any] | None = None
    encoding_format: str | None = None
    dimensions: int | None = None
    user: str | None = None


def texts_of(wanted: str | list[Any] | None, param: str = "input") -> tuple[str, ...]:
    """Return the texts of an `input`.

    :raises InvalidFieldError: it is neither a text nor a list of texts, or a text is empty.
    """
    texts = [wanted] if isinstance(wanted, str) else wanted or []
    if texts and all(isinstance(each, int | list) for each in texts):
        raise InvalidFieldError(
            f"`{param}` is a list of tokens, which no engine here takes. Send it as text.", param
        )
    if not texts or not all(isinstance(each, str) and each for each in texts):
        raise InvalidFieldError(f"`{param}` is a text, or a list of texts, and none of them is empty.", param)
    if len(texts) > MAX_TEXTS:
        raise InvalidFieldError(f"`{param}` has {MAX_TEXTS} texts at most.", param)
    return tuple(texts)


def check_dimensions(dimensions: int | None) -> None:
    """Check a length of vectors.

    :raises InvalidFieldError: no vector has it.
    """
    if dimensions is not None and not 1 <= dimensions <= MAX_DIMENSIONS:
        raise InvalidFieldError(f"`dimensions` is between 1 and {MAX_DIMENSIONS}.", "dimensions")


def check_embedding_body(body: EmbeddingBody) -> None:
    """Check the fields beside the input.

    :raises InvalidFieldError: one is wrong.
    """
    if body.encoding_format not in (None, "float", "base64"):
        raise InvalidFieldError("`encoding_format` is float or base64.", "encoding_format")
    check_dimensions(body.dimensions)


def embedding_list(found: Embedding, model: str, encoding: str | None, *, counted: bool) -> dict[str, Any]:
    """Return the response. `model` is the name that the client asked for; `counted`: the server counted the tokens."""
    usage: dict[str, Any] = {"prompt_tokens": found.tokens or 0, "total_tokens": found.tokens or 0}
    if counted:
        usage["legato_counted"] = True
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _encoded(vector) if encoding == "base64" else vector,
        }
        for index, vector in enumerate(found.vectors)
    ]
    return {"object": "list", "data": data, "model": model, "usage": usage}


def _encoded(vector: Vector) -> str:
    """Return base64 of little-endian 32-bit floats."""
    return base64.b64encode(pack(f"<{len(vector)}f", *vector)).decode()
