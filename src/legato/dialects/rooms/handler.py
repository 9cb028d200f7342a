"""The dialect `rooms`, on `/ws/sessions`: several users in one session, with whole messages, or streamed.

Legato's additions are in `docs/reference/dialects/rooms.md`.
"""

from collections.abc import Iterable
from typing import Literal

from legato.chat.commands import is_command
from legato.chat.message_tree import MessageTree
from legato.dialects.base import Handshake
from legato.dialects.context import DialectContext
from legato.dialects.conversation_watcher import Change, ConversationWatcher
from legato.dialects.json_frames import (
    Frame,
    JsonHandler,
    encode,
    entry_refused,
    id_in,
    text_in,
    unknown_type,
)
from legato.dialects.reply_encoder import ReplyEncoder
from legato.dialects.rooms import frames
from legato.dialects.rooms.presence_notices import PresenceNoticesRegistry
from legato.dialects.session import DialectSession
from legato.dialects.session_rules import close_with
from legato.dialects.timestamps import TimestampFormatter
from legato.dialects.user_chat import UserChat
from legato.domain.message import Message, text_of
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.errors import InvalidError, LegatoError
from legato.protocol.close_codes import CloseCode
from legato.stream import Batch, Log, Text

NOT_JOINED = "You are in no session. Join one first, then send the message again."
GONE = "This session was deleted, or you are no longer in it. Join another one."
BROKE = "This reply broke off. Ask again to have it whole."

HISTORY_LENGTH = 20
"""Messages that a user who joins gets, at most."""

HISTORY_CHARACTERS = 100_000
"""Characters that these messages have together, about; the last one is sent whatever its size."""


class RoomsDialect:
    """What the sockets of one server share."""

    def __init__(
        self,
        context: DialectContext,
        join: Literal["members", "anyone"] = "members",
    ) -> None:
        """`join`: who may join a session of other users, and create one that does not exist."""
        self.timestamp = TimestampFormatter(context.now)
        self.anyone_joins = join == "anyone"
        self.notices = PresenceNoticesRegistry(context.new_id, each_connection=context.anyone is not None)
        self.encoder = ReplyEncoder(self._frames)

    def connect(self, session: DialectSession[bytes], handshake: Handshake) -> JsonHandler:
        return JsonHandler(session, RoomsHandler(self, session, handshake))

    def _frames(self, log: Log, batch: Batch) -> Iterable[bytes]:
        text = "".join([event.text for event in batch.events if isinstance(event, Text)])
        if not text:
            return ()
        state = log.state_at(batch.next)
        model = (state.model if state is not None else None) or ""
        return (encode(frames.RoomsChunk("assistant", text, model, self.timestamp(), log.stream)),)


class RoomsHandler:
    """`subscription` is that of the session that the socket is in, or None."""

    def __init__(self, dialect: RoomsDialect, session: DialectSession[bytes], handshake: Handshake) -> None:
        self.session = session
        self.dialect = dialect
        self.chat = UserChat(session, handshake.query.get("assistant") or session.context.assistant)
        self.path_session = handshake.params.get("session")
        self.subscription: RoomsSubscription | None = None
        self._stream = handshake.query.get("stream", "").lower() in ("1", "true", "yes")
        self._service = session.context.service

    def encode_error(self, message: str) -> bytes:
        return encode(frames.RoomsError(message, self.dialect.timestamp()))

    def on_authenticated(self, user: User) -> None:
        id_, name = self.session.context.new_id(), user.name or user.id
        self.session.send(encode(frames.ConnectionEstablished(id_, user.id, name, self.dialect.timestamp())))

    async def start(self, user: User) -> None:
        """Join the session of the path."""
        if self.path_session is not None:
            try:
                await self._join(user, self.path_session, self._stream)
            except LegatoError as error:
                self.session.reject(error, None, entry_refused(error))

    async def handle(self, user: User, kind: str, frame: Frame) -> None:
        match kind:
            case "chat_message":
                await self._chat_message(user, frame)
            case "join_session":
                session = id_in(frame, "session_id")
                if session is None:
                    raise InvalidError("Say which session to join: this frame needs `session_id`.")
                await self._join(user, session, frame.get("stream") is True)
            case "leave_session":
                if self.subscription is None:
                    raise InvalidError("You are in no session.")
                self.subscription.leave()
            case "ping":
                self.session.send(encode(frames.RoomsPong(self.dialect.timestamp())))
            case _:
                raise unknown_type(kind)

    def on_writable(self) -> None:
        if self.subscription is not None:
            self.subscription.mark()

    def on_closed(self) -> None:
        if self.subscription is not None:
            self.subscription.leave()

    async def _join(self, user: User, conversation: str, stream: bool) -> None:
        anyone = self.dialect.anyone_joins
        create = anyone or self.session.context.anyone is not None
        await self.chat.get_or_create(conversation, join=anyone, create=create)
        tree = await self._service.conversations.get(user, conversation)
        if self.session.is_closed:
            return
        if self.subscription is not None:
            self.subscription.leave()
        self.subscription = RoomsSubscription(self, conversation, stream)
        self.subscription.join(tree)

    async def _chat_message(self, user: User, frame: Frame) -> None:
        subscription = self.subscription
        if subscription is None:
            raise InvalidError(NOT_JOINED)
        named = id_in(frame, "session_id")
        if named is not None and named != subscription.conversation:
            raise InvalidError(
                "You are in another session. Join this one first, then send the message again."
            )
        text = text_in(frame, "content", "message")
        if is_command(text):
            await self._run_command(user, subscription, text)
        else:
            await self._service.replies.send(
                user, Submission(conversation=subscription.conversation, text=text)
            )

    async def _run_command(self, user: User, subscription: "RoomsSubscription", text: str) -> None:
        conversation = subscription.conversation
        result = await self.chat.run_command(text, conversation)
        response = frames.CommandResponse(
            result.name, not result.failed, result.text, conversation, self.dialect.timestamp()
        )
        self.session.send(encode(response))
        if result.conversation is not None and result.conversation != conversation:
            await self._join(user, result.conversation, subscription.stream)


class RoomsSubscription(ConversationWatcher):
    """A session as one socket follows it: by whole messages and, with `stream`, by chunks as well."""

    def __init__(self, handler: RoomsHandler, conversation: str, stream: bool) -> None:
        super().__init__()
        self._handler = handler
        self._session = handler.session
        self._timestamp = handler.dialect.timestamp
        self._service = handler.session.context.service
        self._assistant = ""
        self._running: list[str] = []
        self.conversation = conversation
        self.stream = stream
        self._notices = handler.dialect.notices.enter(conversation, self.notify, self._service.presence.now)

    def join(self, tree: MessageTree) -> None:
        """Send the session as it is, and subscribe to its changes. `tree` must be current: nothing may run in between."""
        self._assistant = tree.conversation.assistant
        self._handler.chat.subscribe(self.conversation, self)
        participants = [
            frames.RoomsUser(each.user, each.name or each.user, each.role, each.connections > 0)
            for each in self._service.presence.now(self.conversation)
        ]
        self._send_frame(
            frames.SessionJoined(
                self.conversation,
                tree.conversation.title,
                self._assistant,
                participants,
                self._history(tree),
                self._timestamp(),
            )
        )
        for log in self._service.subscriptions.logs(self.conversation):
            self.on_stream(log)
        self.on_people(self.conversation)

    def leave(self) -> None:
        self.detach()
        handler = self._handler
        if handler.subscription is self:
            handler.subscription = None
        handler.dialect.notices.leave(self.conversation, self.notify)
        handler.chat.unsubscribe(self.conversation, self)
        self.on_people(self.conversation)

    def notify(self, id_: str, text: str) -> None:
        """Send a notice of the server about the session. It is not stored."""
        self._send_frame(
            frames.RoomsMessage("system", id_, self.conversation, text, self._timestamp(), "system")
        )

    def on_people(self, conversation: str) -> None:
        self._notices.update(self._service.presence.now(conversation))

    def on_deleted(self, conversation: str) -> None:
        if self._running:
            self._send_typing(False)
        self.leave()
        if self._handler.path_session == conversation:
            self._session.close(close_with(CloseCode.FORBIDDEN, GONE))
        else:
            self._session.send(self._handler.encode_error(GONE))

    def send(self, change: Change) -> None:
        match change:
            case Log():
                self._start_reply(change)
            case Message(role="assistant", status="streaming"):
                pass
            case Message(role="assistant"):
                self._end_reply(change)
            case Message():
                self._send_frame(frames.whole_message(change, self._sender(change)))
            case _:
                self._assistant = change.assistant

    def _start_reply(self, log: Log) -> None:
        if log.stream in self._running:
            return
        self._running.append(log.stream)
        if len(self._running) == 1:
            self._send_typing(True)
        if self.stream:
            session, encoder = self._session, self._handler.dialect.encoder
            self.add(encoder.subscribe(log, session.socket, session.context.flusher, self.ended))

    def _end_reply(self, message: Message) -> None:
        if message.status != "interrupted" or text_of(message.parts):
            self._send_frame(frames.whole_message(message, self._sender(message)))
        if message.status == "interrupted":
            self._session.send(self._handler.encode_error(message.detail or BROKE))
        if message.id in self._running:
            first = self._running[0] == message.id
            self._running.remove(message.id)
            if first:
                self._send_typing(False)
                if self._running:
                    self._send_typing(True)

    def _send_typing(self, typing: bool) -> None:
        self._send_frame(frames.RoomsTyping(typing, self.conversation, self._assistant))

    def _sender(self, message: Message) -> str:
        if message.role == "assistant":
            return self._assistant
        return self._notices.name(message.author) if message.author is not None else message.role

    def _history(self, tree: MessageTree) -> list[frames.RoomsMessage]:
        """Return the last messages, oldest first. A running reply is left out: it is sent when it is whole."""
        history: list[frames.RoomsMessage] = []
        size = 0
        for message in reversed(tree.path()):
            if message.status == "streaming":
                continue
            whole = frames.whole_message(message, self._sender(message))
            size += len(whole.content)
            if len(history) == HISTORY_LENGTH or (history and size > HISTORY_CHARACTERS):
                break
            history.append(whole)
        return history[::-1]

    def _send_frame(self, frame: frames.RoomsFrame) -> None:
        self._session.send(encode(frame))
