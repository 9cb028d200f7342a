"""The conversations of one socket whose frames do not name their reply: one reply after the other, through a `ReplyQueue`."""

from collections.abc import Callable, Iterable
from typing import Protocol

from legato.dialects.conversation_watcher import NullWatcher
from legato.dialects.reply_queue import ReplyQueue, Subscribe
from legato.dialects.session import DialectSession
from legato.dialects.user_chat import UserChat
from legato.domain.message import Message
from legato.stream import Log


class QueueFormat(Protocol):
    """What a dialect sends about its queued conversations."""

    def end_frames(self, message: Message) -> Iterable[bytes]:
        """Return what is sent after a reply that did not fail."""
        ...

    def deleted_frames(self, conversation: str) -> Iterable[bytes]:
        """Return what is sent if a conversation was deleted, or the user is no longer a participant."""
        ...

    def on_entered(self, conversation: str) -> None:
        """The socket has entered a conversation."""
        ...

    def on_left(self, conversation: str, unsent: list[str]) -> None:
        """The socket has left a conversation and did not send these replies to their end."""
        ...


class QueuedConversations:
    """`current` is the conversation of the next message, or None. One that the socket has left stays until the replies that
    it queued are sent.
    """

    def __init__(
        self, session: DialectSession[bytes], chat: UserChat, subscribe: Subscribe, format_: QueueFormat
    ) -> None:
        self.current: str | None = None
        self.queue = ReplyQueue(session.socket, subscribe)
        self.format = format_
        self._session = session
        self._chat = chat
        self._entered: dict[str, QueuedConversation] = {}

    def get(self, conversation: str | None) -> "QueuedConversation | None":
        """Return a conversation that the socket has entered and whose replies are not all sent."""
        return self._entered.get(conversation) if conversation is not None else None

    def of_reply(self, stream: str) -> "QueuedConversation | None":
        """Return the conversation of a reply that is queued, or is being sent."""
        return next((each for each in self._entered.values() if stream in each.streams), None)

    def enter(self, conversation: str) -> "QueuedConversation | None":
        """Make a conversation the current one, and leave the one before. Return None if the socket is gone."""
        before, self.current = self.current, conversation
        entered = self._entered.get(conversation)
        if entered is None and not self._session.is_closed:
            entered = self._entered[conversation] = QueuedConversation(self, conversation)
            self.format.on_entered(conversation)
            self._chat.subscribe(conversation, entered)
        if entered is not None:
            entered.leaving = False
        if before is not None and before != conversation and before in self._entered:
            self._entered[before].leave_when_sent()
        return entered

    def close(self) -> None:
        """Leave all conversations at once; the socket is gone."""
        self.queue.close()
        for each in list(self._entered.values()):
            each.leave()

    def remove(self, conversation: "QueuedConversation") -> None:
        """Called by a conversation that is left."""
        name = conversation.name
        self._entered.pop(name, None)
        if self.current == name:
            self.current = None
        self._chat.unsubscribe(name, conversation)
        self.format.on_left(name, list(conversation.streams))


class QueuedConversation(NullWatcher):
    """A conversation that a socket has entered. `streams` are the replies that are queued or being sent, in order.

    With `leaving` it queues no new reply, and leaves when the last one is sent.
    """

    def __init__(self, conversations: QueuedConversations, name: str) -> None:
        self._conversations = conversations
        self._held: list[Callable[[], None]] | None = None
        self.name = name
        self.streams: dict[str, None] = {}
        self.leaving = False

    def hold(self) -> None:
        """Delay what happens in the conversation until `release`."""
        self._held = []

    def release(self) -> None:
        """Queue what was held, and hold no more."""
        held, self._held = self._held or [], None
        for change in held:
            change()

    def on_stream(self, log: Log) -> None:
        if self._held is not None:
            self._held.append(lambda: self.on_stream(log))
        elif not self.leaving and log.stream not in self.streams:
            self.streams[log.stream] = None
            self._conversations.queue.add(log, on_sent=lambda: self._sent(log.stream))

    def on_message(self, message: Message) -> None:
        if message.role != "assistant" or message.status == "streaming":
            return
        if self._held is not None:
            self._held.append(lambda: self.on_message(message))
        else:
            self._conversations.queue.end(message.id, *self._conversations.format.end_frames(message))

    def on_deleted(self, conversation: str) -> None:
        queue = self._conversations.queue
        for stream in self.streams:
            queue.drop(stream)
        queue.send(*self._conversations.format.deleted_frames(conversation))
        self.streams.clear()
        self.leave()

    def leave_when_sent(self) -> None:
        """Leave as soon as the queued replies are sent."""
        self.leaving = True
        if not self.streams:
            self.leave()

    def leave(self) -> None:
        """Leave now."""
        self._conversations.remove(self)

    def _sent(self, stream: str) -> None:
        self.streams.pop(stream, None)
        if self.leaving and not self.streams:
            self.leave()
