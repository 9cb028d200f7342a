"""One socket of the native dialect: commands run in order, one at a time; what happens meanwhile is sent at once."""

from typing import assert_never

from legato.chat.commands import CommandRequest, is_command, typed
from legato.dialects.authentication import Credentials
from legato.dialects.native.codec import MAX_SENT_BYTES, decode, encode, fragments, id_of
from legato.dialects.native.message_frames import MessageFrames
from legato.dialects.native.subscription import PeopleFrames
from legato.dialects.native.subscriptions import NativeSubscriptions
from legato.dialects.reply_encoder import ReplyEncoder
from legato.dialects.serializers import conversation_view
from legato.dialects.session import HELLO_FIRST, DialectSession
from legato.dialects.session_rules import Close
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.domain.validation import check_id
from legato.errors import BusyError, InvalidError, LegatoError, UnauthenticatedError
from legato.protocol.close_codes import CloseCode
from legato.protocol.messages import (
    Ack,
    Approve,
    Approved,
    ClientMessage,
    CommandAnswer,
    ConversationChanged,
    Edit,
    Error,
    Follow,
    Hello,
    Ping,
    Pong,
    Regenerate,
    Send,
    ServerMessage,
    Show,
    Stop,
    Stopped,
    Typing,
    Unfollow,
    Unfollowed,
    Welcome,
)
from legato.storage.base import TurnStarted

HELLO_ONCE = "This socket is authenticated already. Open another one for another user."

NO_HELLO = Close(CloseCode.UNAUTHENTICATED, "hello comes first")


class NativeHandler:
    """The `SessionHandler` of a socket. A `ping`, and a frame that cannot be decoded, is answered when it arrives."""

    __slots__ = ("_heartbeat", "_service", "_session", "_subscriptions")

    def __init__(
        self,
        session: DialectSession[ClientMessage],
        encoder: ReplyEncoder,
        people_frames: PeopleFrames,
        message_frames: MessageFrames,
        heartbeat: float,
    ) -> None:
        self._session = session
        self._service = session.context.service
        self._subscriptions = NativeSubscriptions(session, encoder, people_frames, message_frames)
        self._heartbeat = heartbeat

    def receive(self, payload: bytes) -> ClientMessage | None:
        try:
            command = decode(payload)
            if command.id is not None:
                check_id(command.id, "id")
        except LegatoError as error:
            self._send(Error(re=id_of(payload), code=error.code, message=error.message))
            return None
        if isinstance(command, Ping):
            self._send(Pong(re=command.id))
            return None
        session = self._session
        if session.user is None and not session.is_authenticating and not isinstance(command, Hello):
            session.reject(UnauthenticatedError(HELLO_FIRST), command, NO_HELLO)
            return None
        return command

    def receive_binary(self) -> None:
        return None

    def credentials(self, command: ClientMessage) -> Credentials | None:
        return Credentials(command.token, command.ticket) if isinstance(command, Hello) else None

    def on_authenticated(self, user: User, command: ClientMessage | None) -> None:
        self._welcome(user, command.id if command is not None else None)

    async def start(self, user: User) -> None:
        """Not called: a client says itself what it follows."""

    async def handle(self, user: User, command: ClientMessage) -> None:
        service = self._service
        match command:
            case Hello():
                # A server without authentication has sent `welcome` already, and does not look at the token.
                if self._session.context.anyone is None:
                    raise InvalidError(HELLO_ONCE)
                self._welcome(user, command.id)
            case Follow():
                await self._subscriptions.follow(user, command)
            case Unfollow():
                self._subscriptions.unfollow(command.conversation)
                self._send(Unfollowed(re=command.id, conversation=command.conversation))
            case Send() if (text := typed(command.text, command.parts)) is not None:
                await self._run_command(user, command, text)
            case Edit(text=text) if is_command(text):
                raise InvalidError("A command cannot stand in place of a message. Send it by itself.")
            case Send() | Regenerate() | Edit():
                await self._start_reply(user, command)
            case Show():
                shown = await service.conversations.show(user, command.conversation, command.message)
                view = conversation_view(shown, await service.participants.role(user, shown.id))
                self._send(ConversationChanged(re=command.id, conversation=view))
            case Stop():
                stopped = await service.replies.stop(user, command.conversation, command.message)
                self._send(Stopped(re=command.id, conversation=command.conversation, messages=stopped))
            case Typing():
                await service.presence.typing(user, command.conversation, command.typing)
            case Approve(conversation=conversation, message=message, call=call):
                await service.replies.approve(user, conversation, message, call, command.allow)
                self._send(Approved(re=command.id, conversation=conversation, message=message, call=call))
            case Ping():
                self._send(Pong(re=command.id))
            case _:
                assert_never(command)

    def encode_error(self, error: LegatoError, command: ClientMessage | None) -> bytes:
        return encode(
            Error(
                re=command.id if command is not None else None,
                code=error.code,
                message=error.message,
                retry_after=error.retry_after if isinstance(error, BusyError) else None,
            )
        )

    def on_writable(self) -> None:
        self._subscriptions.on_writable()

    def on_closed(self) -> None:
        self._subscriptions.close()

    def _welcome(self, user: User, re: str | None) -> None:
        context = self._session.context
        self._send(
            Welcome(
                re=re,
                user=user.id,
                server=context.version,
                heartbeat=self._heartbeat,
                max_frame_bytes=context.max_frame_bytes,
                max_sent_bytes=MAX_SENT_BYTES,
            )
        )

    async def _run_command(self, user: User, command: Send, text: str) -> None:
        """Run a slash command. A reply that it starts is followed from its beginning."""
        result = await self._service.commands.run(
            CommandRequest(user, text, command.conversation, command.assistant, command.client_message_id)
        )
        if result.started is not None and not self._session.is_closed:
            conversation = result.started.conversation.id
            if self._subscriptions.get(conversation) is None:
                self._subscriptions.subscribe(
                    user, conversation, self._service.subscriptions.logs(conversation)
                )
        self._send(
            CommandAnswer(
                re=command.id,
                name=result.name,
                text=result.text,
                failed=result.failed,
                conversation=result.conversation,
                data=result.data,
            )
        )

    async def _start_reply(self, user: User, command: Send | Regenerate | Edit) -> None:
        """Start a reply. `ack` precedes everything of it, and the socket follows its conversation from then on."""
        self._subscriptions.check_capacity(command.conversation)
        service = self._service
        match command:
            case Send():
                submission = Submission(
                    client_message_id=command.client_message_id,
                    conversation=command.conversation,
                    text=command.text,
                    parts=tuple(command.parts),
                    parent=command.parent,
                    append=command.append,
                    assistant=command.assistant,
                )
                started = await service.replies.send(user, submission)
            case Regenerate(conversation=conversation, message=message, client_message_id=key):
                started = await service.replies.regenerate(user, conversation, message, key)
            case Edit(conversation=conversation, message=message, text=text, client_message_id=key):
                started = await service.replies.edit(user, conversation, message, text, key)
            case _:
                assert_never(command)
        self._acknowledge(user, command, started)
        if started.duplicate:
            await self._send_again(user, started)

    def _acknowledge(self, user: User, command: Send | Regenerate | Edit, started: TurnStarted) -> None:
        conversation = started.conversation.id
        self._send(
            Ack(
                re=command.id,
                conversation=conversation,
                reply=started.reply.id,
                message=started.question.id if started.question is not None else None,
                client_message_id=command.client_message_id,
                duplicate=started.duplicate,
            )
        )
        if not self._session.is_closed and self._subscriptions.get(conversation) is None:
            subscription = self._subscriptions.subscribe(user, conversation, ())
            if subscription is not None and len(self._service.presence.now(conversation)) > 1:
                subscription.on_people(conversation)

    async def _send_again(self, user: User, started: TurnStarted) -> None:
        """Send the reply of a message that was sent twice, from its beginning, and its end if it has ended."""
        subscription = self._subscriptions.get(started.conversation.id)
        if subscription is None:
            return
        _, log = await self._service.subscriptions.log(user, started.reply.id)
        tree = await self._service.conversations.get(user, started.conversation.id)
        if not self._session.is_closed:
            subscription.watch(log, None)
            reply = tree.messages.get(started.reply.id)
            if reply is not None and reply.status != "streaming":
                subscription.deliver(reply)

    def _send(self, message: ServerMessage) -> None:
        for frame in fragments(encode(message)):
            self._session.send(frame)
