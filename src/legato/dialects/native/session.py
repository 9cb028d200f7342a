"""One socket of the native dialect: commands are taken in order, one at a time; what happens meanwhile goes out at once."""

import asyncio
import logging
from typing import Protocol, assert_never

from legato.chat.commands import CommandRequest, is_command, typed
from legato.chat.service import ChatService
from legato.dialects.base import Socket, framed
from legato.dialects.command_queue import CommandQueue
from legato.dialects.native.codec import decode, delta, encode, id_of
from legato.dialects.native.subscription import FrameCollector, NativeSubscription
from legato.dialects.serializers import conversation_view, message_view
from legato.domain.message import ImagePart, Message
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.domain.validation import check_id
from legato.errors import (
    BusyError,
    ForbiddenError,
    InvalidError,
    LegatoError,
    NotFoundError,
    UnauthenticatedError,
)
from legato.protocol.close_codes import CloseCode
from legato.protocol.messages import (
    Ack,
    Approve,
    Approved,
    ClientMessage,
    CommandAnswer,
    ConversationChanged,
    ConversationView,
    Edit,
    Error,
    Follow,
    Following,
    Hello,
    Messages,
    MessageView,
    Ping,
    Pong,
    Regenerate,
    ResetStream,
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
from legato.stream import Flusher, Log

logger = logging.getLogger(__name__)

HELLO_SECONDS = 10.0
"""How long a socket may stay open without saying who it is."""

FOLLOWED = 1000
"""Conversations that one socket may follow."""

POSITIONS = 100
"""Positions that one `follow` may name."""

PAGE_CHARACTERS = 100_000
"""History goes out in frames of about this size, each once the socket takes more."""


class Authenticate(Protocol):
    """Finds out who asks.

    :raises UnauthenticatedError: with a sentence that says why not.
    """

    async def __call__(self, *, token: str | None = None, ticket: str | None = None) -> User: ...


class NativeContext(Protocol):
    """What all sessions of the dialect share."""

    service: ChatService
    flusher: Flusher
    authenticate: Authenticate
    gathered: FrameCollector
    sessions: "set[NativeSession]"

    def welcome(self, person: User, re: str | None) -> Welcome: ...


class NativeSession:
    __slots__ = (
        "_deadline",
        "_dialect",
        "_followed",
        "_gone",
        "_inbox",
        "_room",
        "person",
        "socket",
    )

    def __init__(self, dialect: NativeContext, socket: Socket) -> None:
        self._dialect = dialect
        self.socket = socket
        self.person: User | None = None
        self._followed: dict[str, NativeSubscription] | None = None
        self._gone = False
        self._inbox: CommandQueue[ClientMessage] = CommandQueue()
        self._deadline: asyncio.TimerHandle | None = None
        self._room: asyncio.Event | None = None

    def received(self, payload: bytes) -> None:
        if self._gone:
            return
        try:
            command = decode(payload)
            if command.id is not None:
                check_id(command.id, "id")
        except LegatoError as error:
            self._send(Error(re=id_of(payload), code=error.code, message=error.message))
            return
        if isinstance(command, Ping):
            self._send(Pong(re=command.id))
        elif self.person is None and self._inbox.idle and not isinstance(command, Hello):
            message = "Say hello first, with a token or a ticket."
            self._send(Error(re=command.id, code="unauthenticated", message=message))
            self.socket.close(CloseCode.UNAUTHENTICATED, "hello comes first")
        else:
            self._take(command, len(payload))

    def resumed(self) -> None:
        for followed in (self._followed or {}).values():
            followed.mark()
        if self._room is not None:
            self._room.set()

    def closed(self) -> None:
        self._gone = True
        self._inbox.close()
        self._dialect.sessions.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
        if self._room is not None:
            self._room.set()
        for conversation in list(self._followed or ()):
            self._leave(conversation)

    def await_hello(self) -> None:
        self._wait(CloseCode.UNAUTHENTICATED, "no hello came in time")

    def introduce(self, token: str) -> None:
        """Check a token that came with the handshake; commands wait until it is checked."""
        self._wait(CloseCode.GOING_AWAY, "the token could not be checked in time")
        self._take(Hello(token=token), len(token))

    def welcome(self, person: User, re: str | None = None) -> None:
        self.person = person
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._send(self._dialect.welcome(person, re))

    def _wait(self, code: CloseCode, reason: str) -> None:
        self._deadline = asyncio.get_running_loop().call_later(HELLO_SECONDS, self.socket.close, code, reason)

    def _send(self, message: ServerMessage) -> None:
        if not self._gone:
            self.socket.send(encode(message))

    def _take(self, command: ClientMessage, size: int) -> None:
        if not self._inbox.put(command, size, self._answer):
            self.socket.close(CloseCode.TOO_MANY, "too many commands at once")

    async def _answer(self, command: ClientMessage) -> None:
        try:
            await self._do(command)
        except LegatoError as error:
            retry_after = error.retry_after if isinstance(error, BusyError) else None
            self._send(Error(re=command.id, code=error.code, message=error.message, retry_after=retry_after))
            if isinstance(error, UnauthenticatedError):
                self.socket.close(CloseCode.UNAUTHENTICATED, "not authenticated")
            elif self.person is None and isinstance(error, ForbiddenError):
                self.socket.close(CloseCode.FORBIDDEN, "not allowed to chat")
        except Exception:
            logger.exception("A %s of user %s failed", type(command).__name__, self.person and self.person.id)
            message = "The server failed in a way it should not. Its log says more."
            self._send(Error(re=command.id, code="internal", message=message))

    async def _do(self, command: ClientMessage) -> None:
        if isinstance(command, Hello):
            await self._hello(command)
            return
        person, service = self.person, self._dialect.service
        if person is None:
            raise UnauthenticatedError("Say hello first, with a token or a ticket.")
        match command:
            case Follow():
                await self._follow(person, command)
            case Unfollow():
                self._leave(command.conversation)
                self._send(Unfollowed(re=command.id, conversation=command.conversation))
            case Send() if (text := typed(command.text, command.parts)) is not None:
                await self._obey(person, command, text)
            case Edit(text=text) if is_command(text):
                raise InvalidError("A command cannot stand in place of a message. Send it by itself.")
            case Send() | Regenerate() | Edit():
                await self._begin(person, command)
            case Show():
                shown = await service.conversations.show(person, command.conversation, command.message)
                view = conversation_view(shown, await service.participants.role(person, shown.id))
                self._send(ConversationChanged(re=command.id, conversation=view))
            case Stop():
                stopped = await service.replies.stop(person, command.conversation, command.message)
                self._send(Stopped(re=command.id, conversation=command.conversation, messages=stopped))
            case Typing():
                await service.presence.typing(person, command.conversation, command.typing)
            case Approve(conversation=conversation, message=message, call=call):
                await service.replies.approve(person, conversation, message, call, command.allow)
                self._send(Approved(re=command.id, conversation=conversation, message=message, call=call))
            case Ping():
                self._send(Pong(re=command.id))
            case _:
                assert_never(command)

    async def _hello(self, hello: Hello) -> None:
        if self.person is not None:
            self.welcome(self.person, hello.id)
            return
        person = await self._dialect.authenticate(token=hello.token, ticket=hello.ticket)
        if "chat" not in person.scopes:
            raise ForbiddenError("This token does not allow its owner to chat.")
        if not self._gone:
            self.welcome(person, hello.id)

    async def _follow(self, person: User, command: Follow) -> None:
        if len(command.positions) > POSITIONS:
            raise InvalidError(
                f"One follow can name {POSITIONS} positions; this one has {len(command.positions)}."
            )
        service = self._dialect.service
        followed = self._followed_of(person, command.conversation)
        followed.again()
        try:
            conversation, messages = await service.subscriptions.follow(
                person, command.conversation, followed, command.since
            )
            await self._tell_history(command.id, followed.view(conversation), messages)
            positions = {where.stream: where for where in command.positions}
            ended = [
                log
                for stream in positions.keys()
                - {log.stream for log in service.subscriptions.logs(command.conversation)}
                if (log := await self._ended_log(person, command.conversation, stream)) is not None
            ]
            await service.participants.role(person, command.conversation)
        except BaseException:
            self._leave(command.conversation)
            raise
        if (self._followed or {}).get(command.conversation) is not followed:
            # It was deleted meanwhile, or the socket is gone, perhaps before the service was asked.
            service.subscriptions.unfollow(command.conversation, followed)
            return
        running = service.subscriptions.logs(command.conversation)
        logs = {log.stream: log for log in [*ended, *running]}
        followed.ready(conversation.revision, logs.values(), positions)
        followed.on_people(command.conversation)

    async def _ended_log(self, person: User, conversation: str, stream: str) -> Log | None:
        try:
            of, log = await self._dialect.service.subscriptions.log(person, stream)
            if of == conversation:
                return log
        except NotFoundError:
            logger.debug("A position in stream %s, which is gone", stream)
        self._send(ResetStream(stream, "gone"))
        return None

    async def _tell_history(
        self, re: str | None, conversation: ConversationView, messages: list[Message]
    ) -> None:
        pages = paged([message_view(message) for message in messages])
        self._send(
            Following(
                re=re,
                conversation=conversation,
                messages=pages[0],
                more=len(pages) > 1,
            )
        )
        for number, page in enumerate(pages[1:], start=2):
            await self._writable()
            self._send(Messages(conversation=conversation.id, messages=page, more=number < len(pages)))

    async def _writable(self) -> None:
        """Return once the socket takes more, or is gone."""
        while not self.socket.writable and not self._gone:
            self._room = asyncio.Event()
            await self._room.wait()
        self._room = None

    async def _obey(self, person: User, command: Send, text: str) -> None:
        """Do what a command says. A reply that it begins is followed from its beginning."""
        service = self._dialect.service
        said = await service.commands.run(
            CommandRequest(person, text, command.conversation, command.assistant, command.client_message_id)
        )
        begun = said.started
        if begun is not None and not self._gone and begun.conversation.id not in (self._followed or {}):
            followed = self._followed_of(person, begun.conversation.id)
            service.subscriptions.subscribe(person, begun.conversation.id, followed)
            followed.ready(0, service.subscriptions.logs(begun.conversation.id), {})
        self._send(
            CommandAnswer(
                re=command.id,
                name=said.name,
                text=said.text,
                failed=said.failed,
                conversation=said.conversation,
            )
        )

    async def _begin(self, person: User, command: Send | Regenerate | Edit) -> None:
        """Start a reply. `ack` goes out before anything of it is told, and this socket follows it from then on."""
        service = self._dialect.service
        followed = self._followed or {}
        if command.conversation not in followed and len(followed) >= FOLLOWED:
            raise _full()

        def acknowledged(begun: TurnStarted) -> None:
            self._send(
                Ack(
                    re=command.id,
                    conversation=begun.conversation.id,
                    reply=begun.reply.id,
                    message=begun.question.id if begun.question is not None else None,
                    client_message_id=command.client_message_id,
                    duplicate=begun.duplicate,
                )
            )
            if not self._gone and begun.conversation.id not in (self._followed or {}):
                followed = self._followed_of(person, begun.conversation.id)
                service.subscriptions.subscribe(person, begun.conversation.id, followed)
                if begun.conversation.id in (self._followed or {}):
                    followed.ready(0, (), {})
                    if len(service.presence.now(begun.conversation.id)) > 1:
                        followed.on_people(begun.conversation.id)

        match command:
            case Send():
                submission = Submission(
                    client_message_id=command.client_message_id,
                    conversation=command.conversation,
                    text=command.text,
                    parts=tuple(command.parts),
                    parent=command.parent,
                    assistant=command.assistant,
                )
                begun = await service.replies.send(person, submission, acknowledged)
            case Regenerate(conversation=conversation, message=message, client_message_id=key):
                begun = await service.replies.regenerate(person, conversation, message, key, acknowledged)
            case Edit(conversation=conversation, message=message, text=text, client_message_id=key):
                begun = await service.replies.edit(person, conversation, message, text, key, acknowledged)
            case _:
                assert_never(command)
        followed_now = (self._followed or {}).get(begun.conversation.id)
        if begun.duplicate and followed_now is not None:
            _, log = await service.subscriptions.log(person, begun.reply.id)
            tree = await service.conversations.get(person, begun.conversation.id)
            if not self._gone:
                followed_now.watch(log, None)
                # Of one that has not ended yet it is still to be heard.
                reply = tree.messages.get(begun.reply.id)
                if reply is not None and reply.status != "streaming":
                    followed_now.hear(reply)

    def _followed_of(self, person: User, conversation: str) -> NativeSubscription:
        if self._followed is None:
            self._followed = {}
        followed = self._followed.get(conversation)
        if followed is None:
            if len(self._followed) >= FOLLOWED:
                raise _full()
            followed = NativeSubscription(
                conversation,
                self.socket,
                self._dialect.flusher,
                framed(delta, self.socket.frame),
                person.id,
                self._dialect.gathered,
                self._leave,
            )
            self._followed[conversation] = followed
        return followed

    def _leave(self, conversation: str) -> None:
        followed = (self._followed or {}).pop(conversation, None)
        if followed is not None:
            followed.close()
            self._dialect.service.subscriptions.unfollow(conversation, followed)


def _full() -> InvalidError:
    return InvalidError(f"One socket can follow {FOLLOWED} conversations. Unfollow some first.")


def paged(messages: list[MessageView]) -> list[list[MessageView]]:
    """The messages in pages of about `PAGE_CHARACTERS`; at least one page."""
    pages: list[list[MessageView]] = [[]]
    size = 0
    for message in messages:
        images = sum(len(part.data) for part in message.parts if isinstance(part, ImagePart))
        length = 2 * len(message.text) + len(message.reasoning) + images + 500
        if size and size + length > PAGE_CHARACTERS:
            pages.append([])
            size = 0
        pages[-1].append(message)
        size += length
    return pages
