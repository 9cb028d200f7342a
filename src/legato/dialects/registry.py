"""The dialects of this version. A new dialect is one more line."""

from legato.dialects.accumulating.dialect_type import ACCUMULATING
from legato.dialects.chunks.dialect_type import CHUNKS
from legato.dialects.dialect_type import AnyDialectType
from legato.dialects.native.dialect_type import NATIVE
from legato.dialects.rooms.dialect_type import ROOMS
from legato.dialects.tokens.dialect_type import TOKENS

DIALECT_TYPES: dict[str, AnyDialectType] = {
    dialect_type.name: dialect_type
    for dialect_type in (
        NATIVE,
        ACCUMULATING,
        ROOMS,
        TOKENS,
        CHUNKS,
    )
}
"""By name."""
