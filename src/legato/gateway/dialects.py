"""The dialects that a server serves."""

import msgspec

from legato.dialects.base import Endpoint
from legato.dialects.context import DialectContext
from legato.dialects.dialect import DialectSessions
from legato.dialects.registry import DIALECT_TYPES
from legato.gateway.dependencies import ServerContext
from legato.gateway.settings import Settings


class DialectEndpoints:
    """Every registered dialect, with its endpoints and its open sessions."""

    def __init__(self, settings: Settings, server: ServerContext) -> None:
        """Make every registered dialect.

        :raises SettingsError: a setting of a dialect cannot be used.
        """
        context = DialectContext(
            service=server.service,
            flusher=server.flusher,
            authenticate=server.authenticator,
            anyone=server.authenticator.anonymous_user,
            limits=server.limits,
            max_frame_bytes=settings.server.max_frame_bytes,
        )
        assistants = settings.dialect_assistants()
        self._dialects = [
            DialectSessions(
                dialect_type,
                settings.dialect_section(name),
                msgspec.structs.replace(context, assistant=assistants.get(name, context.assistant)),
            )
            for name, dialect_type in DIALECT_TYPES.items()
        ]

    def endpoints(self) -> list[Endpoint]:
        return [endpoint for dialect in self._dialects for endpoint in dialect.endpoints()]

    @property
    def sockets(self) -> int:
        """The number of open sockets."""
        return sum(len(dialect.sessions) for dialect in self._dialects)

    def expire(self, now: float) -> None:
        """Close the sockets whose token has expired. `now` is in seconds since the epoch."""
        for dialect in self._dialects:
            dialect.expire(now)
