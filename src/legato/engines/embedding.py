"""The contract of engines that embed texts: a text becomes a vector, near to those of texts that mean the same."""

import base64
import binascii
import math
from collections.abc import Sequence
from struct import iter_unpack
from typing import Protocol, runtime_checkable

from msgspec import Struct

from legato.engines.lenient_json import number
from legato.errors import EngineBrokeError, UnsupportedOptionError

Vector = tuple[float, ...]

MAX_DIMENSIONS = 65_536
"""The longest vector."""


class Embedding(Struct, frozen=True):
    """The vectors of some texts, in their order, and the model that made them. `tokens` are those of all texts, None if the engine
    does not tell them. `load_ms` and `total_ms` are times.
    """

    vectors: tuple[Vector, ...]
    model: str
    tokens: int | None = None
    load_ms: float | None = None
    total_ms: float | None = None


@runtime_checkable
class Embedder(Protocol):
    """An engine that embeds texts."""

    async def embed(self, model: str, texts: Sequence[str], dimensions: int | None = None) -> Embedding:
        """Return a vector for each text. `dimensions` is the length that the vectors must have, None: the model's own. No text is cut.

        :raises UnsupportedOptionError: the model has no vectors of this length.
        :raises ContextExceededError: a text has more tokens than the model's context.
        :raises EngineError: as `Engine.generate` does.
        """
        ...


def embedder_of(engine: object, name: str) -> Embedder:
    """Return an engine that embeds. `name` is its name.

    :raises EngineRefusedError: it does not.
    """
    if isinstance(engine, Embedder):
        return engine
    raise UnsupportedOptionError(
        f"The engine {name} embeds no texts. Choose a model of another engine.", "model"
    )


def vector_of(value: object) -> Vector | None:
    """Return a vector that a server sent: a list of numbers, or base64 of little-endian 32-bit floats. None if it is neither."""
    if isinstance(value, str):
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return None
        found = None if len(data) % 4 else tuple(each for (each,) in iter_unpack("<f", data))
    elif isinstance(value, list):
        numbers = [number(each) for each in value]
        found = tuple(each for each in numbers if each is not None)
        found = None if len(found) != len(numbers) else found
    else:
        return None
    if not found or len(found) > MAX_DIMENSIONS or not all(map(math.isfinite, found)):
        return None
    return found


def check_vectors(
    found: Sequence[Vector | None], texts: int, dimensions: int | None, who: str
) -> tuple[Vector, ...]:
    """Return the vectors that a server sent, if there is one for each text, of the length that was asked for.

    :raises EngineBrokeError: there is not, or one is no vector.
    :raises UnsupportedOptionError: they have another length.
    """
    vectors = tuple(each for each in found if each is not None)
    if len(vectors) != texts or len(found) != texts:
        raise EngineBrokeError(f"{who} did not send a vector for each text. Try again.")
    if dimensions is not None and any(len(each) != dimensions for each in vectors):
        raise UnsupportedOptionError(
            f"The model has vectors of {len(vectors[0])} numbers. Leave `dimensions` out.", "dimensions"
        )
    return vectors
