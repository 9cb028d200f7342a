"""The chat dialects of a server and their doors."""

from typing import Any

from legato import __version__
from legato.dialects.accumulating import AccumulatingDialect
from legato.dialects.base import Endpoint
from legato.dialects.chunks import ChunksDialect
from legato.dialects.native import NativeDialect
from legato.dialects.rooms import RoomsDialect
from legato.dialects.session import Dialect, DialectContext
from legato.dialects.tokens import TokensDialect
from legato.gateway.dependencies import ServerContext
from legato.gateway.settings import Settings


class DialectEndpoints:
    """Every dialect that people speak with this server."""

    def __init__(self, settings: Settings, parts: ServerContext) -> None:
        said = settings.dialects
        self._native = NativeDialect(
            parts.service,
            parts.flusher,
            parts.authenticator,
            anyone=parts.authenticator.open_to_all,
            server=__version__,
            max_frame_bytes=settings.server.max_frame_bytes,
        )
        host = DialectContext(
            service=parts.service,
            flusher=parts.flusher,
            authenticate=parts.authenticator,
            anyone=parts.authenticator.open_to_all,
            max_frame_bytes=settings.server.max_frame_bytes,
        )
        self._others: tuple[Dialect[Any], ...] = (
            AccumulatingDialect(host, said.accumulating),
            RoomsDialect(host, said.rooms, settings.rooms.join),
            TokensDialect(host, said.tokens),
            ChunksDialect(host, said.chunks),
        )

    def doors(self) -> list[Endpoint]:
        return [self._native.door(), *(door for dialect in self._others for door in dialect.doors())]

    @property
    def sockets(self) -> int:
        """How many are open."""
        return len(self._native.sessions) + sum(len(dialect.sessions) for dialect in self._others)

    def expire(self, now: float) -> None:
        """Close the sockets whose proof of identity ran out. `now` is in seconds since the epoch."""
        self._native.expire(now)
        for dialect in self._others:
            dialect.expire(now)
