"""The native dialect, `legato.v1`: one socket follows many conversations, each stream by its position."""

from legato.dialects.native.dialect import Authenticate, NativeDialect

__all__ = ["Authenticate", "NativeDialect"]
