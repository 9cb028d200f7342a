"""The dialect `rooms`: several users in one session with an assistant."""

from legato.dialects.dialect import DialectType
from legato.dialects.rooms.handler import RoomsDialect

__all__ = ["DIALECT", "RoomsDialect"]

DIALECT = DialectType(
    name="rooms",
    paths=("/ws/sessions", "/ws/sessions/{session:path}"),
    create=lambda context, settings: RoomsDialect(context, settings.assistant, settings.section.join),
)
