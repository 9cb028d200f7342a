"""The native dialect, `legato.v1`: one socket follows many conversations, each stream by its position."""

from legato.dialects.native.dialect import NativeDialect
from legato.dialects.native.session import Authenticate

__all__ = ["Authenticate", "NativeDialect"]
