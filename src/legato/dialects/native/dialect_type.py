"""The native dialect as the server knows it."""

from typing import TYPE_CHECKING

from legato.dialects.dialect_type import DialectType
from legato.dialects.session_rules import Close, SessionRules
from legato.protocol.close_codes import CloseCode
from legato.protocol.messages import PROTOCOL
from legato.settings_types import SettingsSection

if TYPE_CHECKING:
    from legato.dialects.context import DialectContext
    from legato.dialects.dialect import Dialect


def _make(settings: SettingsSection, context: "DialectContext") -> "Dialect":
    from legato.dialects.native.dialect import NativeDialect

    return NativeDialect(context)


NATIVE: DialectType[SettingsSection] = DialectType(
    name="native",
    paths=("/ws",),
    make=_make,
    subprotocols=(PROTOCOL,),
    rules=SessionRules(
        hello=True,
        has_start=False,
        binary_is_error=False,
        read_bytes=0,
        too_many=Close(CloseCode.TOO_MANY, "too many commands at once"),
        no_hello=Close(CloseCode.UNAUTHENTICATED, "no hello came in time"),
        unchecked=Close(CloseCode.GOING_AWAY, "the token could not be checked in time"),
        unauthenticated=Close(CloseCode.UNAUTHENTICATED, "not authenticated"),
        forbidden=Close(CloseCode.FORBIDDEN, "not allowed to chat"),
        unavailable=None,
        expired=Close(CloseCode.REVOKED, "the token has expired"),
    ),
    has_assistant=False,
)
