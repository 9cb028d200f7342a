"""The watchers with which a socket follows a conversation: a subscriber for each running reply, and its end after it."""

from collections import deque

from legato.domain.conversation import Conversation
from legato.domain.message import Message
from legato.stream import Log, Subscriber

Change = Message | Conversation | Log


class NullWatcher:
    """A `Watcher` that ignores everything: a dialect overrides what it has frames for."""

    __slots__ = ()

    def on_message(self, message: Message) -> None:
        """A message was added or changed."""

    def on_conversation(self, conversation: Conversation) -> None:
        """Title, head or revision changed."""

    def on_deleted(self, conversation: str) -> None:
        """The conversation was deleted, or the user is no longer a participant."""

    def on_stream(self, log: Log) -> None:
        """A reply starts; `log` holds it from offset 0."""

    def on_people(self, conversation: str) -> None:
        """The participants, or who is present, changed."""

    def on_typing(self, conversation: str, user: str, name: str | None, typing: bool) -> None:
        """A participant types, or stopped typing."""


class ConversationWatcher(NullWatcher):
    """A `Watcher` that sends changes in their order.

    The end of a reply is sent after its whole stream, and later changes after that: if the socket is not writable, they
    all wait, in order.
    """

    __slots__ = ("_subscribers", "_waiting")

    def __init__(self) -> None:
        self._subscribers: dict[str, Subscriber] = {}
        self._waiting: deque[Change] | None = None

    def send(self, change: Change) -> None:
        """Write a change whose turn has come; for a log, subscribe to it."""
        raise NotImplementedError

    def on_message(self, message: Message) -> None:
        self.deliver(message)

    def on_conversation(self, conversation: Conversation) -> None:
        self.deliver(conversation)

    def on_stream(self, log: Log) -> None:
        self.deliver(log)

    def deliver(self, change: Change) -> None:
        """Send a change, or let it wait for its turn."""
        if self._waiting is not None:
            self._waiting.append(change)
        elif self.must_wait(change):
            self._waiting = deque((change,))
        else:
            self.send(change)

    def add(self, subscriber: Subscriber) -> None:
        """Add the subscriber of a stream, whose `ended` is ours; it replaces an earlier one of the same stream."""
        before = self._subscribers.get(subscriber.log.stream)
        if before is not None:
            before.detach()
        self._subscribers[subscriber.log.stream] = subscriber

    def is_sending(self, stream: str) -> bool:
        """Whether a stream is being sent."""
        return stream in self._subscribers

    def subscriber(self, stream: str) -> Subscriber | None:
        """Return the subscriber of a stream that is being sent."""
        return self._subscribers.get(stream)

    def drop(self, stream: str) -> None:
        """Send nothing more of a stream."""
        subscriber = self._subscribers.pop(stream, None)
        if subscriber is not None:
            subscriber.detach()

    def ended(self, subscriber: Subscriber) -> None:
        """A stream was sent whole: send what waited for that."""
        self._subscribers.pop(subscriber.log.stream, None)
        self.send_waiting()

    def send_waiting(self) -> None:
        """Send the changes whose turn has come."""
        while self._waiting and not self.must_wait(self._waiting[0]):
            self.send(self._waiting.popleft())
        if not self._waiting:
            self._waiting = None

    def mark(self) -> None:
        """The socket is writable again."""
        for subscriber in self._subscribers.values():
            subscriber.mark()

    def detach(self) -> None:
        """Unsubscribe from all streams, and forget the changes that wait."""
        for subscriber in self._subscribers.values():
            subscriber.detach()
        self._subscribers.clear()
        self._waiting = None

    def must_wait(self, change: Change) -> bool:
        """Whether this is the end of a reply whose stream is still being sent."""
        return isinstance(change, Message) and change.status != "streaming" and change.id in self._subscribers
