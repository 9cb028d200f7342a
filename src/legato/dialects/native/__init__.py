"""The native dialect, `legato.v1`: one socket follows many conversations, each stream by its position."""

from legato.dialects.dialect import DialectType
from legato.dialects.native.dialect import RULES, NativeDialect
from legato.protocol.messages import PROTOCOL

__all__ = ["DIALECT", "NativeDialect"]

DIALECT = DialectType(
    name="native",
    paths=("/ws",),
    create=lambda context, settings: NativeDialect(context),
    subprotocols=(PROTOCOL,),
    rules=RULES,
)
