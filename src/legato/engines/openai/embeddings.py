"""The response of `POST /embeddings`, without I/O."""

from legato.engines.embedding import Vector, vector_of
from legato.engines.lenient_json import count, decode_values, string


def embeddings_in(data: bytes) -> tuple[list[Vector | None], str, int | None]:
    """Return the vectors by their `index`, the model, and the tokens of all texts, None if they are not told. What is no vector is None;
    no list means that this is no such response.
    """
    try:
        value = decode_values(data)[0]
    except ValueError:
        return [], "", None
    listed = value.get("data") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(listed, list):
        return [], "", None
    entries = [each if isinstance(each, dict) else {} for each in listed]
    entries.sort(key=lambda each: count(each.get("index")) or 0)
    usage = value.get("usage")
    tokens = count(usage.get("prompt_tokens")) if isinstance(usage, dict) else None
    return [vector_of(each.get("embedding")) for each in entries], string(value.get("model")), tokens
