"""One conversation as one socket follows it: a viewer for each of its running streams, and word of every change."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from legato.dialects.base import Socket
from legato.dialects.native.codec import encode
from legato.dialects.views import conversation_view, message_view
from legato.protocol.messages import (
    ConversationChanged,
    ConversationDeleted,
    MessageChanged,
    ResetStream,
    Where,
)
from legato.storage.base import Conversation, Message
from legato.stream import Encoding, Flusher, Log, Position, Reset, Viewer, resume

Change = Message | Conversation | Log


class Followed:
    """A `Watcher`. What it hears before `ready` it keeps, and tells then, so that the history comes first.

    A reply that ended is told when its stream was told to the end, and what changed later behind it: on a socket that
    takes no more, all of it waits, in order.
    """

    __slots__ = (
        "_deleted",
        "_early",
        "_encoding",
        "_flusher",
        "_late",
        "_socket",
        "_viewers",
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
        self.conversation = conversation
        self._socket = socket
        self._flusher = flusher
        self._encoding = encoding
        self._deleted = deleted
        self._viewers: dict[str, Viewer] = {}
        self._early: list[Change] | None = []
        self._late: deque[Change] | None = None

    def on_message(self, message: Message) -> None:
        self._hear(message)

    def on_conversation(self, conversation: Conversation) -> None:
        self._hear(conversation)

    def on_stream(self, log: Log) -> None:
        self._hear(log)

    def on_deleted(self, conversation: str) -> None:
        self._socket.send(encode(ConversationDeleted(conversation=conversation)))
        self._deleted(conversation)

    def again(self) -> None:
        """Start over: look at no stream, and keep what is heard until `ready`."""
        self._detach()
        self._early, self._late = [], None

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
                    self._hear(change)
            elif change.revision > revision:
                self._hear(change)

    def watch(self, log: Log, where: Where | None) -> None:
        """Look at a stream from a position, or from its beginning; one that is looked at already stays as it is."""
        if log.stream in self._viewers:
            return
        offset = 0
        if where is not None:
            answer = resume(log, Position(where.stream, where.epoch, where.offset))
            if isinstance(answer, Reset):
                self._socket.send(encode(ResetStream(log.stream, answer.reason, log.epoch)))
            else:
                offset = answer.offset
        viewer = Viewer(log, offset, self._encoding, self._socket, self._flusher, self._ended)
        if not log.closed or offset < log.next:
            self._viewers[log.stream] = viewer
        else:
            viewer.detach()

    def mark(self) -> None:
        """The socket takes more again."""
        for viewer in self._viewers.values():
            viewer.mark()

    def close(self) -> None:
        self._detach()
        self._early = self._late = None

    def _hear(self, change: Change) -> None:
        if self._early is not None:
            self._early.append(change)
        elif self._late is not None:
            self._late.append(change)
        elif self._premature(change):
            self._late = deque((change,))
        else:
            self._tell(change)

    def _premature(self, change: Change) -> bool:
        """Whether it is the end of a reply whose stream is still being told."""
        return isinstance(change, Message) and change.status != "streaming" and change.id in self._viewers

    def _tell(self, change: Change) -> None:
        match change:
            case Message():
                self._socket.send(encode(MessageChanged(message=message_view(change))))
            case Conversation():
                self._socket.send(encode(ConversationChanged(conversation=conversation_view(change))))
            case Log():
                self.watch(change, None)

    def _ended(self, viewer: Viewer) -> None:
        self._viewers.pop(viewer.log.stream, None)
        while self._late and not self._premature(self._late[0]):
            self._tell(self._late.popleft())
        if not self._late:
            self._late = None

    def _detach(self) -> None:
        for viewer in self._viewers.values():
            viewer.detach()
        self._viewers.clear()
