"""A dialect on a server: the object that its sockets share, and its open sessions."""

from typing import Any, Protocol, runtime_checkable

from legato.dialects.base import Endpoint, Handshake, Socket
from legato.dialects.context import DialectContext
from legato.dialects.dialect_type import DialectType
from legato.dialects.session import DialectSession, SessionHandler
from legato.settings_types import SettingsSection


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


class DialectSessions:
    """The open sessions of one dialect on one server."""

    def __init__(
        self, dialect_type: DialectType[Any], settings: SettingsSection, context: DialectContext
    ) -> None:
        """`settings` is the section that the type declares. :raises SettingsError: a setting cannot be used."""
        self._type = dialect_type
        self._context = context
        self._dialect = dialect_type.make(settings, context)
        self.sessions: set[DialectSession[Any]] = set()
        self._on_closed = self.sessions.discard

    def endpoints(self) -> list[Endpoint]:
        """Return an endpoint for each path of the dialect."""
        read_bytes = max(self._type.rules.read_bytes, self._context.max_frame_bytes)
        return [Endpoint(path, self.open, self._type.subprotocols, read_bytes) for path in self._type.paths]

    def open(self, handshake: Handshake, socket: Socket) -> DialectSession[Any]:
        """Start the session of a socket that was accepted."""
        dialect = self._dialect
        session: DialectSession[Any] = DialectSession(
            self._context,
            self._type.rules,
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
