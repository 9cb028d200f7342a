"""The dialect `tokens` as settings and the server know it."""

from typing import TYPE_CHECKING

from legato.dialects.dialect_type import DialectType
from legato.settings_types import SettingsSection

if TYPE_CHECKING:
    from legato.dialects.context import DialectContext
    from legato.dialects.dialect import Dialect


def _make(settings: SettingsSection, context: "DialectContext") -> "Dialect":
    from legato.dialects.tokens.handler import TokensDialect

    return TokensDialect(context)


TOKENS: DialectType[SettingsSection] = DialectType(
    name="tokens",
    paths=("/ws/chat",),
    make=_make,
)
