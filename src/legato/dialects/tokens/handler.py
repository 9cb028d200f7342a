"""The dialect `tokens`, on `/ws/chat`: a reply as one token after another, and its tool calls.

Its frames do not name their reply, so a socket gets one reply at a time. Legato's additions are in
`docs/reference/dialects/tokens.md`.
"""

from collections.abc import Callable

from legato.chat.commands import is_command
from legato.dialects.base import Handshake
from legato.dialects.context import DialectContext
from legato.dialects.json_frames import Frame, JsonHandler, encode, id_in, text_in, unknown_type
from legato.dialects.queued_conversations import QueuedConversations
from legato.dialects.reply_encoder import ReplyEncoder
from legato.dialects.session import DialectSession
from legato.dialects.timestamps import TimestampFormatter
from legato.dialects.tokens.frames import (
    TokensComplete,
    TokensConnected,
    TokensError,
    TokensPong,
    TokensToken,
    reply_frames,
)
from legato.dialects.user_chat import UserChat
from legato.domain.message import Message
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.errors import LegatoError
from legato.stream import (
    Batch,
    Log,
    Subscriber,
)

DELETED = "This conversation was deleted, or you are no longer in it. Your next message begins a new one."


class TokensDialect:
    """What the sockets of one server share."""

    def __init__(self, context: DialectContext) -> None:
        self.timestamp = TimestampFormatter(context.now)
        self.encoder = ReplyEncoder(self._frames, max_unmerged=64)

    def connect(self, session: DialectSession[bytes], handshake: Handshake) -> JsonHandler:
        return JsonHandler(session, TokensHandler(self, session, handshake))

    def _frames(self, log: Log, batch: Batch) -> list[bytes]:
        return reply_frames(log, batch, self.timestamp)


class TokensHandler:
    """A socket is in the conversation that it named or was given last."""

    def __init__(self, dialect: TokensDialect, session: DialectSession[bytes], handshake: Handshake) -> None:
        self._session = session
        self._service = session.context.service
        self._timestamp = dialect.timestamp
        self._encoder = dialect.encoder
        self._chat = UserChat(session, handshake.query.get("assistant") or session.context.assistant)
        self._query = dict(handshake.query)
        self._conversations = QueuedConversations(session, self._chat, self._subscribe, self)

    def encode_error(self, message: str) -> bytes:
        return encode(TokensError(self._timestamp(), message))

    def on_authenticated(self, user: User) -> None:
        self._session.send(encode(TokensConnected(self._timestamp(), self._session.context.new_id())))

    async def start(self, user: User) -> None:
        """Enter the conversation of the query, and send its running replies."""
        conversation = id_in(self._query, "conversation_id")
        if conversation is not None:
            await self._enter(conversation)
            if (entered := self._conversations.get(conversation)) is not None:
                for log in self._service.subscriptions.logs(conversation):
                    entered.on_stream(log)

    async def handle(self, user: User, kind: str, frame: Frame) -> None:
        match kind:
            case "message":
                await self._message(user, frame)
            case "ping":
                self._session.send(encode(TokensPong(self._timestamp())))
            case _:
                raise unknown_type(kind)

    def on_writable(self) -> None:
        self._conversations.queue.mark()

    def on_closed(self) -> None:
        self._conversations.close()

    # The `QueueFormat` of its conversations.

    def end_frames(self, message: Message) -> tuple[bytes]:
        return (self._complete(message.conversation),)

    def deleted_frames(self, conversation: str) -> tuple[bytes]:
        return (self.encode_error(DELETED),)

    def on_entered(self, conversation: str) -> None:
        """Nothing is sent."""

    def on_left(self, conversation: str, unsent: list[str]) -> None:
        """Nothing is remembered."""

    def _subscribe(self, log: Log, ended: Callable[[Subscriber], None]) -> Subscriber:
        session = self._session
        return self._encoder.subscribe(log, session.socket, session.context.flusher, ended)

    def _complete(self, conversation: str | None) -> bytes:
        return encode(TokensComplete(self._timestamp(), conversation))

    async def _message(self, user: User, frame: Frame) -> None:
        """Send a message. An error is queued like a reply, because it is the answer to the message."""
        try:
            text = text_in(frame, "message")
            client_message_id = id_in(frame, "client_message_id")
            conversation = id_in(frame, "conversation_id")
            if conversation is not None and conversation != self._conversations.current:
                await self._enter(conversation)
            if is_command(text):
                await self._run_command(text, client_message_id)
            else:
                await self._send_message(user, text, client_message_id)
        except LegatoError as error:
            self._conversations.queue.send(self.encode_error(error.message))

    async def _enter(self, conversation: str) -> None:
        await self._chat.get_or_create(conversation)
        self._conversations.enter(conversation)

    async def _run_command(self, text: str, client_message_id: str | None) -> None:
        conversations = self._conversations
        result = await self._chat.run_command(text, conversations.current, client_message_id)
        if result.conversation is not None:
            conversations.enter(result.conversation)
        if result.started is None:  # else the reply that it started is the answer
            token = encode(TokensToken(self._timestamp(), result.text))
            conversations.queue.send(token, self._complete(conversations.current))

    async def _send_message(self, user: User, text: str, client_message_id: str | None) -> None:
        conversations = self._conversations
        assistant = self._chat.assistant if conversations.current is None else None
        submission = Submission(client_message_id, conversations.current, text, assistant=assistant)
        started = await self._service.replies.send(user, submission)
        conversations.enter(started.conversation.id)
        if started.duplicate:
            conversation, log = await self._service.subscriptions.log(user, started.reply.id)
            tree = await self._service.conversations.get(user, conversation)
            entered, reply = conversations.get(conversation), tree.messages.get(started.reply.id)
            if entered is not None and reply is not None:
                entered.on_stream(log)
                entered.on_message(reply)
