"""One conversation as one socket follows it: a viewer for each of its running streams, and word of every change."""

from collections.abc import Callable, Iterable, Mapping

from legato.chat.conversation_presence import ParticipantPresence
from legato.chat.service import ChatService
from legato.dialects.base import Socket
from legato.dialects.conversation_watcher import Change, ConversationWatcher
from legato.dialects.native.codec import encode
from legato.dialects.serializers import conversation_view, message_view, people_view
from legato.domain.conversation import Conversation
from legato.domain.message import Message
from legato.domain.participant import ParticipantRole
from legato.protocol.messages import (
    ConversationChanged,
    ConversationDeleted,
    ConversationView,
    MessageChanged,
    ResetStream,
    TypingNow,
    Where,
)
from legato.protocol.messages import People as PeopleNow
from legato.stream import BatchEncoder, Flusher, Log, Position, Reset, Subscriber, resume


class FrameCollector:
    """The frame that says who takes part in a conversation and who is here, made once for all who are told at once."""

    def __init__(self, service: ChatService) -> None:
        self.service = service
        self._last: tuple[list[ParticipantPresence], bytes] | None = None

    def frame(self, conversation: str) -> bytes:
        now = self.service.presence.now(conversation)
        if self._last is None or self._last[0] is not now:
            self._last = (now, encode(PeopleNow(conversation=conversation, people=people_view(now))))
        return self._last[1]


class NativeSubscription(ConversationWatcher):
    """What it hears before `ready` it keeps, and tells then, so that the history comes first."""

    __slots__ = (
        "_deleted",
        "_early",
        "_encoding",
        "_flusher",
        "_gathered",
        "_socket",
        "_standing",
        "_told",
        "_user",
        "conversation",
    )

    def __init__(
        self,
        conversation: str,
        socket: Socket,
        flusher: Flusher,
        encoding: BatchEncoder,
        user: str,
        gathered: FrameCollector,
        deleted: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.conversation = conversation
        self._socket = socket
        self._flusher = flusher
        self._encoding = encoding
        self._user = user
        self._gathered = gathered
        self._deleted = deleted
        self._standing: ParticipantRole = "owner"
        self._told: bytes | None = None
        self._early: list[Change] | None = []

    def on_deleted(self, conversation: str) -> None:
        self._socket.send(encode(ConversationDeleted(conversation=conversation)))
        self._deleted(conversation)

    def on_people(self, conversation: str) -> None:
        if self._early is None and (frame := self._gathered.frame(conversation)) != self._told:
            self._told = frame
            self._socket.send(frame)

    def on_typing(self, conversation: str, user: str, name: str | None, typing: bool) -> None:
        self._socket.send(encode(TypingNow(conversation=conversation, user=user, name=name, typing=typing)))

    def view(self, conversation: Conversation) -> ConversationView:
        """The conversation as the person of this socket sees it. What memory no longer has of their standing is as it was."""
        self._standing = (
            self._gathered.service.participants.known_role(self._user, conversation.id) or self._standing
        )
        return conversation_view(conversation, self._standing)

    def again(self) -> None:
        """Start over: look at no stream, and keep what is heard until `ready`."""
        self.detach()
        self._early, self._told = [], None

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
        viewer = Subscriber(log, offset, self._encoding, self._socket, self._flusher, self.ended)
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
                self._socket.send(encode(ConversationChanged(conversation=self.view(change))))
            case Log():
                self.watch(change, None)
