"""The dialect `chunks`, on `/ws/conversations/{conversation}`: resumable replies and idempotent messages.

Legato's additions are in `docs/reference/dialects/chunks.md`.
"""

import asyncio
from collections import deque

from legato.chat.commands import typed
from legato.dialects.base import Handshake
from legato.dialects.chunks.frames import (
    ChunkFrame,
    ChunksError,
    ChunksPong,
    DoneFrame,
    command_message,
    offset_in,
    reply_frames,
    submission_of,
)
from legato.dialects.chunks.subscription import REMEMBERED, ChunksSubscription
from legato.dialects.context import DialectContext
from legato.dialects.json_frames import Frame, JsonHandler, encode, entry_refused, id_in, unknown_type
from legato.dialects.reply_encoder import ReplyEncoder
from legato.dialects.session import DialectSession
from legato.dialects.timestamps import timestamp
from legato.dialects.user_chat import UserChat
from legato.domain.user import User
from legato.errors import InvalidError, LegatoError, NotFoundError

HOLD_SECONDS = 1.0
"""Seconds in which a client that connects may say from where it resumes a running reply; then it gets all of it."""


class ChunksDialect:
    """What the sockets of one server share."""

    def __init__(self, context: DialectContext) -> None:
        self.encoder = ReplyEncoder(reply_frames)

    def connect(self, session: DialectSession[bytes], handshake: Handshake) -> JsonHandler:
        return JsonHandler(session, ChunksHandler(self, session, handshake))


class ChunksHandler:
    """A socket is in the conversation of its path and never leaves it."""

    def __init__(self, dialect: ChunksDialect, session: DialectSession[bytes], handshake: Handshake) -> None:
        self._session = session
        self._context = session.context
        self._service = session.context.service
        self._chat = UserChat(session, handshake.query.get("assistant") or session.context.assistant)
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
        self._chat.unsubscribe(self._conversation, self._subscription)

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
        started = await self._service.replies.send(user, submission)
        if started.duplicate:
            await self._send_again(user, started.reply.id)
        else:
            self._own_replies.append(started.reply.id)

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
                await self._resume_reply(user, reply, frame)
        finally:
            self._release()

    async def _resume_reply(self, user: User, reply: str, frame: Frame) -> None:
        """Continue a reply for a client that had another socket before.

        A reply that this socket has received from its beginning is not sent again without a position: a client that appends
        each chunk would have the text twice. If it has ended, its end is sent again.

        :raises NotFoundError: the conversation has no such reply. :raises InvalidError: the position is not one.
        """
        if frame.get("position") is not None or reply not in self._subscription.whole:
            await self._send_reply(user, reply, frame)
            return
        tree = await self._service.conversations.get(user, self._conversation)
        message = tree.messages.get(reply)
        if message is not None and reply in self._subscription.finished and not self._session.is_closed:
            self._subscription.send_end(message)

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
