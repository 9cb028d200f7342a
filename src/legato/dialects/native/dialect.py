"""What the sockets of the native dialect on one server share."""

from collections.abc import Sequence

from legato.dialects.base import Handshake
from legato.dialects.context import DialectContext
from legato.dialects.native.codec import delta, fragments
from legato.dialects.native.handler import NativeHandler
from legato.dialects.native.message_frames import MessageFrames
from legato.dialects.native.subscription import PeopleFrames
from legato.dialects.reply_encoder import ReplyEncoder
from legato.dialects.session import DialectSession
from legato.protocol.messages import ClientMessage
from legato.stream import Batch, Log


class NativeDialect:
    """`heartbeat` is sent to clients: seconds of silence after which they ping."""

    def __init__(self, context: DialectContext, *, heartbeat: float = 20.0) -> None:
        self._encoder = ReplyEncoder(_frames)
        self._people_frames = PeopleFrames(context.service)
        self._message_frames = MessageFrames()
        self._heartbeat = heartbeat

    def connect(self, session: DialectSession[ClientMessage], handshake: Handshake) -> NativeHandler:
        return NativeHandler(
            session, self._encoder, self._people_frames, self._message_frames, self._heartbeat
        )


def _frames(log: Log, batch: Batch) -> Sequence[bytes]:
    return fragments(delta(log, batch))
