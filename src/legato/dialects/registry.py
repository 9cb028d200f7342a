"""Every dialect of a server, one line each."""

from legato.dialects import accumulating, chunks, native, rooms, tokens
from legato.dialects.dialect import DialectType

DIALECTS: tuple[DialectType, ...] = (
    native.DIALECT,
    accumulating.DIALECT,
    rooms.DIALECT,
    tokens.DIALECT,
    chunks.DIALECT,
)
