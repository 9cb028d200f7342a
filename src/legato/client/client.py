"""The public client: requests to a server, and what they return."""

import random
import secrets
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import TypeVar

from legato.client.address import socket_url
from legato.client.connect import error_of
from legato.client.connection import ConnectionChange, ServerConnection, encode
from legato.client.heartbeat import backoff
from legato.client.reply import ClientReply
from legato.client.subscription import ConversationSubscription
from legato.errors import InvalidError, LegatoError
from legato.protocol.messages import (
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
    Regenerate,
    Send,
    ServerAnswer,
    Show,
    Stop,
    Stopped,
    Typing,
)

T = TypeVar("T", bound=ServerAnswer | ClientReply)


def _ignore(change: ConnectionChange) -> None:
    """Nothing is done about a change of the connection."""


class Client:
    """A client of the native protocol.

        async with Client("http://127.0.0.1:8000") as client:
            reply = await client.send("Hello")
            async for event in reply: ...

    It connects on entry, reconnects by itself whenever the connection is lost (after 1, 2, 4 … 30 s, with jitter), resumes
    at its positions, and sends again what was not acknowledged: every reply arrives whole, nothing twice, nothing missing.

    `token` is a JWT. `ticket` returns a new single-use ticket for each connection. `on_connection_change` is called with
    `ClientConnected` and `Disconnected`. `delays` gives the seconds before each attempt to reconnect.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        ticket: Callable[[], Awaitable[str]] | None = None,
        on_connection_change: Callable[[ConnectionChange], None] = _ignore,
        delays: Callable[[], Iterator[float]] = lambda: backoff(random.random),
    ) -> None:
        """:raises InvalidError: `url` is not an address."""
        self.url = socket_url(url)
        self._connection = ServerConnection(self.url, token, ticket, on_connection_change, delays)

    async def __aenter__(self) -> "Client":
        """Connect.

        :raises UnreachableError: the server cannot be reached.
        :raises UnauthenticatedError: it does not accept this token or ticket.
        """
        await self._connection.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect. The assistant's settings decide whether its running replies go on."""
        await self._connection.close()

    @property
    def user(self) -> str | None:
        """The user that the server authenticated."""
        welcome = self._connection.state.welcome
        return welcome.user if welcome is not None else None

    @property
    def ended(self) -> LegatoError | None:
        """Why no request is possible any more: the server refused for good, or the client was closed."""
        return self._connection.error

    async def send(
        self,
        text: str,
        conversation: str | None = None,
        *,
        client_message_id: str | None = None,
        assistant: str | None = None,
        parent: str | None = None,
        append: bool | None = None,
    ) -> ClientReply:
        """Send a message and return its reply. Without `conversation` a new one is created. `parent` and `append` say where it
        stands, as in the protocol.

        Returns when the message is stored, which may be after the connection was lost and restored.

        :raises LegatoError: the server refused the message; the class says why.
        """
        send = Send(
            client_message_id=client_message_id or secrets.token_hex(16),
            conversation=conversation,
            text=text,
            assistant=assistant,
            parent=parent,
            append=append,
        )
        return await self._ask(send, ClientReply)

    async def regenerate(self, conversation: str, message: str) -> ClientReply:
        """Generate another reply in place of `message`, and return it."""
        key = secrets.token_hex(16)
        return await self._ask(
            Regenerate(conversation=conversation, message=message, client_message_id=key), ClientReply
        )

    async def edit(self, conversation: str, message: str, text: str) -> ClientReply:
        """Replace the user's message `message` by another text, and return the reply to it."""
        key = secrets.token_hex(16)
        return await self._ask(
            Edit(conversation=conversation, message=message, text=text, client_message_id=key), ClientReply
        )

    async def command(
        self, text: str, conversation: str | None = None, *, assistant: str | None = None
    ) -> CommandAnswer:
        """Run a slash command. Its text is for the user, also if it `failed`.

        :raises InvalidError: the text does not begin with `/`, so it would be a message.
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
        """Stop a reply, or all running replies of a conversation. Return the ids of those that were stopped."""
        answer = await self._ask(Stop(conversation=conversation, message=message), Stopped)
        return answer.messages

    async def approve(self, conversation: str, message: str, call: str, allow: bool = True) -> None:
        """Approve or refuse a tool call of the reply `message` that waits for approval.

        The first decision counts; a later one changes nothing.

        :raises NotFoundError: no such tool call waits there.
        """
        await self._ask(Approve(conversation=conversation, message=message, call=call, allow=allow), Approved)

    async def show(self, conversation: str, message: str) -> ConversationView:
        """Show the branch that ends in `message`, to all participants."""
        answer = await self._ask(Show(conversation=conversation, message=message), ConversationChanged)
        return answer.conversation

    def typing(self, conversation: str, typing: bool = True) -> None:
        """Tell the other participants that the user types. Call it every few seconds while that goes on, then with False.

        Sending a message ends it too.
        """
        self._check(Typing(conversation=conversation))
        self._connection.state.typing(conversation, typing)
        self._connection.wake()

    async def follow(self, conversation: str) -> ConversationSubscription:
        """Follow a conversation. Returns when its history is complete.

        :raises NotFoundError: it does not exist, or is another user's.
        """
        self._check(Follow(conversation=conversation))
        state, listeners = self._connection.state, self._connection.listeners
        followed = state.conversations.get(conversation)
        request = None if followed is not None and followed.is_complete else state.follow(conversation)
        subscription = listeners.subscribe(conversation)
        try:
            if request is not None:
                await self._answer(request, Following)
        except BaseException:
            subscription.close()
            raise
        subscription.start()
        return subscription

    async def _ask(self, command: ClientMessage, expected: type[T]) -> T:
        self._check(command)
        return await self._answer(self._connection.state.request(command), expected)

    def _check(self, command: ClientMessage) -> None:
        """:raises LegatoError: the client is not connected, or the command cannot be sent to this server."""
        connection = self._connection
        if connection.error is not None:
            raise connection.error
        if not connection.is_open:
            raise LegatoError("The client is not connected: use it as `async with Client(…) as client`.")
        try:
            size = len(encode(command)) + 64
        except UnicodeEncodeError:
            raise InvalidError(
                "The text holds half a character (a lone surrogate), which nobody can read."
            ) from None
        welcome = connection.state.welcome
        limit = welcome.max_frame_bytes if welcome is not None else size
        if size > limit:
            raise InvalidError(
                f"The message is too long: it has {size:,} bytes, and this server takes {limit:,}."
            )

    async def _answer(self, id_: str, expected: type[T]) -> T:
        self._connection.wake()
        answer = await self._connection.listeners.answer(id_)
        if isinstance(answer, LegatoError):
            raise answer
        if isinstance(answer, Error):
            raise error_of(answer)
        if not isinstance(answer, expected):
            raise LegatoError(
                f"The server answered with {type(answer).__name__}, which is no answer to that."
            )
        return answer
