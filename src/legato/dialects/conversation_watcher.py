"""How a socket watches one conversation: a viewer for each running reply, and the end of each behind its stream."""

from collections import deque

from legato.domain.conversation import Conversation
from legato.domain.message import Message
from legato.stream import Log, Subscriber

Change = Message | Conversation | Log


class NullWatcher:
    """A `Watcher` that passes over everything: what a dialect has a word for, it overrides."""

    __slots__ = ()

    def on_message(self, message: Message) -> None:
        """A message is new or was written again."""

    def on_conversation(self, conversation: Conversation) -> None:
        """Title, head or revision changed."""

    def on_deleted(self, conversation: str) -> None:
        """It is gone, or the person is no longer in it."""

    def on_stream(self, log: Log) -> None:
        """A reply begins: its log, from offset 0."""

    def on_people(self, conversation: str) -> None:
        """Participants or who is present changed."""

    def on_typing(self, conversation: str, user: str, name: str | None, typing: bool) -> None:
        """Somebody types, or no longer does."""


class ConversationWatcher(NullWatcher):
    """A `Watcher` that tells changes in their order.

    A reply that ended is told when its stream was told to the end, and what changed later behind it: on a socket that
    takes no more, all of it waits, in order.
    """

    __slots__ = ("_late", "_viewers")

    def __init__(self) -> None:
        self._viewers: dict[str, Subscriber] = {}
        self._late: deque[Change] | None = None

    def tell(self, change: Change) -> None:
        """Its turn has come: write it, or for a log begin to look at it."""
        raise NotImplementedError

    def on_message(self, message: Message) -> None:
        self.hear(message)

    def on_conversation(self, conversation: Conversation) -> None:
        self.hear(conversation)

    def on_stream(self, log: Log) -> None:
        self.hear(log)

    def hear(self, change: Change) -> None:
        """Tell it, or let it wait for its turn."""
        if self._late is not None:
            self._late.append(change)
        elif self._premature(change):
            self._late = deque((change,))
        else:
            self.tell(change)

    def look(self, viewer: Subscriber) -> None:
        """Have a viewer of a stream, whose `ended` is ours; one that looked at the same stream looks no more."""
        before = self._viewers.get(viewer.log.stream)
        if before is not None:
            before.detach()
        self._viewers[viewer.log.stream] = viewer

    def looks_at(self, stream: str) -> bool:
        return stream in self._viewers

    def ended(self, viewer: Subscriber) -> None:
        """A stream was told to the end: what waited for that is told now."""
        self._viewers.pop(viewer.log.stream, None)
        while self._late and not self._premature(self._late[0]):
            self.tell(self._late.popleft())
        if not self._late:
            self._late = None

    def mark(self) -> None:
        """The socket takes more again."""
        for viewer in self._viewers.values():
            viewer.mark()

    def detach(self) -> None:
        """Look at no stream, and forget what waits."""
        for viewer in self._viewers.values():
            viewer.detach()
        self._viewers.clear()
        self._late = None

    def _premature(self, change: Change) -> bool:
        """Whether it is the end of a reply whose stream is still being told."""
        return isinstance(change, Message) and change.status != "streaming" and change.id in self._viewers
