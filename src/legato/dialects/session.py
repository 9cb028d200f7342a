"""One socket of any dialect: authentication, the commands in their order, expiry and errors.

A dialect composes a `DialectSession` with a `SessionHandler` of its own, which gives the frames their meaning.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from legato.dialects.authentication import (
    AUTHENTICATION_SECONDS,
    HELLO_BYTES,
    Credentials,
    authenticate_for_chat,
    handshake_credentials,
    header_credentials,
)
from legato.dialects.base import Handshake, Socket
from legato.dialects.command_queue import CommandQueue
from legato.dialects.context import DialectContext
from legato.dialects.session_rules import Close, SessionRules
from legato.domain.public_text import public_error
from legato.domain.user import User
from legato.errors import ForbiddenError, LegatoError, OverLimitError, UnauthenticatedError

logger = logging.getLogger(__name__)

FAILED = "The server failed in a way it should not. Its log says more."
HELLO_FIRST = "Say hello first, with a token or a ticket."

C = TypeVar("C")
D = TypeVar("D", contravariant=True)


class SessionHandler(Protocol[C]):
    """What a dialect makes of one socket. `C` is a command of the dialect.

    All calls are made on the event loop's thread. `start` and `handle` run one at a time, in the order of the frames.
    """

    def receive(self, payload: bytes) -> C | None:
        """A text frame arrived. Return the command to queue, or None if there is nothing left to do. Must not raise."""
        ...

    def receive_binary(self) -> C | None:
        """A binary message arrived; its content is not read. Return the command to queue. Must not raise."""
        ...

    def credentials(self, command: C) -> Credentials | None:
        """Return the credentials that a command carries, or None if it is not an authentication command."""
        ...

    def on_authenticated(self, user: User, command: C | None) -> None:
        """Greet the client. `command` carried its credentials, unless they came with the handshake."""
        ...

    async def start(self, user: User) -> None:
        """Do what precedes the first command.

        :raises LegatoError: it is sent as an error of the dialect.
        """
        ...

    async def handle(self, user: User, command: C) -> None:
        """Run a command.

        :raises LegatoError: it is sent as an error of the dialect.
        """
        ...

    def encode_error(self, error: LegatoError, command: C | None) -> bytes:
        """Return the frame for an error, which answers `command` if that is not None."""
        ...

    def on_writable(self) -> None:
        """The socket is writable again: mark the subscribers."""
        ...

    def on_closed(self) -> None:
        """The socket is gone: unsubscribe."""
        ...


class DialectSession(Generic[C]):
    """One socket of a dialect; a `legato.dialects.base.Session`.

    The user is authenticated first. Then the commands run in order, one at a time, until the socket is closed or the token
    expires. `user` is None before authentication.
    """

    __slots__ = (
        "_awaits_hello",
        "_counted",
        "_deadline",
        "_handler",
        "_on_closed",
        "_queue",
        "context",
        "is_closed",
        "rules",
        "socket",
        "user",
    )

    def __init__(
        self,
        context: DialectContext,
        rules: SessionRules,
        socket: Socket,
        connect: "Callable[[DialectSession[C]], SessionHandler[C]]",
        on_closed: "Callable[[DialectSession[C]], None]",
    ) -> None:
        """`connect` makes the handler of this session. `on_closed` is called once, when the socket is gone."""
        self.context = context
        self.rules = rules
        self.socket = socket
        self.user: User | None = None
        self.is_closed = False
        self._on_closed = on_closed
        self._queue = CommandQueue()
        self._deadline: asyncio.TimerHandle | None = None
        self._awaits_hello = False
        self._counted: str | None = None
        self._handler = connect(self)

    @property
    def is_authenticating(self) -> bool:
        """Whether the commands that arrive wait for credentials to be checked."""
        return self.user is None and not self._queue.idle

    def start(self, handshake: Handshake) -> None:
        """Authenticate the user with what came in the handshake, or wait for credentials in a frame."""
        if self.context.anyone is not None:
            self._authenticated(self.context.anyone, None)
            if self.rules.has_start:
                self._queue.put(self._start, 0)
            return
        rules = self.rules
        credentials = header_credentials(handshake) if rules.hello else handshake_credentials(handshake)
        self._deadline = asyncio.get_running_loop().call_later(
            AUTHENTICATION_SECONDS,
            self._on_deadline,
            rules.no_hello if credentials is None else rules.unchecked,
        )
        if credentials is None:
            self._awaits_hello = True
            self.socket.limit_message(HELLO_BYTES)
        else:
            self._queue.put(partial(self._authenticate, credentials, None), 0)

    # What the socket calls.

    def received(self, payload: bytes) -> None:
        if self._awaits_hello:
            # A client may send on before its credentials are checked. If this is no hello, the socket is closed.
            self._awaits_hello = False
            self.socket.limit_message(None)
        if not self.is_closed:
            self._enqueue(self._handler.receive(payload), len(payload))

    def binary(self) -> bool:
        if not self.rules.binary_is_error:
            return False
        if not self.is_closed:
            self._enqueue(self._handler.receive_binary(), 0)
        return True

    def resumed(self) -> None:
        self._handler.on_writable()

    def closed(self) -> None:
        self.is_closed = True
        self._queue.close()
        self._cancel_deadline()
        if self._counted is not None:
            self.context.limits.leave("sockets", self._counted)
            self._counted = None
        self._on_closed(self)
        self._handler.on_closed()

    # What the handler calls.

    def send(self, payload: bytes) -> None:
        """Send a frame, unless the socket is gone."""
        if not self.is_closed:
            self.socket.send(payload)

    def close(self, close: Close) -> None:
        """Close the socket, after the error that `close` has. No further command runs."""
        if close.error is not None:
            self.send(self._handler.encode_error(LegatoError(close.error), None))
        self._queue.close()
        self.socket.close(close.code, close.reason)

    def reject(self, error: LegatoError, command: C | None, close: Close | None) -> None:
        """Send an error, and close the socket unless `close` is None."""
        if self.context.anyone is None:
            error = public_error(error)
        self.send(self._handler.encode_error(error, command))
        if close is not None:
            self.close(close)

    def expire(self, now: float) -> None:
        """Close the socket if the user's token has expired. `now` is in seconds since the epoch."""
        if self.user is not None and self.user.expires is not None and self.user.expires <= now:
            self.close(self.rules.expired)

    def _enqueue(self, command: C | None, size: int) -> None:
        if command is not None and not self._queue.put(partial(self._handle, command, size), size):
            self.close(self.rules.too_many)

    def _on_deadline(self, close: Close) -> None:
        self._queue.cancel()
        self.close(close)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    async def _authenticate(self, credentials: Credentials, command: C | None) -> None:
        rules = self.rules
        try:
            user = await authenticate_for_chat(self.context.authenticate, credentials)
        except UnauthenticatedError as error:
            self.reject(error, command, rules.unauthenticated)
        except ForbiddenError as error:
            self.reject(error, command, rules.forbidden)
        except LegatoError as error:
            self.reject(error, command, rules.unavailable)
        except Exception:
            logger.exception("A client could not be authenticated")
            self.reject(LegatoError(FAILED), command, rules.unavailable)
        else:
            if not self.is_closed:
                self._admit(user, command)
                await self._start()

    def _admit(self, user: User, command: C | None) -> None:
        """Let a user in, unless they have as many sockets as one person may."""
        try:
            self.context.limits.enter("sockets", user.id)
        except OverLimitError as error:
            self.reject(error, command, self.rules.too_many)
        else:
            self._counted = user.id
            self._authenticated(user, command)

    def _authenticated(self, user: User, command: C | None) -> None:
        self.user = user
        self._cancel_deadline()
        self._handler.on_authenticated(user, command)

    async def _start(self) -> None:
        if self.user is not None and self.rules.has_start:
            await self._guarded(self._handler.start(self.user), None, 0)

    async def _handle(self, command: C, size: int) -> None:
        if self.user is not None:
            await self._guarded(self._handler.handle(self.user, command), command, size)
        elif (credentials := self._handler.credentials(command)) is not None:
            await self._authenticate(credentials, command)
        else:
            self.reject(UnauthenticatedError(HELLO_FIRST), command, self.rules.unauthenticated)

    async def _guarded(self, work: Coroutine[Any, Any, None], command: C | None, size: int) -> None:
        try:
            await work
        except LegatoError as error:
            self.reject(error, command, None)
        except Exception:
            logger.exception("A command of %d bytes from user %s failed", size, self.user and self.user.id)
            self.reject(LegatoError(FAILED), command, None)
