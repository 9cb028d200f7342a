"""Vectors of texts without a model: each word adds to some places of the vector, by its hash. Pure."""

import hashlib
import math
import re

from legato.engines.embedding import Vector

DIMENSIONS = 64
MAX_DIMENSIONS = 1024

_WORD = re.compile(r"\w+")


def hashed_vector(text: str, dimensions: int = DIMENSIONS) -> Vector:
    """Return a vector of length 1, the same for the same words in any order. Texts that share words have near vectors."""
    vector = [0.0] * dimensions
    for word in _WORD.findall(text.lower()) or [text]:
        digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=32).digest()
        for at in range(0, 32, 4):
            place = int.from_bytes(digest[at : at + 3], "big") % dimensions
            vector[place] += 1.0 if digest[at + 3] % 2 else -1.0
    length = math.sqrt(sum(each * each for each in vector))
    if not length:
        vector[0], length = 1.0, 1.0
    return tuple(each / length for each in vector)
