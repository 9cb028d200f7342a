"""What a dialect is to the server: a type, the object that its sockets share, and its open sessions."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from legato.dialects.base import Endpoint, Handshake, Socket
from legato.dialects.context import DialectContext
from legato.dialects.session import DialectSession, SessionHandler, SessionRules


class Dialect(Protocol):
    """One dialect on one server: what its sockets share."""

    def connect(self, session: DialectSession[Any], handshake: Handshake) -> SessionHandler[Any]:
        """Return the handler of a socket that was accepted."""
        ...


@runtime_checkable
class ExpiringDialect(Protocol):
    """A dialect that remembers something for clients that may come back."""

    def expire(self) -> None:
        """Forget what is too old. Called every two seconds."""
        ...


class DialectSettings(Struct, frozen=True, kw_only=True):
    """The settings of a dialect on a server.

    `assistant` is the one that a new conversation is with, unless the client asks for another one. `section` is the
    dialect's own section, or None if it has none.
    """

    assistant: str = "default"
    section: Any = None


class DialectType(Struct, frozen=True, kw_only=True):
    """A dialect, before a server serves it.

    `paths` are those of its endpoints: `{id}` is one segment, `{rest:path}` all that follow. `create` makes the `Dialect`
    of a server.
    """

    name: str
    paths: tuple[str, ...]
    create: Callable[[DialectContext, DialectSettings], Dialect]
    subprotocols: tuple[str, ...] = ()
    rules: SessionRules = SessionRules()


class DialectSessions:
    """The open sessions of one dialect on one server."""

    def __init__(self, dialect_type: DialectType, context: DialectContext, settings: DialectSettings) -> None:
        self._dialect_type = dialect_type
        self._context = context
        self._dialect = dialect_type.create(context, settings)
        self.sessions: set[DialectSession[Any]] = set()
        self._on_closed = self.sessions.discard

    def endpoints(self) -> list[Endpoint]:
        """Return an endpoint for each path of the dialect."""
        dialect_type = self._dialect_type
        read_bytes = max(dialect_type.rules.read_bytes, self._context.max_frame_bytes)
        return [
            Endpoint(path, self.open, dialect_type.subprotocols, read_bytes) for path in dialect_type.paths
        ]

    def open(self, handshake: Handshake, socket: Socket) -> DialectSession[Any]:
        """Start the session of a socket that was accepted."""
        dialect = self._dialect
        session: DialectSession[Any] = DialectSession(
            self._context,
            self._dialect_type.rules,
            socket,
            lambda session: dialect.connect(session, handshake),
            self._on_closed,
        )
        self.sessions.add(session)
        session.start(handshake)
        return session

    def expire(self, now: float) -> None:
        """Close the sockets whose token has expired. `now` is in seconds since the epoch."""
        for session in list(self.sessions):
            session.expire(now)
        if isinstance(self._dialect, ExpiringDialect):
            self._dialect.expire()
