"""What the sockets of the native dialect on one server share."""

from legato.dialects.base import Handshake
from legato.dialects.context import DialectContext
from legato.dialects.native.codec import delta
from legato.dialects.native.handler import NativeHandler
from legato.dialects.native.subscription import PeopleFrames
from legato.dialects.reply_encoder import ReplyEncoder
from legato.dialects.session import Close, DialectSession, SessionRules
from legato.protocol.close_codes import CloseCode
from legato.protocol.messages import ClientMessage
from legato.stream import Batch, Log

RULES = SessionRules(
    hello=True,
    binary_is_error=False,
    read_bytes=0,
    too_many=Close(CloseCode.TOO_MANY, "too many commands at once"),
    no_hello=Close(CloseCode.UNAUTHENTICATED, "no hello came in time"),
    unchecked=Close(CloseCode.GOING_AWAY, "the token could not be checked in time"),
    unauthenticated=Close(CloseCode.UNAUTHENTICATED, "not authenticated"),
    forbidden=Close(CloseCode.FORBIDDEN, "not allowed to chat"),
    unavailable=None,
    expired=Close(CloseCode.REVOKED, "the token has expired"),
)


class NativeDialect:
    """`heartbeat` is sent to clients: seconds of silence after which they ping."""

    def __init__(self, context: DialectContext, *, heartbeat: float = 20.0) -> None:
        self._encoder = ReplyEncoder(_frames)
        self._people_frames = PeopleFrames(context.service)
        self._heartbeat = heartbeat

    def connect(self, session: DialectSession[ClientMessage], handshake: Handshake) -> NativeHandler:
        return NativeHandler(session, self._encoder, self._people_frames, self._heartbeat)


def _frames(log: Log, batch: Batch) -> tuple[bytes]:
    return (delta(log, batch),)
