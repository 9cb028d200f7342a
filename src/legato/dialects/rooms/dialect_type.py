"""The dialect `rooms` as settings and the server know it."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from legato.dialects.dialect_type import DialectType
from legato.settings_types import SettingsSection

if TYPE_CHECKING:
    from legato.dialects.context import DialectContext
    from legato.dialects.dialect import Dialect


class RoomsSettings(SettingsSection):
    """`[rooms]`."""

    join: Literal["members", "anyone"] = Field(
        "members",
        description="Who may join a session of `/ws/sessions`: its `members`, or `anyone` who is authenticated and names it.",
    )


def _make(settings: RoomsSettings, context: "DialectContext") -> "Dialect":
    from legato.dialects.rooms.handler import RoomsDialect

    return RoomsDialect(context, settings.join)


ROOMS: DialectType[RoomsSettings] = DialectType(
    name="rooms",
    paths=("/ws/sessions", "/ws/sessions/{session:path}"),
    make=_make,
    settings=RoomsSettings,
)
