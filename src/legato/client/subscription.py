"""A conversation that a user of the client follows."""

from collections.abc import Callable, Mapping
from types import TracebackType

from legato.client.event_queue import EventQueue
from legato.client.events import ClientEvent
from legato.client.reply import ClientReply
from legato.client.state import FollowedConversation
from legato.client.stream import StreamState
from legato.errors import LegatoError
from legato.protocol.messages import ConversationView, MessageView, PersonView


class ConversationSubscription:
    """A conversation that is followed. `async for` yields its events from now on; `messages` are all messages so far."""

    def __init__(
        self,
        followed: FollowedConversation,
        streams: Mapping[str, StreamState],
        reply: Callable[[StreamState, str], ClientReply],
        unsubscribe: Callable[["ConversationSubscription"], None],
    ) -> None:
        self._followed = followed
        self._streams = streams
        self._reply = reply
        self._unsubscribe = unsubscribe
        self._events: EventQueue[ClientEvent] = EventQueue()
        self._started = False
        self.id = followed.id

    def start(self) -> None:
        """The history is in `messages`; yield later events. Called by the client."""
        self._started = True

    @property
    def conversation(self) -> ConversationView | None:
        return self._followed.view

    @property
    def messages(self) -> list[MessageView]:
        """The messages of all branches, in the order in which they arrived; one that is being generated has no text here."""
        return list(self._followed.messages.values())

    @property
    def participants(self) -> list[PersonView]:
        """The participants, and who of them is present; empty until the server has sent them."""
        return self._followed.participants

    def text(self, message: MessageView) -> str:
        """Return the text of a message, or the text so far while it is being generated."""
        stream = self._streams.get(message.id)
        return stream.snapshot.text if message.status == "streaming" and stream is not None else message.text

    def reply(self, message: MessageView) -> ClientReply | None:
        """Return the running reply of a message, or None if it has ended."""
        stream = self._streams.get(message.id)
        if message.status != "streaming" or stream is None:
            return None
        return self._reply(stream, self.id)

    @property
    def shown(self) -> list[MessageView]:
        """The branch that is shown, from its first message to its last."""
        branch: list[MessageView] = []
        messages = self._followed.messages
        at = self._followed.view.head if self._followed.view is not None else None
        while at is not None and (message := messages.get(at)) is not None and len(branch) < len(messages):
            branch.append(message)
            at = message.parent
        return branch[::-1]

    def __aiter__(self) -> EventQueue[ClientEvent]:
        return self._events

    def put(self, event: ClientEvent) -> None:
        """Hand an event to the reader. Called by the client."""
        if self._started:
            self._events.put(event)

    def end(self, error: LegatoError | None) -> None:
        """End the iteration, with an error if it is not None. Called by the client."""
        self._events.close(error)

    def close(self) -> None:
        """Unsubscribe."""
        self._events.close()
        self._unsubscribe(self)

    async def __aenter__(self) -> "ConversationSubscription":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
