"""The dialect `tokens`, on `/ws/chat`: a text of one token after another, and tools that one sees at work.

Its frames do not say which reply they belong to, so a socket is told one thing at a time. What Legato adds to it is in
`docs/reference/dialects/tokens.md`.
"""

from typing import ClassVar

from msgspec import Struct

from legato.chat.commands import is_command
from legato.dialects.base import Handshake, Socket
from legato.dialects.conversation_watcher import NullWatcher
from legato.dialects.reply_queue import ReplyQueue
from legato.dialects.session import (
    Dialect,
    DialectContext,
    DialectSession,
    Frame,
    TimestampFormatter,
    encode,
    id_in,
    text_in,
    unknown,
)
from legato.domain.message import Message
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.errors import LegatoError
from legato.stream import Batch, Event, Failed, Log, Text, ToolAsked, ToolFinished, ToolStarted

DELETED = "This conversation was deleted, or you are no longer in it. Your next message begins a new one."


class TokensFrame(Struct, frozen=True, tag_field="type"):
    timestamp: str


class TokensConnected(TokensFrame, frozen=True, tag="connected"):
    client_id: str


class TokensToken(TokensFrame, frozen=True, tag="token"):
    content: str


class TokensToolStart(TokensFrame, frozen=True, tag="tool_start"):
    tool_name: str
    input: str


class TokensToolEnd(TokensFrame, frozen=True, tag="tool_end"):
    tool_name: str
    output: str


class TokensComplete(TokensFrame, frozen=True, tag="complete"):
    conversation_id: str | None


class TokensError(TokensFrame, frozen=True, tag="error"):
    message: str


class TokensPong(TokensFrame, frozen=True, tag="pong"):
    pass


class TokensDialect(Dialect["TokensSession"]):
    path: ClassVar[str] = "/ws/chat"
    apart: ClassVar[int] = 64

    def __init__(self, host: DialectContext, assistant: str = "default") -> None:
        super().__init__(host, assistant)
        self.stamp = TimestampFormatter(host.now)

    def visit(self, handshake: Handshake, socket: Socket) -> "TokensSession":
        return TokensSession(self, handshake, socket)

    def frames(self, log: Log, batch: Batch) -> list[bytes]:
        events = batch.events
        if len(events) == 1 and type(events[0]) is Text:
            return [encode(TokensToken(self.stamp(), events[0].text))]
        return [encode(frame) for event in events if (frame := self._frame(log, event)) is not None]

    def _frame(self, log: Log, event: Event) -> TokensFrame | None:
        match event:
            case Text():
                return TokensToken(self.stamp(), event.text)
            case ToolAsked() | ToolStarted() if _first(log, event.call) == event:
                return TokensToolStart(self.stamp(), event.name, event.arguments)
            case ToolFinished():
                return TokensToolEnd(self.stamp(), _first(log, event.call).name, event.output)
            case Failed():
                return TokensError(self.stamp(), event.message)
            case _:
                return None


def _first(log: Log, call: str) -> ToolAsked | ToolStarted:
    """The first that was said of a tool's run. Tools are rare, so the whole log is looked at."""
    for event in log.since(0).events:
        if isinstance(event, ToolAsked | ToolStarted) and event.call == call:
            return event
    return ToolStarted(call, "", "")


class TokensSession(DialectSession):
    """`here` is the conversation it is in: the last one it named, or was given."""

    def __init__(self, dialect: TokensDialect, handshake: Handshake, socket: Socket) -> None:
        super().__init__(dialect, handshake, socket)
        self._stamp = dialect.stamp
        self.here: str | None = None
        self.rooms: dict[str, TokensSubscription] = {}
        self.line = ReplyQueue(socket, lambda log, ended: dialect.viewer(log, socket, ended))

    def encode_error(self, message: str) -> bytes:
        return encode(TokensError(self._stamp(), message))

    def complete(self, conversation: str | None) -> bytes:
        return encode(TokensComplete(self._stamp(), conversation))

    async def on_authenticated(self, person: User) -> None:
        self.send(encode(TokensConnected(self._stamp(), self.host.new_id())))
        named = id_in(dict(self.handshake.query), "conversation_id")
        if named is not None:
            await self._go(named)
            if (room := self.rooms.get(named)) is not None:
                for log in self.service.subscriptions.logs(named):
                    room.on_stream(log)

    async def take(self, person: User, kind: str, frame: Frame) -> None:
        match kind:
            case "message":
                await self._hear(person, frame)
            case "ping":
                self.send(encode(TokensPong(self._stamp())))
            case _:
                raise unknown(kind)

    def resumed(self) -> None:
        self.line.mark()

    def left(self) -> None:
        self.line.close()
        for room in list(self.rooms.values()):
            room.leave()

    async def _hear(self, person: User, frame: Frame) -> None:
        """What is wrong with a message is said in its turn, for it is the answer to it."""
        try:
            text = text_in(frame, "message")
            key = id_in(frame, "client_message_id")
            named = id_in(frame, "conversation_id")
            if named is not None and named != self.here:
                await self._go(named)
            if is_command(text):
                await self._obey(text, key)
            else:
                await self._say(person, text, key)
        except LegatoError as error:
            self.line.say(self.encode_error(error.message))

    async def _go(self, conversation: str) -> None:
        await self.enter(conversation)
        self.settle(conversation)

    def settle(self, conversation: str) -> None:
        """Be in this conversation, and in no other once its replies are told."""
        before, self.here = self.here, conversation
        room = self.rooms.get(conversation)
        if room is None and not self.gone:
            room = self.rooms[conversation] = TokensSubscription(self, conversation)
            self.attend(conversation, room)
        if room is not None:
            room.leaving = False
        if before is not None and before != conversation and before in self.rooms:
            self.rooms[before].depart()

    async def _obey(self, text: str, key: str | None) -> None:
        answered = await self.command(text, self.here, key)
        if answered.conversation is not None:
            self.settle(answered.conversation)
        if answered.started is None:  # else the reply that it began is the answer
            self.line.say(encode(TokensToken(self._stamp(), answered.text)), self.complete(self.here))

    async def _say(self, person: User, text: str, key: str | None) -> None:
        submission = Submission(key, self.here, text, assistant=None if self.here else self.assistant)
        begun = await self.service.replies.send(
            person, submission, lambda begun: self.settle(begun.conversation.id)
        )
        if begun.duplicate:
            conversation, log = await self.service.subscriptions.log(person, begun.reply.id)
            tree = await self.service.conversations.get(person, conversation)
            room, reply = self.rooms.get(conversation), tree.messages.get(begun.reply.id)
            if room is not None and reply is not None:
                room.again(log, reply)


class TokensSubscription(NullWatcher):
    """A conversation that a socket is in. With `leaving` it hears of no new reply, and leaves once the last one is told."""

    def __init__(self, visit: TokensSession, conversation: str) -> None:
        self._visit = visit
        self._conversation = conversation
        self._streams: set[str] = set()
        self.leaving = False

    def on_stream(self, log: Log) -> None:
        if not self.leaving:
            self._streams.add(log.stream)
            self._visit.line.tell(log, over=lambda: self._over(log.stream))

    def on_message(self, message: Message) -> None:
        if message.role == "assistant" and message.status != "streaming":
            self._visit.line.end(message.id, self._visit.complete(self._conversation))

    def on_deleted(self, conversation: str) -> None:
        for stream in self._streams:
            self._visit.line.drop(stream)
        self._visit.line.say(self._visit.encode_error(DELETED))
        self.leave()

    def again(self, log: Log, message: Message) -> None:
        """A reply that was asked for twice is told again, if it is not in line anyway."""
        self.on_stream(log)
        self.on_message(message)

    def depart(self) -> None:
        self.leaving = True
        if not self._streams:
            self.leave()

    def leave(self) -> None:
        visit = self._visit
        visit.rooms.pop(self._conversation, None)
        if visit.here == self._conversation:
            visit.here = None
        visit.service.subscriptions.unfollow(self._conversation, self)

    def _over(self, stream: str) -> None:
        self._streams.discard(stream)
        if self.leaving and not self._streams:
            self.leave()
