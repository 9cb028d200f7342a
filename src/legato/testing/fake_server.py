"""A server of `legato.v1` for tests of clients: commands in, frames out, without a socket, an engine or a database.

A test drives it: it writes replies, cuts connections and crashes on request, and does nothing by itself.
"""

from itertools import count

import msgspec

from legato.domain.message import Status
from legato.protocol.messages import (
    Ack,
    ClientMessage,
    ConversationChanged,
    ConversationView,
    Delta,
    Edit,
    Error,
    Follow,
    Following,
    Hello,
    MessageChanged,
    MessageView,
    People,
    PersonView,
    Ping,
    Pong,
    Regenerate,
    ResetStream,
    Send,
    ServerMessage,
    Show,
    Stop,
    Stopped,
    Unfollow,
    Unfollowed,
    Welcome,
)
from legato.stream import Event, Failed, Finished, Log, Position, Reset, Text, resume

WHEN = "2031-05-06T07:08:09Z"


class FakeConnection:
    """One connection as the server sees it: what it follows, and the frames that were written and not read yet."""

    def __init__(self, server: "FakeServer") -> None:
        self.server = server
        self.frames: list[ServerMessage] = []
        self.cursors: dict[str, dict[str, int]] = {}

    def send(self, message: ServerMessage) -> None:
        self.frames.append(message)

    def receive(self, command: ClientMessage) -> None:
        self.server.commands.append(command)
        self.server.answer(self, command)

    def flush(self, limit: int = 0) -> None:
        """Write out the rest of the streams, in frames of about `limit` characters."""
        for cursors in self.cursors.values():
            for stream, cursor in list(cursors.items()):
                log = self.server.logs[stream]
                while cursor < log.next:
                    batch = log.since(cursor, limit)
                    self.send(Delta(stream, log.epoch, batch.first, batch.next, batch.events))
                    cursor = batch.next
                cursors[stream] = cursor


class FakeServer:
    """`refuse` maps the name of a command's class to the error that answers it. `commands` are all received commands."""

    def __init__(self) -> None:
        self.conversations: dict[str, ConversationView] = {}
        self.messages: dict[str, MessageView] = {}
        self.logs: dict[str, Log] = {}
        self.acks: dict[str, Ack] = {}
        self.connections: list[FakeConnection] = []
        self.commands: list[ClientMessage] = []
        self.refuse: dict[str, Error] = {}
        self.heartbeat = 20.0
        self._ids = count(1)
        self._epoch = 1

    def connect(self) -> FakeConnection:
        connection = FakeConnection(self)
        self.connections.append(connection)
        return connection

    def disconnect(self, connection: FakeConnection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)

    def answer(self, connection: FakeConnection, command: ClientMessage) -> None:
        refusal = self.refuse.get(type(command).__name__)
        if refusal is not None:
            connection.send(msgspec.structs.replace(refusal, re=command.id))
            return
        match command:
            case Hello():
                connection.send(self.welcome())
            case Ping():
                connection.send(Pong(re=command.id))
            case Follow():
                self._follow(connection, command)
            case Unfollow(conversation=conversation):
                connection.cursors.pop(conversation, None)
                connection.send(Unfollowed(re=command.id, conversation=conversation))
            case Send() | Edit() | Regenerate():
                self._begin(connection, command)
            case Stop(conversation=conversation):
                running = [each for each in self.running(conversation) if command.message in (None, each)]
                for stream in running:
                    self.finish(stream, "stopped")
                connection.send(Stopped(re=command.id, conversation=conversation, messages=running))
            case Show(conversation=conversation):
                self._revise(conversation, head=command.message)
                connection.send(
                    ConversationChanged(re=command.id, conversation=self.conversations[conversation])
                )

    def welcome(self) -> Welcome:
        return Welcome(user="ann", server="test", heartbeat=self.heartbeat)

    def running(self, conversation: str) -> list[str]:
        return [
            each
            for each in self.logs
            if self.messages[each].conversation == conversation and not self.logs[each].closed
        ]

    def make(self, conversation: str) -> str:
        """Create an empty conversation."""
        self.conversations[conversation] = ConversationView(conversation, "New", "default", 1, WHEN, WHEN)
        return conversation

    def begin(self, conversation: str, text: str) -> tuple[str, str]:
        """Add a question and its reply, and send both to all connections that follow."""
        revision = self._revise(conversation)
        question, reply = f"m{next(self._ids)}", f"m{next(self._ids)}"
        self.logs[reply] = Log(reply, f"e{self._epoch}")
        self.messages[question] = MessageView(
            question, conversation, "user", "complete", WHEN, revision, text
        )
        self.messages[reply] = MessageView(reply, conversation, "assistant", "streaming", WHEN, revision)
        for connection in self.connections:
            if conversation in connection.cursors:
                connection.send(ConversationChanged(conversation=self.conversations[conversation]))
                connection.send(MessageChanged(message=self.messages[question]))
                connection.send(MessageChanged(message=self.messages[reply]))
                connection.cursors[conversation][reply] = 0
        return question, reply

    def write(self, stream: str, event: Event) -> None:
        """Append an event to a reply; `FakeConnection.flush` sends it."""
        self.logs[stream].append(event)

    def finish(self, stream: str, how: Status = "complete") -> None:
        """End a reply and notify all connections that follow. The rest of its stream may still be unsent then."""
        log = self.logs[stream]
        if how == "interrupted":
            log.append(Failed("engine_broke", "The engine broke off."))
        else:
            log.append(Finished("stopped" if how == "stopped" else "stop"))
        message = self.messages[stream]
        revision = self._revise(message.conversation)
        snapshot = log.snapshot()
        self.messages[stream] = msgspec.structs.replace(
            message, status=how, revision=revision, text=snapshot.text, reasoning=snapshot.reasoning
        )
        for connection in self.connections:
            if message.conversation in connection.cursors:
                connection.send(MessageChanged(message=self.messages[stream]))
                connection.send(ConversationChanged(conversation=self.conversations[message.conversation]))

    def crash(self) -> None:
        """Cut all connections. The first half of a running reply is kept, and continues in another epoch of its log."""
        self.connections.clear()
        self._epoch += 1
        for stream, log in self.logs.items():
            snapshot = log.snapshot()
            fresh = self.logs[stream] = Log(stream, f"e{self._epoch}")
            text = snapshot.text if snapshot.end else snapshot.text[: len(snapshot.text) // 2]
            if text:
                fresh.append(Text(text))
            if snapshot.end is not None:
                fresh.append(snapshot.end)

    def _revise(self, conversation: str, head: str | None = None) -> int:
        view = self.conversations[conversation]
        view = msgspec.structs.replace(view, revision=view.revision + 1, head=head or view.head)
        self.conversations[conversation] = view
        return view.revision

    def _begin(self, connection: FakeConnection, command: Send | Edit | Regenerate) -> None:
        key = command.client_message_id or ""
        if key in self.acks:
            ack = msgspec.structs.replace(self.acks[key], re=command.id, duplicate=True)
            connection.send(ack)
            connection.cursors.setdefault(ack.conversation, {}).setdefault(ack.reply, 0)
            if self.logs[ack.reply].closed:
                connection.send(MessageChanged(message=self.messages[ack.reply]))
            return
        conversation = command.conversation or self.make(f"v{next(self._ids)}")
        if conversation not in self.conversations:
            connection.send(Error(re=command.id, code="not_found", message="There is no such conversation."))
            return
        connection.cursors.setdefault(conversation, {})
        connection.frames, earlier = [], connection.frames
        question, reply = self.begin(conversation, getattr(command, "text", ""))
        ack = Ack(
            re=command.id, conversation=conversation, reply=reply, message=question, client_message_id=key
        )
        self.acks[key] = ack
        connection.frames = [*earlier, ack, *connection.frames]

    def _follow(self, connection: FakeConnection, command: Follow) -> None:
        view = self.conversations.get(command.conversation)
        if view is None:
            connection.send(Error(re=command.id, code="not_found", message="There is no such conversation."))
            return
        missed = [
            each
            for each in self.messages.values()
            if each.conversation == view.id and each.revision >= command.since
        ]
        connection.send(Following(re=command.id, conversation=view, messages=missed))
        connection.send(
            People(conversation=view.id, people=[PersonView("ann", "owner", present=True, connections=1)])
        )
        positions = {each.stream: each for each in command.positions}
        cursors = connection.cursors[view.id] = {}
        for stream, log in self.logs.items():
            if self.messages[stream].conversation != view.id:
                continue
            position = positions.get(stream)
            if position is None:
                if not log.closed:
                    cursors[stream] = 0
                continue
            answer = resume(log, Position(position.stream, position.epoch, position.offset))
            if isinstance(answer, Reset):
                connection.send(ResetStream(stream, answer.reason, log.epoch))
                cursors[stream] = 0
            else:
                cursors[stream] = answer.offset
        for stream in positions.keys() - cursors.keys():
            connection.send(ResetStream(stream, "gone"))
