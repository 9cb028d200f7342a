"""The client with its socket: it connects, comes back, and says and hears what `ClientState` decides."""

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import TypeVar

import msgspec
from msgspec import Struct
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from legato.client.address import socket_url
from legato.client.connect import closing, dial, error_of, hang_up
from legato.client.heartbeat import HeartbeatTimer, backoff
from legato.client.listeners import Listeners
from legato.client.open_socket import PATIENCE
from legato.client.reply import ClientReply, ConversationSubscription
from legato.client.state import ClientState
from legato.errors import InvalidError, LegatoError, UnreachableError
from legato.protocol.messages import (
    PROTOCOL,
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
    Regenerate,
    Send,
    ServerAnswer,
    ServerMessage,
    Show,
    Stop,
    Stopped,
    Typing,
)

logger = logging.getLogger(__name__)

_decode = msgspec.json.Decoder(ServerMessage).decode
_encode = msgspec.json.Encoder().encode

T = TypeVar("T", bound=ServerAnswer | ClientReply)


class ClientConnected(Struct, frozen=True):
    """The server is there. `again`: it was away."""

    again: bool


class Disconnected(Struct, frozen=True):
    """The connection is lost, and tried again in `seconds`. Nothing that was said or heard is lost with it."""

    reason: str
    seconds: float


class Client:
    """A client of the native protocol.

        async with Client("http://127.0.0.1:8000") as client:
            reply = await client.send("Hello")
            async for event in reply: ...

    It connects on entry, comes back by itself whenever the connection is lost (after 1, 2, 4 … 30 s, with jitter), goes on
    where it was, and sends again what was not acknowledged: every reply arrives whole, nothing twice and nothing missing.

    `token` is a JWT. `ticket` gives a new single-use ticket for each connection. `told` hears of `ClientConnected` and `Disconnected`.
    `pauses` are the seconds before each attempt to come back.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        ticket: Callable[[], Awaitable[str]] | None = None,
        told: Callable[[ClientConnected | Disconnected], None] | None = None,
        pauses: Callable[[], Iterator[float]] = lambda: backoff(random.random),
    ) -> None:
        """:raises InvalidError: `url` is no address."""
        self.url = socket_url(url)
        self._token = token
        self._ticket = ticket
        self._told = told or (lambda _: None)
        self._pauses = pauses
        self._state = ClientState()
        self._wake = asyncio.Event()
        self._listeners = Listeners(self._state, self._wake.set)
        self._welcomed = asyncio.Event()
        self._been_here = False
        self._dead = False
        self._task: asyncio.Task[None] | None = None
        self._ended: LegatoError | None = None

    async def __aenter__(self) -> "Client":
        """Connect.

        :raises UnreachableError: the server is not there.
        :raises UnauthenticatedError: it does not take this token or ticket.
        """
        socket = await self._connect()
        self._task = asyncio.create_task(self._run(socket))
        welcomed = asyncio.create_task(self._welcomed.wait())
        try:
            await asyncio.wait({welcomed, self._task}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if self._ended is not None:
                raise self._ended
            if not self._welcomed.is_set():
                raise UnreachableError(f"What answers at {self.url} does not speak {PROTOCOL}.")
        except BaseException:
            await self.close()
            raise
        finally:
            welcomed.cancel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave. Replies that are not whole go on without this client, or not, as their assistant says."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._end(LegatoError("The client was closed."))

    @property
    def user(self) -> str | None:
        """Who the server says we are."""
        return self._state.welcomed.user if self._state.welcomed else None

    @property
    def ended(self) -> LegatoError | None:
        """Why nothing more can be said: the server refused for good, or the client was closed."""
        return self._ended

    async def send(
        self,
        text: str,
        conversation: str | None = None,
        *,
        client_message_id: str | None = None,
        assistant: str | None = None,
        parent: str | None = None,
    ) -> ClientReply:
        """Send a message and return the reply that begins. Without `conversation` a new one is made.

        It returns when the message is stored, which may be after the connection was lost and found again.

        :raises LegatoError: the server refused it, with the class that says why.
        """
        return await self._begin(
            Send(
                client_message_id=client_message_id or secrets.token_hex(16),
                conversation=conversation,
                text=text,
                assistant=assistant,
                parent=parent,
            )
        )

    async def regenerate(self, conversation: str, message: str) -> ClientReply:
        """Another reply in place of `message`."""
        return await self._begin(
            Regenerate(conversation=conversation, message=message, client_message_id=secrets.token_hex(16))
        )

    async def edit(self, conversation: str, message: str, text: str) -> ClientReply:
        """Another wording in place of `message`, and the reply to it."""
        return await self._begin(
            Edit(
                conversation=conversation, message=message, text=text, client_message_id=secrets.token_hex(16)
            )
        )

    async def command(
        self, text: str, conversation: str | None = None, *, assistant: str | None = None
    ) -> CommandAnswer:
        """Give a command, which begins with `/`. What it says is for the person, also where it `failed`.

        :raises InvalidError: it does not begin so, and would be a message.
        """
        if not text.startswith("/"):
            raise InvalidError("A command begins with /.")
        send = Send(
            client_message_id=secrets.token_hex(16),
            conversation=conversation,
            text=text,
            assistant=assistant,
        )
        return await self._ask(send, CommandAnswer)

    async def stop(self, conversation: str, message: str | None = None) -> list[str]:
        """Stop a reply, or all that run in a conversation. Returns the ids of those that were stopped."""
        answer = await self._ask(Stop(conversation=conversation, message=message), Stopped)
        return answer.messages

    async def approve(self, conversation: str, message: str, call: str, allow: bool = True) -> None:
        """Give a person's word on a tool of the reply `message` that waits for one: it may run, or it may not.

        The first word counts; one that comes later changes nothing.

        :raises NotFoundError: no tool of this name waits there.
        """
        await self._ask(Approve(conversation=conversation, message=message, call=call, allow=allow), Approved)

    async def show(self, conversation: str, message: str) -> ConversationView:
        """Show the branch that ends in `message`."""
        answer = await self._ask(Show(conversation=conversation, message=message), ConversationChanged)
        return answer.conversation

    def typing(self, conversation: str, typing: bool = True) -> None:
        """Let the others know that somebody types here: again every few seconds while they go on, and False when they stop.

        It ends by itself when a message is sent.
        """
        self._check(Typing(conversation=conversation))
        self._state.typing(conversation, typing)
        self._wake.set()

    async def follow(self, conversation: str) -> ConversationSubscription:
        """Watch a conversation. It returns when all of it is there.

        :raises NotFoundError: there is none of that name, or it is not ours.
        """
        self._check(Follow(conversation=conversation))
        if (followed := self._state.conversations.get(conversation)) is None or not followed.whole:
            asked = self._state.follow(conversation)
        else:
            asked = None
        watch = self._listeners.watch(conversation)
        try:
            if asked is not None:
                await self._answer(asked, Following)
        except BaseException:
            watch.close()
            raise
        watch.begin()
        return watch

    async def _begin(self, command: Send | Edit | Regenerate) -> ClientReply:
        return await self._ask(command, ClientReply)

    async def _ask(self, command: ClientMessage, expected: type[T]) -> T:
        self._check(command)
        return await self._answer(self._state.ask(command), expected)

    def _check(self, command: ClientMessage) -> None:
        """:raises LegatoError: it cannot be said to this server, or to none any more."""
        if self._ended is not None:
            raise self._ended
        if self._task is None:
            raise LegatoError("The client is not connected: use it as `async with Client(…) as client`.")
        try:
            size = len(_encode(command)) + 64
        except UnicodeEncodeError:
            raise InvalidError(
                "The text holds half a character (a lone surrogate), which nobody can read."
            ) from None
        limit = self._state.welcomed.max_frame_bytes if self._state.welcomed else size
        if size > limit:
            raise InvalidError(
                f"The message is too long: it has {size:,} bytes, and this server takes {limit:,}."
            )

    async def _answer(self, name: str, expected: type[T]) -> T:
        self._wake.set()
        answer = await self._listeners.answer(name)
        if isinstance(answer, LegatoError):
            raise answer
        if isinstance(answer, Error):
            raise error_of(answer)
        if not isinstance(answer, expected):
            raise LegatoError(
                f"The server answered with {type(answer).__name__}, which is no answer to that."
            )
        return answer

    async def _run(self, socket: ClientConnection) -> None:
        """Talk, come back, talk … until there is no sense in it."""
        pauses = self._pauses()
        try:
            while True:
                reason = await self._talk(socket)
                if self._welcomed.is_set():
                    pauses = self._pauses()
                self._welcomed.clear()
                self._state.lost()
                socket = await self._return(reason, pauses)
        except LegatoError as error:
            self._end(error)
        except Exception as error:
            logger.exception("the client failed")
            self._end(LegatoError(f"The client failed in a way it should not: {error}"))

    async def _return(self, reason: str, pauses: Iterator[float]) -> ClientConnection:
        for pause in pauses:
            self._told(Disconnected(reason, pause))
            await asyncio.sleep(pause)
            try:
                return await self._connect()
            except UnreachableError as error:
                reason = error.message
        raise UnreachableError(reason)

    async def _connect(self) -> ClientConnection:
        ticket = await self._ticket() if self._ticket is not None else None
        socket = await dial(self.url, self._token if ticket is None else None)
        self._listeners.complaint, self._dead = None, False
        # Without a token in the handshake nobody else would speak first, where the server wants to know who we are.
        self._state.opened(Hello(ticket=ticket) if ticket is not None or self._token is None else None)
        return socket

    async def _talk(self, socket: ClientConnection) -> str:
        """Say and hear until the connection ends. Returns why, where one may come back."""
        hearing = asyncio.create_task(self._hear(socket))
        saying = asyncio.create_task(self._say(socket))
        try:
            await asyncio.wait({hearing, saying}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            saying.cancel()
            hearing.cancel()
            said, heard = await asyncio.gather(saying, hearing, return_exceptions=True)
            await hang_up(socket, self._dead)
        for outcome in (heard, said):
            if isinstance(outcome, ConnectionClosed):
                return closing(outcome, self._listeners.complaint)
            if isinstance(outcome, Exception):
                raise outcome
        return str(heard)

    async def _say(self, socket: ClientConnection) -> None:
        while True:
            self._wake.clear()
            for message in self._state.outgoing():
                await socket.send(_encode(message), text=True)
            await self._wake.wait()

    async def _hear(self, socket: ClientConnection) -> str:
        now = asyncio.get_running_loop().time
        pulse = HeartbeatTimer(now())
        while True:
            try:
                async with asyncio.timeout(pulse.wait(now())):
                    frame = await socket.recv(decode=False)
            except TimeoutError:
                match pulse.beat(now()):
                    case "ask":
                        self._state.ping()
                        self._wake.set()
                    case "dead":
                        self._dead = True
                        return "the server fell silent"
                continue
            pulse.heard(now())
            try:
                self._state.received(_decode(frame))
            except msgspec.DecodeError as error:
                if not self._welcomed.is_set():
                    raise LegatoError(
                        f"What answers at {self.url} does not speak {PROTOCOL}: {error}."
                    ) from None
                # A newer server may say more than this client knows; what it misses by that is asked for again.
                logger.warning("not understood: %s", error)
            for happening in self._state.happened():
                self._listeners.tell(happening)
            self._wake.set()
            if self._state.welcomed is not None and not self._welcomed.is_set():
                pulse = HeartbeatTimer(now(), self._state.welcomed.heartbeat)
                self._welcomed.set()
                self._told(ClientConnected(self._been_here))
                self._been_here = True
            if self._state.unwell is not None:
                return self._state.unwell

    def _end(self, error: LegatoError) -> None:
        if self._ended is None:
            self._ended = error
            self._listeners.close(error)
