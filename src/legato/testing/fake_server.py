"""A server of `legato.v1` for tests of clients: commands in, frames out, and no socket, engine or database behind it.

A test moves it by hand: it writes replies, cuts lines and crashes when it is told to, and says nothing by itself.
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
    """One connection as the server sees it: what it follows, and what it has written and nobody read yet."""

    def __init__(self, server: "FakeServer") -> None:
        self.server = server
        self.frames: list[ServerMessage] = []
        self.cursors: dict[str, dict[str, int]] = {}

    def say(self, message: ServerMessage) -> None:
        self.frames.append(message)

    def hear(self, command: ClientMessage) -> None:
        self.server.commands.append(command)
        self.server.answer(self, command)

    def flush(self, limit: int = 0) -> None:
        """Write out what there is of the streams, in frames of about `limit` characters."""
        for cursors in self.cursors.values():
            for stream, cursor in list(cursors.items()):
                log = self.server.logs[stream]
                while cursor < log.next:
                    batch = log.since(cursor, limit)
                    self.say(Delta(stream, log.epoch, batch.first, batch.next, batch.events))
                    cursor = batch.next
                cursors[stream] = cursor


class FakeServer:
    """`refuse` maps the name of a command's class to the error it is answered with. `commands` are all it heard."""

    def __init__(self) -> None:
        self.conversations: dict[str, ConversationView] = {}
        self.messages: dict[str, MessageView] = {}
        self.logs: dict[str, Log] = {}
        self.acks: dict[str, Ack] = {}
        self.lines: list[FakeConnection] = []
        self.commands: list[ClientMessage] = []
        self.refuse: dict[str, Error] = {}
        self.heartbeat = 20.0
        self._ids = count(1)
        self._epoch = 1

    def connect(self) -> FakeConnection:
        line = FakeConnection(self)
        self.lines.append(line)
        return line

    def disconnect(self, line: FakeConnection) -> None:
        if line in self.lines:
            self.lines.remove(line)

    def answer(self, line: FakeConnection, command: ClientMessage) -> None:
        refusal = self.refuse.get(type(command).__name__)
        if refusal is not None:
            line.say(msgspec.structs.replace(refusal, re=command.id))
            return
        match command:
            case Hello():
                line.say(self.welcome())
            case Ping():
                line.say(Pong(re=command.id))
            case Follow():
                self._follow(line, command)
            case Unfollow(conversation=conversation):
                line.cursors.pop(conversation, None)
                line.say(Unfollowed(re=command.id, conversation=conversation))
            case Send() | Edit() | Regenerate():
                self._begin(line, command)
            case Stop(conversation=conversation):
                running = [each for each in self.running(conversation) if command.message in (None, each)]
                for stream in running:
                    self.finish(stream, "stopped")
                line.say(Stopped(re=command.id, conversation=conversation, messages=running))
            case Show(conversation=conversation):
                self._revise(conversation, head=command.message)
                line.say(ConversationChanged(re=command.id, conversation=self.conversations[conversation]))

    def welcome(self) -> Welcome:
        return Welcome(user="ann", server="test", heartbeat=self.heartbeat)

    def running(self, conversation: str) -> list[str]:
        return [
            each
            for each in self.logs
            if self.messages[each].conversation == conversation and not self.logs[each].closed
        ]

    def make(self, conversation: str) -> str:
        """A conversation with nothing in it."""
        self.conversations[conversation] = ConversationView(conversation, "New", "default", 1, WHEN, WHEN)
        return conversation

    def begin(self, conversation: str, text: str) -> tuple[str, str]:
        """A question and the reply to it, told to all who follow."""
        revision = self._revise(conversation)
        question, reply = f"m{next(self._ids)}", f"m{next(self._ids)}"
        self.logs[reply] = Log(reply, f"e{self._epoch}")
        self.messages[question] = MessageView(
            question, conversation, "user", "complete", WHEN, revision, text
        )
        self.messages[reply] = MessageView(reply, conversation, "assistant", "streaming", WHEN, revision)
        for line in self.lines:
            if conversation in line.cursors:
                line.say(ConversationChanged(conversation=self.conversations[conversation]))
                line.say(MessageChanged(message=self.messages[question]))
                line.say(MessageChanged(message=self.messages[reply]))
                line.cursors[conversation][reply] = 0
        return question, reply

    def write(self, stream: str, event: Event) -> None:
        """One more event of a reply; `FakeConnection.flush` sends it."""
        self.logs[stream].append(event)

    def finish(self, stream: str, how: Status = "complete") -> None:
        """End a reply and tell all who follow; what is left of its stream may still be on its way then."""
        log = self.logs[stream]
        if how == "interrupted":
            log.append(Failed("engine_broke", "The engine broke off."))
        else:
            log.append(Finished("stopped" if how == "stopped" else "stop"))
        message = self.messages[stream]
        revision = self._revise(message.conversation)
        fold = log.snapshot()
        self.messages[stream] = msgspec.structs.replace(
            message, status=how, revision=revision, text=fold.text, reasoning=fold.reasoning
        )
        for line in self.lines:
            if message.conversation in line.cursors:
                line.say(MessageChanged(message=self.messages[stream]))
                line.say(ConversationChanged(conversation=self.conversations[message.conversation]))

    def crash(self) -> None:
        """All lines are cut. Of a running reply the first half is kept, and goes on in another incarnation of its log."""
        self.lines.clear()
        self._epoch += 1
        for stream, log in self.logs.items():
            fold = log.snapshot()
            fresh = self.logs[stream] = Log(stream, f"e{self._epoch}")
            text = fold.text if fold.end else fold.text[: len(fold.text) // 2]
            if text:
                fresh.append(Text(text))
            if fold.end is not None:
                fresh.append(fold.end)

    def _revise(self, conversation: str, head: str | None = None) -> int:
        view = self.conversations[conversation]
        view = msgspec.structs.replace(view, revision=view.revision + 1, head=head or view.head)
        self.conversations[conversation] = view
        return view.revision

    def _begin(self, line: FakeConnection, command: Send | Edit | Regenerate) -> None:
        key = command.client_message_id or ""
        if key in self.acks:
            ack = msgspec.structs.replace(self.acks[key], re=command.id, duplicate=True)
            line.say(ack)
            line.cursors.setdefault(ack.conversation, {}).setdefault(ack.reply, 0)
            if self.logs[ack.reply].closed:
                line.say(MessageChanged(message=self.messages[ack.reply]))
            return
        conversation = command.conversation or self.make(f"v{next(self._ids)}")
        if conversation not in self.conversations:
            line.say(Error(re=command.id, code="not_found", message="There is no such conversation."))
            return
        line.cursors.setdefault(conversation, {})
        line.frames, told = [], line.frames
        question, reply = self.begin(conversation, getattr(command, "text", ""))
        ack = Ack(
            re=command.id, conversation=conversation, reply=reply, message=question, client_message_id=key
        )
        self.acks[key] = ack
        line.frames = [*told, ack, *line.frames]

    def _follow(self, line: FakeConnection, command: Follow) -> None:
        view = self.conversations.get(command.conversation)
        if view is None:
            line.say(Error(re=command.id, code="not_found", message="There is no such conversation."))
            return
        missed = [
            each
            for each in self.messages.values()
            if each.conversation == view.id and each.revision >= command.since
        ]
        line.say(Following(re=command.id, conversation=view, messages=missed))
        line.say(
            People(conversation=view.id, people=[PersonView("ann", "owner", present=True, connections=1)])
        )
        positions = {each.stream: each for each in command.positions}
        cursors = line.cursors[view.id] = {}
        for stream, log in self.logs.items():
            if self.messages[stream].conversation != view.id:
                continue
            where = positions.get(stream)
            if where is None:
                if not log.closed:
                    cursors[stream] = 0
                continue
            answer = resume(log, Position(where.stream, where.epoch, where.offset))
            if isinstance(answer, Reset):
                line.say(ResetStream(stream, answer.reason, log.epoch))
                cursors[stream] = 0
            else:
                cursors[stream] = answer.offset
        for stream in positions.keys() - cursors.keys():
            line.say(ResetStream(stream, "gone"))
