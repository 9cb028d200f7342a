"""The dialect `rooms`: several people in one session, each with what the others and the assistant said."""

from legato.dialects.rooms.session import RoomsDialect

__all__ = ["RoomsDialect"]
