"""One conversation as one socket follows it: a viewer for each of its running streams, and word of every change."""

from collections.abc import Callable, Iterable, Mapping

from legato.dialects.base import Socket
from legato.dialects.native.codec import encode
from legato.dialects.views import conversation_view, message_view
from legato.dialects.watching import Change, Watching
from legato.protocol.messages import (
    ConversationChanged,
    ConversationDeleted,
    MessageChanged,
    ResetStream,
    Where,
)
from legato.storage.base import Conversation, Message
from legato.stream import Encoding, Flusher, Log, Position, Reset, Viewer, resume


class Followed(Watching):
    """What it hears before `ready` it keeps, and tells then, so that the history comes first."""

    __slots__ = (
        "_deleted",
        "_early",
        "_encoding",
        "_flusher",
        "_socket",
        "conversation",
    )

    def __init__(
        self,
        conversation: str,
        socket: Socket,
        flusher: Flusher,
        encoding: Encoding,
        deleted: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.conversation = conversation
        self._socket = socket
        self._flusher = flusher
        self._encoding = encoding
        self._deleted = deleted
        self._early: list[Change] | None = []

    def on_deleted(self, conversation: str) -> None:
        self._socket.send(encode(ConversationDeleted(conversation=conversation)))
        self._deleted(conversation)

    def again(self) -> None:
        """Start over: look at no stream, and keep what is heard until `ready`."""
        self.detach()
        self._early = []

    def ready(self, revision: int, logs: Iterable[Log], positions: Mapping[str, Where]) -> None:
        """All up to `revision` was told: tell what came since, then the streams, each from its position."""
        early, self._early = self._early or [], None
        seen = set()
        for log in logs:
            seen.add(log.stream)
            self.watch(log, positions.get(log.stream))
        for change in early:
            if isinstance(change, Log):
                if change.stream not in seen:
                    self.hear(change)
            elif change.revision > revision:
                self.hear(change)

    def watch(self, log: Log, where: Where | None) -> None:
        """Look at a stream from a position, or from its beginning; one that is looked at already stays as it is."""
        if self.looks_at(log.stream):
            return
        offset = 0
        if where is not None:
            answer = resume(log, Position(where.stream, where.epoch, where.offset))
            if isinstance(answer, Reset):
                self._socket.send(encode(ResetStream(log.stream, answer.reason, log.epoch)))
            else:
                offset = answer.offset
        viewer = Viewer(log, offset, self._encoding, self._socket, self._flusher, self.ended)
        if not log.closed or offset < log.next:
            self.look(viewer)
        else:
            viewer.detach()

    def close(self) -> None:
        self.detach()
        self._early = None

    def hear(self, change: Change) -> None:
        if self._early is not None:
            self._early.append(change)
        else:
            super().hear(change)

    def tell(self, change: Change) -> None:
        match change:
            case Message():
                self._socket.send(encode(MessageChanged(message=message_view(change))))
            case Conversation():
                self._socket.send(encode(ConversationChanged(conversation=conversation_view(change))))
            case Log():
                self.watch(change, None)
