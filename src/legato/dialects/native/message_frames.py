"""The frames of a changed message, encoded once for all sockets that are told of it together."""

from collections.abc import Sequence

from legato.dialects.native.codec import encode, fragments
from legato.dialects.serializers import placed_message_view
from legato.domain.message import Message
from legato.protocol.messages import MessageChanged


class MessageFrames:
    """Encodes messages. The last long one is kept as long as its `Message` is the last one that was asked for."""

    def __init__(self) -> None:
        self._last: tuple[Message, Sequence[bytes]] | None = None

    def of(self, message: Message) -> Sequence[bytes]:
        """Return the frames of a message: one, or its fragments if it is long."""
        if self._last is None or self._last[0] is not message:
            self._last = (message, fragments(encode(MessageChanged(message=placed_message_view(message)))))
        return self._last[1]
