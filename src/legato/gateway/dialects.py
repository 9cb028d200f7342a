"""The dialects that a server serves."""

from legato.dialects.base import Endpoint
from legato.dialects.context import DialectContext
from legato.dialects.dialect import DialectSessions, DialectSettings
from legato.dialects.registry import DIALECTS
from legato.gateway.dependencies import ServerContext
from legato.gateway.settings import Settings


class DialectEndpoints:
    """Every registered dialect, with its endpoints and its open sessions."""

    def __init__(self, settings: Settings, parts: ServerContext) -> None:
        context = DialectContext(
            service=parts.service,
            flusher=parts.flusher,
            authenticate=parts.authenticator,
            anyone=parts.authenticator.open_to_all,
            max_frame_bytes=settings.server.max_frame_bytes,
        )
        assistants: dict[str, str] = settings.dialects.model_dump()
        self._all = [
            DialectSessions(
                definition,
                context,
                DialectSettings(
                    assistant=assistants.get(definition.name, "default"),
                    section=getattr(settings, definition.name, None),
                ),
            )
            for definition in DIALECTS
        ]

    def endpoints(self) -> list[Endpoint]:
        return [endpoint for dialect in self._all for endpoint in dialect.endpoints()]

    @property
    def sockets(self) -> int:
        """The number of open sockets."""
        return sum(len(dialect.sessions) for dialect in self._all)

    def expire(self, now: float) -> None:
        """Close the sockets whose token has expired. `now` is in seconds since the epoch."""
        for dialect in self._all:
            dialect.expire(now)
