"""The dialect `accumulating`, on `/ws/assistant`: a reply with typing before it, and all of its text in every frame.

Its frames do not say which reply they belong to, so a socket is told one thing at a time. What Legato adds to it is in
`docs/reference/dialects/accumulating.md`.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import ClassVar

from legato.chat.commands import is_command
from legato.dialects.accumulating import frames
from legato.dialects.accumulating.retention import Retention
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
from legato.domain.message import Message, text_of
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.errors import LegatoError, NotFoundError
from legato.storage.base import TurnStarted
from legato.stream import Batch, Log, Subscriber

DELETED = "This session was deleted, or you are no longer in it. Your next message begins a new one."

Change = Callable[["AccumulatingSubscription"], None]


class AccumulatingDialect(Dialect["AccumulatingSession"]):
    path: ClassVar[str] = "/ws/assistant"

    def __init__(
        self, host: DialectContext, assistant: str = "default", *, clock: Callable[[], float] | None = None
    ) -> None:
        """`clock` gives seconds that only go forward; the loop's, unless told."""
        super().__init__(host, assistant)
        self.stamp = TimestampFormatter(host.now)
        self._expecting: dict[AccumulatingSession, str] = {}
        self.kept = Retention(clock or asyncio.get_running_loop().time, host.service.subscriptions.evict)

    def visit(self, handshake: Handshake, socket: Socket) -> "AccumulatingSession":
        return AccumulatingSession(self, handshake, socket)

    def frames(self, log: Log, batch: Batch) -> Iterable[bytes]:
        return frames.said(log, batch, self.stamp())

    def expect(self, visit: "AccumulatingSession", session: str) -> None:
        """It waits for a session that nobody has made yet."""
        self._expecting[visit] = session

    def forget(self, visit: "AccumulatingSession") -> None:
        self._expecting.pop(visit, None)

    def expecting(self, session: str) -> list["AccumulatingSession"]:
        """Those that waited for a session which is there now."""
        found = [visit for visit, awaited in self._expecting.items() if awaited == session]
        for visit in found:
            self.forget(visit)
        return found

    def expire(self, now: float) -> None:
        super().expire(now)
        self.kept.expire()


class AccumulatingSession(DialectSession):
    """`here` is the session it is in; `named` that one, or the one its address asked for: refused, or not there yet."""

    def __init__(self, dialect: AccumulatingDialect, handshake: Handshake, socket: Socket) -> None:
        super().__init__(dialect, handshake, socket)
        self.stamp = dialect.stamp
        self.kept = dialect.kept
        self.accumulating = dialect
        self._view = dialect.encoding(socket.frame)
        self.here: str | None = None
        self.named: str | None = None
        self.rooms: dict[str, AccumulatingSubscription] = {}
        self.line = ReplyQueue(socket, self._viewer)

    def encode_error(self, message: str) -> bytes:
        return encode(frames.AccumulatingError(message, self.stamp()))

    async def on_authenticated(self, person: User) -> None:
        named = id_in(dict(self.handshake.query), "session_id")
        if named is None:
            return
        self.named = named
        try:
            await self.enter(named, create=False)
        except NotFoundError:
            if self.host.anyone is None:
                raise
            # Nobody has it: the first message makes it, which may be another socket's.
            if not self.gone:
                self.accumulating.expect(self, named)
            return
        if not self.gone:
            await self._come_back(person, self.settle(named))

    async def take(self, person: User, kind: str, frame: Frame) -> None:
        match kind:
            case "message":
                text = text_in(frame, "content", "message")
                await self._hear(person, text, id_in(frame, "session_id") or self.named)
            case "ping":
                self.send(encode(frames.AccumulatingPong(self.stamp())))
            case _:
                raise unknown(kind)

    def resumed(self) -> None:
        self.line.mark()

    def left(self) -> None:
        self.line.close()
        self.accumulating.forget(self)
        for room in list(self.rooms.values()):
            room.leave()

    def settle(self, session: str) -> "AccumulatingSubscription":
        """Be in this session, and in no other once its replies are told."""
        before, self.here, self.named = self.here, session, session
        room = self.rooms.get(session)
        if room is None:
            room = self.rooms[session] = AccumulatingSubscription(self, session, self.kept.come(session))
            self.attend(session, room)
        room.leaving = False
        for visit in self.accumulating.expecting(session):
            if visit.here is None and visit.named == session:
                visit.settle(session)
        if before is not None and before != session and before in self.rooms:
            self.rooms[before].depart()
        return room

    async def _come_back(self, person: User, room: "AccumulatingSubscription") -> None:
        """What runs goes on here, and what ended while nobody was there is told."""
        owed, room.owed = room.owed, []
        if owed:
            tree = await self.service.conversations.get(person, room.session)
            for message in [tree.messages[reply] for reply in owed if reply in tree.messages]:
                if message.status != "streaming":
                    self.line.say(*frames.whole(message, self.stamp()))
        for log in self.service.subscriptions.logs(room.session):
            room.on_stream(log)

    async def _hear(self, person: User, text: str, named: str | None) -> None:
        """A message that cannot be answered has an error for its answer, and the typing is over.

        `named` is the session it is for; one that is refused is forgotten, or the next message would be refused for it too.
        """
        try:
            if named is not None and named != self.here:
                await self.enter(named)
                if self.gone:
                    return
                room = self.settle(named)
                # What ended before would be taken for the answer to this message.
                room.owed.clear()
                await self._come_back(person, room)
            if is_command(text):
                await self._obey(text)
            else:
                await self._say(person, text)
        except LegatoError as error:
            now = self.stamp()
            self.line.say(self.encode_error(error.message), encode(frames.TypingStop(now)))

    async def _say(self, person: User, text: str) -> None:
        def acknowledged(begun: TurnStarted) -> None:
            if not self.gone:
                room = self.settle(begun.conversation.id)
                room.receipts[begun.reply.id] = begun.question.id if begun.question is not None else None

        submission = Submission(None, self.here, text, assistant=None if self.here else self.assistant)
        await self.service.replies.send(person, submission, acknowledged)

    async def _obey(self, text: str) -> None:
        """A command is done at once, and answered when its turn comes: before the reply that it may have begun."""
        room = self.rooms.get(self.here or "")
        if room is not None:
            room.hold()
        try:
            answered = await self.command(text, self.here)
            if self.gone:
                return
            if answered.conversation is not None:
                self.settle(answered.conversation)
            if answered.started is not None and room is not None:
                room.receipts[answered.started.reply.id] = None
            else:
                said = frames.answered(answered, self.here, self.host.new_id(), self.stamp())
                self.line.say(*said)
        finally:
            if room is not None:
                room.go_on()

    def _viewer(self, log: Log, ended: Callable[[Subscriber], None]) -> Subscriber:
        """A reply's turn has come."""
        room = next((room for room in self.rooms.values() if log.stream in room.streams), None)
        session = room.session if room is not None else None
        if room is not None and log.stream in room.receipts:
            message = room.receipts.pop(log.stream)
            self.send(encode(frames.MessageReceived(session, message, self.stamp())))
        self.send(encode(frames.TypingStart(session, self.stamp())))
        opening = PendingStart(self.socket, lambda: frames.start(log, session, self.stamp()))
        opening.viewer = Subscriber(log, 0, self._view, opening, self.host.flusher, ended)
        return opening.viewer


class PendingStart:
    """The sink of a reply until its first words: `message_start` stands before them, and is made when they come."""

    __slots__ = ("_socket", "_start", "viewer")

    def __init__(self, socket: Socket, start: Callable[[], bytes]) -> None:
        self._socket = socket
        self._start = start
        self.viewer: Subscriber | None = None

    @property
    def writable(self) -> bool:
        return self._socket.writable

    def write(self, data: bytes) -> None:
        if data:
            if self.viewer is not None:
                self.viewer.sink = self._socket
            if start := self._start():
                self._socket.write(self._socket.frame(start))
            self._socket.write(data)

    def flush(self) -> None:
        self._socket.flush()


class AccumulatingSubscription(NullWatcher):
    """A session that a socket is in. With `leaving` it hears of no new reply, and leaves once the last one is told."""

    def __init__(self, visit: AccumulatingSession, session: str, owed: list[str]) -> None:
        self._visit = visit
        self._held: list[Change] | None = None
        self.session = session
        self.owed = owed
        self.receipts: dict[str, str | None] = {}
        self.streams: dict[str, None] = {}
        self.leaving = False

    def hold(self) -> None:
        """Hear, and tell it later."""
        self._held = []

    def go_on(self) -> None:
        held, self._held = self._held or [], None
        for change in held:
            change(self)

    def on_stream(self, log: Log) -> None:
        if self._held is not None:
            self._held.append(lambda room: room.on_stream(log))
        elif not self.leaving and log.stream not in self.streams:
            self.streams[log.stream] = None
            self._visit.line.tell(log, over=lambda: self._over(log.stream))

    def on_message(self, message: Message) -> None:
        if message.role != "assistant" or message.status == "streaming":
            return
        if self._held is not None:
            self._held.append(lambda room: room.on_message(message))
            return
        now = self._visit.stamp()
        last = [frames.completed(message, now), encode(frames.TypingStop(now))]
        if not text_of(message.parts):
            last.insert(0, frames.started(message.model or "", self.session, message.id, now))
        self._visit.line.end(message.id, *last)

    def on_deleted(self, conversation: str) -> None:
        visit = self._visit
        for stream in self.streams:
            visit.line.drop(stream)
        visit.line.say(visit.encode_error(DELETED), encode(frames.TypingStop(visit.stamp())))
        self.streams.clear()
        visit.named = None if visit.named == conversation else visit.named
        self.leave()

    def depart(self) -> None:
        self.leaving = True
        if not self.streams:
            self.leave()

    def leave(self) -> None:
        visit = self._visit
        visit.rooms.pop(self.session, None)
        if visit.here == self.session:
            visit.here = None
        visit.service.subscriptions.unfollow(self.session, self)
        visit.kept.leave(self.session, list(self.streams))

    def _over(self, stream: str) -> None:
        self.streams.pop(stream, None)
        if self.leaving and not self.streams:
            self.leave()
