"""The dialect `accumulating`, on `/ws/assistant`: typing before a reply, and the whole text so far in every frame.

Its frames do not name their reply, so a socket gets one reply at a time. Legato's additions are in
`docs/reference/dialects/accumulating.md`.
"""

import asyncio
from collections.abc import Callable, Iterable

from legato.chat.commands import is_command
from legato.dialects.accumulating import frames
from legato.dialects.accumulating.retention import Retention
from legato.dialects.base import Handshake, Socket
from legato.dialects.context import DialectContext
from legato.dialects.json_frames import Frame, JsonHandler, encode, id_in, text_in, unknown_type
from legato.dialects.queued_conversations import QueuedConversation, QueuedConversations
from legato.dialects.reply_encoder import ReplyEncoder
from legato.dialects.session import DialectSession
from legato.dialects.timestamps import TimestampFormatter
from legato.dialects.user_chat import UserChat
from legato.domain.message import Message, text_of
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.errors import LegatoError, NotFoundError
from legato.stream import Batch, Log, Subscriber

DELETED = "This session was deleted, or you are no longer in it. Your next message begins a new one."


class AccumulatingDialect:
    """What the sockets of one server share."""

    def __init__(
        self,
        context: DialectContext,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`clock` gives seconds that only go forward; by default it is that of the event loop."""
        self.timestamp = TimestampFormatter(context.now)
        self.encoder = ReplyEncoder(self._frames)
        self.retention = Retention(
            clock or asyncio.get_running_loop().time, context.service.subscriptions.evict
        )
        self._expecting: dict[AccumulatingHandler, str] = {}

    def connect(self, session: DialectSession[bytes], handshake: Handshake) -> JsonHandler:
        return JsonHandler(session, AccumulatingHandler(self, session, handshake))

    def expire(self) -> None:
        self.retention.expire()

    def expect(self, handler: "AccumulatingHandler", session: str) -> None:
        """Register a socket that waits for a session which does not exist yet."""
        self._expecting[handler] = session

    def forget(self, handler: "AccumulatingHandler") -> None:
        self._expecting.pop(handler, None)

    def take_expecting(self, session: str) -> list["AccumulatingHandler"]:
        """Return the sockets that wait for a session which exists now, and forget them."""
        found = [handler for handler, expected in self._expecting.items() if expected == session]
        for handler in found:
            self.forget(handler)
        return found

    def _frames(self, log: Log, batch: Batch) -> Iterable[bytes]:
        return frames.batch_frames(log, batch, self.timestamp())


class AccumulatingHandler:
    """`_named` is the session that the client asked for: the current one, one that was refused, or one that does not exist yet."""

    def __init__(
        self, dialect: AccumulatingDialect, session: DialectSession[bytes], handshake: Handshake
    ) -> None:
        self._dialect = dialect
        self._session = session
        self._service = session.context.service
        self._timestamp = dialect.timestamp
        self._chat = UserChat(session, handshake.query.get("assistant") or session.context.assistant)
        self._query = dict(handshake.query)
        self._conversations = QueuedConversations(session, self._chat, self._subscribe, self)
        self._named: str | None = None
        self._unsent: dict[str, list[str]] = {}
        self._receipts: dict[str, str | None] = {}

    def encode_error(self, message: str) -> bytes:
        return encode(frames.AccumulatingError(message, self._timestamp()))

    def on_authenticated(self, user: User) -> None:
        """The dialect has no greeting."""

    async def start(self, user: User) -> None:
        """Enter the session of the query, and send what its last connection missed."""
        named = id_in(self._query, "session_id")
        if named is None:
            return
        self._named = named
        try:
            await self._chat.get_or_create(named, create=False)
        except NotFoundError:
            if self._session.context.anyone is None:
                raise
            # It does not exist: the first message creates it, which may be another socket's.
            if not self._session.is_closed:
                self._dialect.expect(self, named)
            return
        if (entered := self.enter(named)) is not None:
            await self._catch_up(user, entered)

    async def handle(self, user: User, kind: str, frame: Frame) -> None:
        match kind:
            case "message":
                text = text_in(frame, "content", "message")
                await self._message(user, text, id_in(frame, "session_id") or self._named)
            case "ping":
                self._session.send(encode(frames.AccumulatingPong(self._timestamp())))
            case _:
                raise unknown_type(kind)

    def on_writable(self) -> None:
        self._conversations.queue.mark()

    def on_closed(self) -> None:
        self._dialect.forget(self)
        self._conversations.close()

    def enter(self, session: str) -> QueuedConversation | None:
        """Make a session the current one, also for the sockets that wait for it. Return None if the socket is gone."""
        self._named = session
        entered = self._conversations.enter(session)
        for handler in self._dialect.take_expecting(session):
            if handler._conversations.current is None and handler._named == session:
                handler.enter(session)
        return entered

    # The `QueueFormat` of its conversations.

    def end_frames(self, message: Message) -> list[bytes]:
        now = self._timestamp()
        last = [frames.completed(message, now), encode(frames.TypingStop(now))]
        if not text_of(message.parts):
            last.insert(0, frames.started(message.model or "", message.conversation, message.id, now))
        return last

    def deleted_frames(self, conversation: str) -> tuple[bytes, bytes]:
        if self._named == conversation:
            self._named = None
        if (entered := self._conversations.get(conversation)) is not None:
            for stream in entered.streams:
                self._receipts.pop(stream, None)
        return self.encode_error(DELETED), encode(frames.TypingStop(self._timestamp()))

    def on_entered(self, conversation: str) -> None:
        self._unsent[conversation] = self._dialect.retention.enter(conversation)

    def on_left(self, conversation: str, unsent: list[str]) -> None:
        self._unsent.pop(conversation, None)
        self._dialect.retention.leave(conversation, unsent)

    async def _catch_up(self, user: User, entered: QueuedConversation) -> None:
        """Send the replies that ended while the session had no connection, and those that run."""
        if unsent := self._unsent.pop(entered.name, []):
            tree = await self._service.conversations.get(user, entered.name)
            for message in [tree.messages[reply] for reply in unsent if reply in tree.messages]:
                if message.status != "streaming":
                    self._conversations.queue.send(*frames.whole_reply(message, self._timestamp()))
        for log in self._service.subscriptions.logs(entered.name):
            entered.on_stream(log)

    async def _message(self, user: User, text: str, named: str | None) -> None:
        """Send a message to the session `named`. An error is its answer, followed by the end of the typing.

        A session that is refused does not become the current one: the next message would be refused for it too.
        """
        try:
            if named is not None and named != self._conversations.current:
                await self._chat.get_or_create(named)
                entered = self.enter(named)
                if entered is None:
                    return
                # A client would take what ended before for the answer to this message.
                self._unsent.pop(named, None)
                await self._catch_up(user, entered)
            if is_command(text):
                await self._run_command(text)
            else:
                await self._send_message(user, text)
        except LegatoError as error:
            typing_stop = encode(frames.TypingStop(self._timestamp()))
            self._conversations.queue.send(self.encode_error(error.message), typing_stop)

    async def _send_message(self, user: User, text: str) -> None:
        current = self._conversations.current
        assistant = self._chat.assistant if current is None else None
        submission = Submission(None, current, text, assistant=assistant)
        started = await self._service.replies.send(user, submission)
        if self.enter(started.conversation.id) is not None:
            question = started.question
            self._receipts[started.reply.id] = question.id if question is not None else None

    async def _run_command(self, text: str) -> None:
        """Run a command now, and queue its answer: before the reply that it may have started."""
        conversations = self._conversations
        before = conversations.get(conversations.current)
        if before is not None:
            before.hold()
        try:
            result = await self._chat.run_command(text, conversations.current)
            if self._session.is_closed:
                return
            if result.conversation is not None:
                self.enter(result.conversation)
            if result.started is not None and before is not None:
                self._receipts[result.started.reply.id] = None
            else:
                id_, now = self._session.context.new_id(), self._timestamp()
                conversations.queue.send(*frames.command_frames(result, conversations.current, id_, now))
        finally:
            if before is not None:
                before.release()

    def _subscribe(self, log: Log, ended: Callable[[Subscriber], None]) -> Subscriber:
        """Start to send a reply: its turn has come."""
        session = self._session
        conversation = self._conversations.of_reply(log.stream)
        name = conversation.name if conversation is not None else None
        if log.stream in self._receipts:
            message = self._receipts.pop(log.stream)
            session.send(encode(frames.MessageReceived(name, message, self._timestamp())))
        session.send(encode(frames.TypingStart(name, self._timestamp())))
        pending = PendingStart(session.socket, lambda: frames.start(log, name, self._timestamp()))
        encoder = self._dialect.encoder.encoder(session.socket.frame)
        pending.subscriber = Subscriber(log, 0, encoder, pending, session.context.flusher, ended)
        return pending.subscriber


class PendingStart:
    """The sink of a reply until its first text: `message_start` precedes it, and is encoded when it comes."""

    __slots__ = ("_socket", "_start", "subscriber")

    def __init__(self, socket: Socket, start: Callable[[], bytes]) -> None:
        self._socket = socket
        self._start = start
        self.subscriber: Subscriber | None = None

    @property
    def writable(self) -> bool:
        return self._socket.writable

    def write(self, data: bytes) -> None:
        if data:
            if self.subscriber is not None:
                self.subscriber.sink = self._socket
            if start := self._start():
                self._socket.write(self._socket.frame(start))
            self._socket.write(data)

    def flush(self) -> None:
        self._socket.flush()
