"""What a user of the client holds: a reply that is being written, and a conversation that is watched."""

import asyncio
from collections.abc import Callable, Iterator
from types import TracebackType

from legato.client.event_queue import EventQueue
from legato.client.events import ClientEvent, StreamAdvanced, StreamRestarted
from legato.client.state import FollowedConversation
from legato.client.stream import StreamState
from legato.errors import LegatoError
from legato.protocol.messages import ConversationView, MessageView, PersonView
from legato.stream import (
    Event,
    Reasoning,
    ReplySnapshot,
    State,
    Terminal,
    Text,
    ToolAsked,
    ToolFinished,
    ToolStarted,
)


class ClientReply:
    """A reply, from its first word to its end, across any number of lost connections.

    `async for` gives its events from the beginning: `Text`, `Reasoning`, `State` …, the terminal one last. `StreamRestarted`
    among them (and `Rewound`) says that what was given does not count; `text` is always right.
    """

    def __init__(
        self, stream: StreamState, conversation: str, question: str | None = None, duplicate: bool = False
    ) -> None:
        self._stream = stream
        self._ended = asyncio.Event()
        self._error: LegatoError | None = None
        self._readers: list[EventQueue[Event | StreamRestarted]] = []
        self.conversation = conversation
        self.question = question
        self.duplicate = duplicate
        if stream.end is not None:
            self._ended.set()

    @property
    def id(self) -> str:
        """The id of the message that it becomes."""
        return self._stream.id

    @property
    def fold(self) -> ReplySnapshot:
        """All that it says so far."""
        return self._stream.fold

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._stream.fold.text

    @property
    def reasoning(self) -> str:
        return self._stream.fold.reasoning

    @property
    def state(self) -> State | None:
        """What it is waiting for, where the server said so."""
        return self._stream.fold.state

    @property
    def end(self) -> Terminal | None:
        """How it ended, once it has."""
        return self._stream.end

    async def wait(self) -> Terminal:
        """Return how it ended, once it has.

        :raises LegatoError: the client was closed, or refused for good, before that.
        """
        await self._ended.wait()
        if self._stream.end is None:
            raise self._error or LegatoError("The client was closed before the reply was whole.")
        return self._stream.end

    def __aiter__(self) -> EventQueue[Event | StreamRestarted]:
        reader: EventQueue[Event | StreamRestarted] = EventQueue()
        for event in _so_far(self._stream.fold):
            reader.put(event)
        if self._stream.end is not None:
            reader.put(self._stream.end)
        if self._ended.is_set():
            reader.close(self._error)
        else:
            self._readers.append(reader)
        return reader

    def told(self, happening: StreamAdvanced | StreamRestarted) -> None:
        """Hand on what the connection heard."""
        events = happening.events if isinstance(happening, StreamAdvanced) else [happening]
        for reader in self._readers:
            for event in events:
                reader.put(event)
        if self._stream.end is not None:
            self.close(None)

    def close(self, error: LegatoError | None) -> None:
        """Nothing more will come."""
        self._error = error
        self._ended.set()
        for reader in self._readers:
            reader.close(error)
        self._readers.clear()


class ConversationSubscription:
    """A conversation that is followed. `async for` gives what happens in it, from now on; `messages` is all of it."""

    def __init__(
        self,
        followed: FollowedConversation,
        streams: dict[str, StreamState],
        reply: Callable[[StreamState, str], ClientReply],
        leave: Callable[["ConversationSubscription"], None],
    ) -> None:
        self._followed = followed
        self._streams = streams
        self._reply = reply
        self._leave = leave
        self._inbox: EventQueue[ClientEvent] = EventQueue()
        self._begun = False
        self.id = followed.id

    def begin(self) -> None:
        """What was there is in `messages`; what comes now is told."""
        self._begun = True

    @property
    def conversation(self) -> ConversationView | None:
        return self._followed.view

    @property
    def messages(self) -> list[MessageView]:
        """The messages of all branches, in the order they were told; one that is being written has no text here."""
        return list(self._followed.messages.values())

    @property
    def people(self) -> list[PersonView]:
        """Everybody who takes part, and who of them is here; nobody, until the server has told it."""
        return self._followed.people

    def text(self, message: MessageView) -> str:
        """What a message says, or says so far."""
        stream = self._streams.get(message.id)
        return stream.fold.text if message.status == "streaming" and stream is not None else message.text

    def reply(self, message: MessageView) -> ClientReply | None:
        """The reply that this message is being written as; None where it is whole."""
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
        return self._inbox

    def told(self, happening: ClientEvent) -> None:
        """Hand on what the connection heard."""
        if self._begun:
            self._inbox.put(happening)

    def closed(self, error: LegatoError | None) -> None:
        """Nothing more will come."""
        self._inbox.close(error)

    def close(self) -> None:
        """Watch no more."""
        self._inbox.close()
        self._leave(self)

    async def __aenter__(self) -> "ConversationSubscription":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _so_far(fold: ReplySnapshot) -> Iterator[Event]:
    """What a reply says up to now, in as few events as that takes: each tool where it stands in the text."""
    if fold.state is not None:
        yield fold.state
    if fold.reasoning:
        yield Reasoning(fold.reasoning)
    text, said = fold.text, 0
    for tool in fold.tools:
        if tool.at > said:
            yield Text(text[said : tool.at])
            said = tool.at
        made = ToolAsked if tool.asking else ToolStarted
        yield made(tool.call, tool.name, tool.arguments)
        if tool.output is not None:
            yield ToolFinished(tool.call, tool.output, tool.failed)
    if text[said:]:
        yield Text(text[said:])
