"""What all sockets of the native dialect share, and the door they come in by."""

from legato.chat.service import ChatService
from legato.dialects.base import Endpoint, Handshake, Socket
from legato.dialects.native.session import Authenticate, NativeSession
from legato.dialects.native.subscription import FrameCollector
from legato.domain.user import User
from legato.protocol.close_codes import CloseCode
from legato.protocol.messages import PROTOCOL, Welcome
from legato.stream import Flusher


class NativeDialect:
    """The `Host` of its sessions."""

    def __init__(
        self,
        service: ChatService,
        flusher: Flusher,
        authenticate: Authenticate,
        *,
        anyone: User | None,
        server: str,
        max_frame_bytes: int = 65536,
        heartbeat: float = 20.0,
    ) -> None:
        """`anyone` is who everybody is where auth is off; `heartbeat` is told to clients, in seconds."""
        self.service = service
        self.flusher = flusher
        self.authenticate = authenticate
        self.anyone = anyone
        self.gathered = FrameCollector(service)
        self.sessions: set[NativeSession] = set()
        self._server = server
        self._max_frame_bytes = max_frame_bytes
        self._heartbeat = heartbeat

    def door(self, path: str = "/ws") -> Endpoint:
        return Endpoint(path, self.open, (PROTOCOL,), self._max_frame_bytes)

    def open(self, handshake: Handshake, socket: Socket) -> NativeSession:
        """A socket was accepted: welcome it, check the token it brought, or wait for its `hello`."""
        session = NativeSession(self, socket)
        self.sessions.add(session)
        scheme, _, token = handshake.headers.get("authorization", "").partition(" ")
        if self.anyone is not None:
            session.welcome(self.anyone)
        elif scheme.lower() == "bearer" and token:
            session.introduce(token.strip())
        else:
            session.await_hello()
        return session

    def welcome(self, person: User, re: str | None) -> Welcome:
        return Welcome(
            re=re,
            user=person.id,
            server=self._server,
            heartbeat=self._heartbeat,
            max_frame_bytes=self._max_frame_bytes,
        )

    def expire(self, now: float) -> None:
        """Close the sockets whose proof of identity ran out. `now` is in seconds since the epoch."""
        for session in list(self.sessions):
            person = session.person
            if person is not None and person.expires is not None and person.expires <= now:
                session.socket.close(CloseCode.REVOKED, "the token has expired")
