"""A reply that is being generated, as a user of the client reads it."""

import asyncio
from collections.abc import Iterator

from legato.client.event_queue import EventQueue
from legato.client.events import StreamAdvanced, StreamRestarted
from legato.client.stream import StreamState
from legato.errors import LegatoError
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
    """A reply from its first token to its end, across any number of lost connections.

    `async for` yields its events from the beginning: `Text`, `Reasoning`, `State` …, and the terminal event last.
    `StreamRestarted` (and `Rewound`) means that the text before it does not count; `text` is always right.
    `question` is the id of the message that it answers, `duplicate` whether that message was sent before.
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
        """The id of its message."""
        return self._stream.id

    @property
    def snapshot(self) -> ReplySnapshot:
        """The reply so far: text, reasoning, state and tools."""
        return self._stream.snapshot

    @property
    def text(self) -> str:
        """The text so far."""
        return self._stream.snapshot.text

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return self._stream.snapshot.reasoning

    @property
    def state(self) -> State | None:
        """What it waits for, if the server said so."""
        return self._stream.snapshot.state

    @property
    def end(self) -> Terminal | None:
        """How it ended; None while it runs."""
        return self._stream.end

    async def wait(self) -> Terminal:
        """Wait for the end, and return it.

        :raises LegatoError: the client was closed, or the server refused it for good, before that.
        """
        await self._ended.wait()
        if self._stream.end is None:
            raise self._error or LegatoError("The client was closed before the reply was whole.")
        return self._stream.end

    def __aiter__(self) -> EventQueue[Event | StreamRestarted]:
        reader: EventQueue[Event | StreamRestarted] = EventQueue()
        for event in _events_so_far(self._stream.snapshot):
            reader.put(event)
        if self._stream.end is not None:
            reader.put(self._stream.end)
        if self._ended.is_set():
            reader.close(self._error)
        else:
            self._readers.append(reader)
        return reader

    def put(self, event: StreamAdvanced | StreamRestarted) -> None:
        """Hand an event to the readers. Called by the client."""
        events = event.events if isinstance(event, StreamAdvanced) else [event]
        for reader in self._readers:
            for each in events:
                reader.put(each)
        if self._stream.end is not None:
            self.close(None)

    def close(self, error: LegatoError | None) -> None:
        """End all readers, with an error if it is not None. Called by the client."""
        self._error = error
        self._ended.set()
        for reader in self._readers:
            reader.close(error)
        self._readers.clear()


def _events_so_far(snapshot: ReplySnapshot) -> Iterator[Event]:
    """Yield the reply so far in as few events as possible, each tool at its place in the text."""
    if snapshot.state is not None:
        yield snapshot.state
    if snapshot.reasoning:
        yield Reasoning(snapshot.reasoning)
    text, at = snapshot.text, 0
    for tool in snapshot.tools:
        if tool.at > at:
            yield Text(text[at : tool.at])
            at = tool.at
        call = ToolAsked if tool.asking or tool.refused else ToolStarted
        yield call(tool.call, tool.name, tool.arguments)
        if tool.output is not None:
            yield ToolFinished(tool.call, tool.output, tool.failed)
    if text[at:]:
        yield Text(text[at:])
