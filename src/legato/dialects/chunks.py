"""The dialect `chunks`, on `/ws/conversations/{conversation}`: resumable replies and idempotent messages.

Legato's additions are in `docs/reference/dialects/chunks.md`.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

import msgspec
from msgspec import Struct, field

from legato.chat.commands import CommandResult, typed
from legato.dialects.base import Handshake
from legato.dialects.context import DialectContext
from legato.dialects.conversation_watcher import Change, ConversationWatcher
from legato.dialects.dialect import DialectType
from legato.dialects.json_frames import Frame, JsonHandler, encode, entry_refused, id_in, unknown_type
from legato.dialects.reply_encoder import ReplyEncoder
from legato.dialects.serializers import message_view
from legato.dialects.session import DialectSession, close_with
from legato.dialects.timestamps import timestamp
from legato.dialects.user_chat import UserChat
from legato.domain.message import AudioPart, ImagePart, Message, TextPart
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.errors import InvalidError, LegatoError, NotFoundError
from legato.protocol.close_codes import CloseCode
from legato.protocol.messages import MessageView
from legato.storage.base import TurnStarted
from legato.stream import Batch, Failed, Log, Position, Reset, Text, resume

HOLD_SECONDS = 1.0
"""Seconds in which a client that connects may say from where it resumes a running reply; then it gets all of it."""

REMEMBERED = 100
"""Replies that a socket remembers to have sent, or to have been asked for."""

GONE = "This conversation was deleted, or you are no longer in it."


class ChunkFrame(Struct, frozen=True, tag_field="type", tag="chunk"):
    """`from` and `to` are offsets of the stream. They are valid for its `epoch` only."""

    message: str = field(name="messageId")
    data: str
    first: int = field(name="from")
    next: int = field(name="to")
    epoch: str


class DoneFrame(Struct, frozen=True, tag_field="type", tag="done"):
    id: str = field(name="messageId")
    message: MessageView


class ChunksError(Struct, frozen=True, tag_field="type", tag="error", omit_defaults=True):
    error: str
    message: str | None = field(default=None, name="messageId")


class ChunksPong(Struct, frozen=True, tag_field="type", tag="pong"):
    timestamp: str


class ChunksDialect:
    """`assistant` is the one that a new conversation is with."""

    def __init__(self, context: DialectContext, assistant: str = "default") -> None:
        self.assistant = assistant
        self.encoder = ReplyEncoder(reply_frames)

    def connect(self, session: DialectSession[bytes], handshake: Handshake) -> JsonHandler:
        return JsonHandler(session, ChunksHandler(self, session, handshake))


class ChunksHandler:
    """A socket is in the conversation of its path and never leaves it."""

    def __init__(self, dialect: ChunksDialect, session: DialectSession[bytes], handshake: Handshake) -> None:
        self._session = session
        self._context = session.context
        self._service = session.context.service
        self._chat = UserChat(session, handshake.query.get("assistant") or dialect.assistant)
        self._conversation = handshake.params["conversation"]
        self._subscription = ChunksSubscription(session, dialect.encoder)
        self._own_replies: deque[str] = deque(maxlen=REMEMBERED)
        self._hold: asyncio.TimerHandle | None = None

    def encode_error(self, message: str) -> bytes:
        return encode(ChunksError(message))

    def on_authenticated(self, user: User) -> None:
        """The dialect has no greeting."""

    async def start(self, user: User) -> None:
        """Enter the conversation. A client may then say from where it resumes a running reply, for `HOLD_SECONDS`."""
        try:
            await self._chat.get_or_create(self._conversation)
        except LegatoError as error:
            self._session.reject(error, None, entry_refused(error))
            return
        if self._session.is_closed:
            return
        self._chat.subscribe(self._conversation, self._subscription)
        if running := self._service.subscriptions.logs(self._conversation):
            self._subscription.hold(running)
            self._hold = asyncio.get_running_loop().call_later(HOLD_SECONDS, self._release)

    async def handle(self, user: User, kind: str, frame: Frame) -> None:
        match kind:
            case "message":
                self._release()
                await self._send_message(user, frame)
            case "resume":
                await self._resume(user, frame)
            case "ping":
                self._session.send(encode(ChunksPong(timestamp(self._context.now()))))
            case _:
                raise unknown_type(kind)

    def on_writable(self) -> None:
        self._subscription.mark()

    def on_closed(self) -> None:
        self._cancel_hold()
        self._subscription.detach()
        self._service.subscriptions.unfollow(self._conversation, self._subscription)

    def _cancel_hold(self) -> None:
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    def _release(self) -> None:
        """Send the replies that were running when the client connected, from their beginning."""
        self._cancel_hold()
        self._subscription.release()

    async def _send_message(self, user: User, frame: Frame) -> None:
        submission = submission_of(self._conversation, frame)
        if (text := typed(submission.text, submission.parts)) is not None:
            await self._run_command(user, text, submission.client_message_id)
            return

        def acknowledged(started: TurnStarted) -> None:
            if not started.duplicate:
                self._own_replies.append(started.reply.id)

        started = await self._service.replies.send(user, submission, acknowledged)
        if started.duplicate:
            await self._send_again(user, started.reply.id)

    async def _send_again(self, user: User, reply: str) -> None:
        """Send a reply from its beginning to a client that asked for it a second time.

        If the first request came from another socket, this one may have received the whole reply as a subscriber. It then
        does not get it again.
        """
        subscription = self._subscription
        if not subscription.is_sending(reply) and (
            reply in self._own_replies or reply not in subscription.finished
        ):
            await self._send_reply(user, reply, None)
        self._own_replies.append(reply)

    async def _run_command(self, user: User, text: str, client_message_id: str | None) -> None:
        result = await self._chat.run_command(text, self._conversation, client_message_id)
        if result.started is not None:
            # The reply that it started is the answer.
            await self._send_again(user, result.started.reply.id)
            return
        now = timestamp(self._context.now())
        message = command_message(self._context.new_id(), self._conversation, result, now)
        self._session.send(encode(ChunkFrame(message.id, message.text, 0, 1, "")))
        self._session.send(encode(DoneFrame(message.id, message)))

    async def _resume(self, user: User, frame: Frame) -> None:
        conversation = id_in(frame, "conversationId", "conversation_id")
        if conversation is not None and conversation != self._conversation:
            raise InvalidError("This socket is in another conversation. Connect to the one you mean.")
        reply = id_in(frame, "lastMessageId", "last_message_id")
        self._cancel_hold()
        if reply is None and not self._subscription.is_busy:
            raise InvalidError(
                "Nothing is being written here now. Say which reply to go on with, as `lastMessageId`."
            )
        try:
            if reply is not None:
                await self._send_reply(user, reply, frame)
        finally:
            self._release()

    async def _send_reply(self, user: User, reply: str, resume_frame: Frame | None) -> None:
        """Send a reply of this conversation again, and its end, from the position in `resume_frame` on.

        :raises NotFoundError: the conversation has no such reply. :raises InvalidError: the position is not one.
        """
        try:
            conversation, log = await self._service.subscriptions.log(user, reply)
            tree = await self._service.conversations.get(user, self._conversation)
        except NotFoundError:
            conversation = ""
        if conversation != self._conversation:
            raise NotFoundError("There is no such reply in this conversation.")
        offset = offset_in(log, resume_frame) if resume_frame is not None else 0
        if not self._session.is_closed:
            if offset is None:
                offset = 0
                self._session.send(encode(ChunkFrame(log.stream, "", 0, 0, log.epoch)))
            self._subscription.watch(log, offset)
            message = tree.messages.get(reply)
            if message is not None and message.status != "streaming":
                self._subscription.send_end(message)


class ChunksSubscription(ConversationWatcher):
    """The conversation of a socket. `finished` are the last replies whose end was sent.

    Nothing of a held reply is sent, not even its end: a client that then resumed it would get `done` before half of the text.
    """

    def __init__(self, session: DialectSession[bytes], encoder: ReplyEncoder) -> None:
        super().__init__()
        self._session = session
        self._encoder = encoder
        self._ended_before: set[str] = set()
        self._held: dict[str, Log] = {}
        self._watched: set[str] = set()
        self.finished: deque[str] = deque(maxlen=REMEMBERED)

    @property
    def is_busy(self) -> bool:
        """Whether a reply is being sent, or is held."""
        return bool(self._held or self._subscribers)

    def hold(self, logs: Iterable[Log]) -> None:
        """Send nothing of these replies until they are watched or released."""
        self._held.update((log.stream, log) for log in logs)

    def release(self) -> None:
        """Send the replies that are still held, from their beginning."""
        for log in list(self._held.values()):
            self.watch(log)

    def watch(self, log: Log, offset: int = 0) -> None:
        """Send a reply from `offset` on, also if it is held, is being sent, or was."""
        self._held.pop(log.stream, None)
        self._watched.add(log.stream)
        if log.stream in self.finished:
            self.finished.remove(log.stream)
        session = self._session
        flusher = session.context.flusher
        self.add(self._encoder.subscribe(log, session.socket, flusher, self.ended, offset))

    def send_end(self, message: Message) -> None:
        """Send the end of a reply that ended before the client asked for it, also if it broke off."""
        self._ended_before.add(message.id)
        self.deliver(message)

    def detach(self) -> None:
        self._held.clear()
        super().detach()

    def send(self, change: Change) -> None:
        match change:
            case Message(role="assistant") if change.status != "streaming":
                self._end(change)
            case Log():
                self.watch(change)

    def on_deleted(self, conversation: str) -> None:
        self._session.close(close_with(CloseCode.FORBIDDEN, GONE))

    def _must_wait(self, change: Change) -> bool:
        return (isinstance(change, Message) and change.id in self._held) or super()._must_wait(change)

    def _end(self, message: Message) -> None:
        """Send `done`. A reply that broke off while it was sent has ended with an error already."""
        if message.id not in self._watched:  # it ended while the client connected, or its end was sent before
            return
        self._watched.discard(message.id)
        self.finished.append(message.id)
        if message.status != "interrupted" or message.id in self._ended_before:
            self._session.send(encode(DoneFrame(message.id, message_view(message))))
        self._ended_before.discard(message.id)


def reply_frames(log: Log, batch: Batch) -> list[bytes]:
    """Return a batch of a reply as one `chunk`, and an `error` if the reply failed."""
    text = "".join([event.text for event in batch.events if isinstance(event, Text)])
    frames = [encode(ChunkFrame(log.stream, text, batch.first, batch.next, log.epoch))] if text else []
    frames += [
        encode(ChunksError(event.message, log.stream)) for event in batch.events if isinstance(event, Failed)
    ]
    return frames


def submission_of(conversation: str, frame: Frame) -> Submission:
    """Return what a `message` frame submits.

    :raises InvalidError: a field has the wrong type.
    """
    text = frame.get("text")
    if text is not None and not isinstance(text, str):
        raise InvalidError("`text` must be a text.")
    try:
        parts = msgspec.convert(frame.get("parts") or [], list[TextPart | ImagePart | AudioPart])
    except msgspec.ValidationError as error:
        raise InvalidError(f"`parts` do not fit: {str(error)[:200]}.") from None
    return Submission(id_in(frame, "client_message_id"), conversation, text or "", tuple(parts))


def command_message(id_: str, conversation: str, result: CommandResult, now: str) -> MessageView:
    """Return the result of a command as a message, which is not stored."""
    text = result.text
    return MessageView(
        id_, result.conversation or conversation, "system", "complete", now, 0, text, (TextPart(text),)
    )


def offset_in(log: Log, frame: Frame) -> int | None:
    """Return the offset of the `position` in a `resume` frame; 0 if it has none; None if the reply cannot resume there.

    A position without an epoch is accepted if the log was never restored.

    :raises InvalidError: the position is not a number.
    """
    position, epoch = frame.get("position"), frame.get("epoch")
    if position is None:
        return 0
    if not isinstance(position, int) or isinstance(position, bool):
        raise InvalidError("`position` must be the `from` or the `to` of a chunk.")
    if epoch is None and not log.again:
        epoch = log.epoch
    resumption = resume(log, Position(log.stream, epoch if isinstance(epoch, str) else "", position))
    # In a log that was rewound, the text that the client has up to a position is unknown.
    return None if isinstance(resumption, Reset) or log.rewinds else resumption.offset


DIALECT = DialectType(
    name="chunks",
    paths=("/ws/conversations/{conversation:path}",),
    create=lambda context, settings: ChunksDialect(context, settings.assistant),
)
