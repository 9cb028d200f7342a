"""One conversation as one socket follows it: a subscriber for each running stream, and a frame for every change."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from legato.chat.conversation_presence import ParticipantPresence
from legato.chat.service import ChatService
from legato.dialects.base import Socket
from legato.dialects.conversation_watcher import Change, ConversationWatcher
from legato.dialects.native.codec import encode
from legato.dialects.native.message_frames import MessageFrames
from legato.dialects.serializers import conversation_view, participants_view
from legato.domain.conversation import Conversation
from legato.domain.message import Message
from legato.domain.participant import ParticipantRole
from legato.protocol.messages import (
    ConversationChanged,
    ConversationDeleted,
    ConversationView,
    People,
    ResetStream,
    TypingNow,
    Where,
)
from legato.stream import BatchEncoder, Flusher, Log, Position, Reset, Subscriber, resume


class PeopleFrames:
    """Encodes who takes part in a conversation and who is present, once for all sockets that are notified together."""

    def __init__(self, service: ChatService) -> None:
        self._service = service
        self._last: tuple[list[ParticipantPresence], bytes] | None = None

    def role(self, user: str, conversation: str) -> ParticipantRole | None:
        """Return the role of a user, or None if it is not in memory."""
        return self._service.participants.known_role(user, conversation)

    def frame(self, conversation: str) -> bytes:
        """Return the frame for a conversation as it is now."""
        now = self._service.presence.now(conversation)
        if self._last is None or self._last[0] is not now:
            self._last = (now, encode(People(conversation=conversation, people=participants_view(now))))
        return self._last[1]


class NativeSubscription(ConversationWatcher):
    """Changes before `ready` are held and sent by it, so that the history precedes them."""

    __slots__ = (
        "_encoder",
        "_flusher",
        "_held",
        "_last_people",
        "_message_frames",
        "_on_deleted",
        "_people_frames",
        "_role",
        "_socket",
        "_starts",
        "_unsent",
        "_user",
        "conversation",
    )

    def __init__(
        self,
        conversation: str,
        socket: Socket,
        flusher: Flusher,
        encoder: BatchEncoder,
        user: str,
        people_frames: PeopleFrames,
        message_frames: MessageFrames,
        on_deleted: Callable[[str], None],
    ) -> None:
        """`on_deleted` is called after the client was notified that the conversation is gone."""
        super().__init__()
        self.conversation = conversation
        self._socket = socket
        self._flusher = flusher
        self._encoder = encoder
        self._user = user
        self._people_frames = people_frames
        self._message_frames = message_frames
        self._starts: dict[str, int] = {}
        self._unsent: deque[bytes] = deque()
        self._on_deleted = on_deleted
        self._role: ParticipantRole = "owner"
        self._last_people: bytes | None = None
        self._held: list[Change] | None = []

    def on_deleted(self, conversation: str) -> None:
        self._socket.send(encode(ConversationDeleted(conversation=conversation)))
        self._on_deleted(conversation)

    def on_people(self, conversation: str) -> None:
        if self._held is None and (frame := self._people_frames.frame(conversation)) != self._last_people:
            self._last_people = frame
            self._socket.send(frame)

    def on_typing(self, conversation: str, user: str, name: str | None, typing: bool) -> None:
        self._socket.send(encode(TypingNow(conversation=conversation, user=user, name=name, typing=typing)))

    def view(self, conversation: Conversation) -> ConversationView:
        """Return the conversation as the user of this socket sees it. A role that is no longer in memory is the last known."""
        self._role = self._people_frames.role(self._user, conversation.id) or self._role
        return conversation_view(conversation, self._role)

    def hold(self) -> None:
        """Hold changes until `ready`. The streams that are being sent go on."""
        self._held, self._last_people = [], None

    def ready(self, revision: int, logs: Iterable[Log], positions: Mapping[str, Where]) -> None:
        """Everything up to `revision` was sent: send later changes, and the streams, each from its position."""
        held, self._held = self._held or [], None
        streams = set()
        for log in logs:
            streams.add(log.stream)
            self.watch_from(log, positions.get(log.stream))
        for change in held:
            if isinstance(change, Log):
                if change.stream not in streams:
                    self.deliver(change)
            elif change.revision > revision:
                self.deliver(change)

    def watch_from(self, log: Log, where: Where | None) -> None:
        """Send a stream from a position that the client has just told; None: from its beginning.

        A stream that is being sent goes on from where this socket stands, if what the client has and what is on its way to
        it are everything. A client with a long way to the server tells positions that are older than that.
        """
        subscriber = self.subscriber(log.stream)
        if subscriber is not None and where is not None:
            start = self._starts.get(log.stream, 0)
            same = where.epoch == log.epoch
            if start <= where.offset <= subscriber.cursor if same else start == 0:
                return
        if subscriber is not None:
            self.drop(log.stream)
        self.watch(log, where)

    def watch(self, log: Log, where: Where | None) -> None:
        """Send a stream from a position, or from its beginning; one that is being sent is left as it is."""
        if self.is_sending(log.stream):
            return
        offset = 0
        if where is not None:
            resumption = resume(log, Position(where.stream, where.epoch, where.offset))
            if isinstance(resumption, Reset):
                self._socket.send(encode(ResetStream(log.stream, resumption.reason, log.epoch)))
            else:
                offset = resumption.offset
        subscriber = Subscriber(log, offset, self._encoder, self._socket, self._flusher, self.ended)
        if not log.closed or offset < log.next:
            self._starts[log.stream] = offset
            self.add(subscriber)
        else:
            subscriber.detach()

    def ended(self, subscriber: Subscriber) -> None:
        self._starts.pop(subscriber.log.stream, None)
        super().ended(subscriber)

    def must_wait(self, change: Change) -> bool:
        return bool(self._unsent) or super().must_wait(change)

    def mark(self) -> None:
        super().mark()
        if self._unsent:
            self._send_unsent()
            self.send_waiting()

    def close(self) -> None:
        self.detach()
        self._unsent.clear()
        self._held = None

    def deliver(self, change: Change) -> None:
        if self._held is not None:
            self._held.append(change)
        else:
            super().deliver(change)

    def send(self, change: Change) -> None:
        match change:
            case Message():
                first, *rest = self._message_frames.of(change)
                self._socket.send(first)
                self._unsent.extend(rest)
                self._send_unsent()
            case Conversation():
                self._socket.send(encode(ConversationChanged(conversation=self.view(change))))
            case Log():
                self.watch(change, None)

    def _send_unsent(self) -> None:
        """Send the fragments of a long message while the socket takes them."""
        while self._unsent and self._socket.writable:
            self._socket.send(self._unsent.popleft())
