"""What the chat dialects share: who comes in, with what token, and what they send, taken in order.

A dialect is a codec on top: a `Dialect` says where its door is and how a stream is framed, a `DialectSession` what its frames mean.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar
from uuid import uuid4

import msgspec
from msgspec import Struct

from legato.chat.commands import CommandRequest, CommandResult
from legato.chat.service import ChatService
from legato.chat.watchers import Watcher
from legato.dialects.append_only import AppendOnlySubscriber
from legato.dialects.base import Endpoint, Handshake, Socket
from legato.dialects.command_queue import CommandQueue
from legato.domain.conversation import Conversation
from legato.domain.surrogates import decode_replacing_surrogates
from legato.domain.user import User
from legato.domain.validation import check_id
from legato.errors import InvalidError, LegatoError, UnauthenticatedError
from legato.protocol.close_codes import CloseCode
from legato.stream import Batch, BatchEncoder, Flusher, Log, Subscriber

logger = logging.getLogger(__name__)

RECEIVED = 1024 * 1024
"""Bytes of a frame up to which a client that sent too much is told so. Beyond, its socket is closed."""

BINARY = b"\xff"
"""Stands for a binary message among those that came; no text has this byte."""

SAID = 200
"""Characters of a complaint about JSON."""

ARRIVING_SECONDS = 10.0
"""How long it may take to find out who came."""

LATE = "The server could not find out in time who you are. Try again in a moment."
FAILED = "The server failed in a way it should not. Its log says more."

Frame = dict[str, Any]

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Authenticate(Protocol):
    """Finds out who shows this token.

    :raises UnauthenticatedError: with a sentence that says why not.
    """

    async def __call__(self, *, token: str | None = None) -> User: ...


class DialectContext(Struct, frozen=True, kw_only=True):
    """What all chat dialects of a server share. `anyone` is who everybody is where auth is off.

    `now` gives the time of day. `max_frame_bytes` is what a client may send in a frame.
    """

    service: ChatService
    flusher: Flusher
    authenticate: Authenticate
    anyone: User | None
    max_frame_bytes: int = 64 * 1024
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    new_id: Callable[[], str] = lambda: str(uuid4())


V = TypeVar("V", bound="DialectSession")


class Dialect(ABC, Generic[V]):
    """One dialect of one server: its door, and the sockets that came in by it. `assistant` is whom it speaks to.

    A viewer that keeps up is told so many pieces of an engine (`apart`), which came at once, in frames of their own.
    """

    path: ClassVar[str]
    apart: ClassVar[int] = 1

    def __init__(self, host: DialectContext, assistant: str = "default") -> None:
        self.host = host
        self.assistant = assistant
        self.sessions: set[V] = set()
        self._encodings: dict[Callable[[bytes], bytes], BatchEncoder] = {}

    @abstractmethod
    def visit(self, handshake: Handshake, socket: Socket) -> V:
        """The session of a socket that was accepted."""

    @abstractmethod
    def frames(self, log: Log, batch: Batch) -> Iterable[bytes]:
        """The frames that say a batch of a reply, none to many."""

    def door(self) -> Endpoint:
        return Endpoint(self.path, self.open, (), max(RECEIVED, self.host.max_frame_bytes))

    def doors(self) -> list[Endpoint]:
        """All of its doors; one, for most."""
        return [self.door()]

    def open(self, handshake: Handshake, socket: Socket) -> V:
        session = self.visit(handshake, socket)
        self.sessions.add(session)
        session.start()
        return session

    def expire(self, now: float) -> None:
        """Close the sockets whose proof of identity ran out. `now` is in seconds since the epoch."""
        for session in list(self.sessions):
            expires = session.visitor.expires if session.visitor is not None else None
            if expires is not None and expires <= now:
                session.refuse("Your token has expired. Sign in again, or get a new one.")

    def encoding(self, frame: Callable[[bytes], bytes]) -> BatchEncoder:
        """`frames`, as sockets with this `frame` write them. Always the same object, so a batch is encoded once."""
        known = self._encodings.get(frame)
        if known is None:

            def encode_batch(log: Log, batch: Batch) -> bytes:
                if 1 < batch.next - batch.first <= self.apart:
                    batch = log.single(batch)
                return b"".join(map(frame, self.frames(log, batch)))

            known = self._encodings[frame] = encode_batch
        return known

    def viewer(
        self, log: Log, socket: Socket, ended: Callable[[Subscriber], None], offset: int = 0
    ) -> AppendOnlySubscriber:
        """A viewer that shows a reply in this dialect, in words that go on and are never taken back."""
        encoding = self.encoding(socket.frame)
        return AppendOnlySubscriber(log, offset, encoding, self.frames, socket, self.host.flusher, ended)


class DialectSession(ABC):
    """One socket. Its frames are taken in order, one at a time, once it is known who sends them."""

    def __init__(self, dialect: Dialect[Any], handshake: Handshake, socket: Socket) -> None:
        self.dialect = dialect
        self.host = dialect.host
        self.handshake = handshake
        self.socket = socket
        self.visitor: User | None = None
        self.gone = False
        self._inbox: CommandQueue[bytes] = CommandQueue()

    @abstractmethod
    def encode_error(self, message: str) -> bytes:
        """The dialect's error."""

    @abstractmethod
    async def on_authenticated(self, person: User) -> None:
        """It is known who came: say hello. What it raises ends the visit with `on_rejected`."""

    @abstractmethod
    async def take(self, person: User, kind: str, frame: Frame) -> None:
        """A frame with this `type`.

        :raises LegatoError: it is answered with the dialect's error.
        """

    @abstractmethod
    def left(self) -> None:
        """The socket is gone: watch nothing."""

    @property
    def assistant(self) -> str:
        """Whom a new conversation is with."""
        return self.handshake.query.get("assistant") or self.dialect.assistant

    @property
    def person(self) -> User:
        """Whoever came in; there is none before `on_authenticated`."""
        if self.visitor is None:
            raise UnauthenticatedError("This server wants to know who you are: send a token.")
        return self.visitor

    @property
    def service(self) -> ChatService:
        return self.host.service

    # The socket speaks.

    def start(self) -> None:
        """The first thing in the inbox is to find out who it is."""
        self._inbox.put(b"", 0, self._answer)

    def received(self, payload: bytes) -> None:
        if not self.gone and not self._inbox.put(payload, len(payload), self._answer):
            self.close(CloseCode.TOO_MANY, "too much at once")

    def binary(self) -> None:
        self.received(BINARY)

    @abstractmethod
    def resumed(self) -> None:
        """The socket takes more again: mark the viewers."""

    def closed(self) -> None:
        self.gone = True
        self._inbox.close()
        self.dialect.sessions.discard(self)
        self.left()

    # The dialect speaks.

    def send(self, payload: bytes) -> None:
        if not self.gone:
            self.socket.send(payload)

    def close(self, code: int, reason: str) -> None:
        """Close the socket; nothing more of what it sent is looked at."""
        self._inbox.close()
        self.socket.close(code, reason)

    def refuse(self, message: str, code: int = CloseCode.UNAUTHENTICATED) -> None:
        """Say why, and close."""
        self.send(self.encode_error(message))
        self.close(code, CloseCode(code).name.lower().replace("_", " "))

    def on_rejected(self, error: LegatoError) -> None:
        """`on_authenticated` failed. The visit goes on, where the dialect says nothing else."""
        self._failed(error)

    async def enter(
        self, conversation: str, *, join: bool = False, create: bool | None = None
    ) -> Conversation:
        """The conversation of this id, if the person may read it. Where auth is off, one that nobody has is made.

        :raises NotFoundError: it is somebody else's, or nobody's. :raises InvalidError: this is no id.
        """
        check_id(conversation, "The id of a conversation")
        if create is None:
            create = self.host.anyone is not None
        return await self.service.conversations.get_or_create(
            self.person, conversation, assistant=self.assistant, create=create, join=join
        )

    def attend(self, conversation: str, watcher: Watcher) -> None:
        """Be told of what happens in a conversation that the person may read."""
        self.service.subscriptions.subscribe(self.person, conversation, watcher)

    async def command(
        self, text: str, conversation: str | None, client_message_id: str | None = None
    ) -> CommandResult:
        """What the server says to a command. It raises nothing."""
        return await self.service.commands.run(
            CommandRequest(self.person, text, conversation, self.assistant, client_message_id)
        )

    async def _answer(self, payload: bytes) -> None:
        if self.visitor is None:
            await self._arrive()
        else:
            await self._guarded(self._read(payload), self._failed, len(payload))

    def _failed(self, error: LegatoError) -> None:
        self.send(self.encode_error(error.message))

    async def _arrive(self) -> None:
        try:
            async with asyncio.timeout(ARRIVING_SECONDS):
                person = self.host.anyone or await self._known()
        except UnauthenticatedError as error:
            self.refuse(error.message)
        except LegatoError as error:
            self.refuse(error.message, CloseCode.GOING_AWAY)
        except TimeoutError:
            self.refuse(LATE, CloseCode.GOING_AWAY)
        except Exception:
            logger.exception("%s could not find out who came", type(self).__name__)
            self.refuse(FAILED, CloseCode.GOING_AWAY)
        else:
            self.visitor = person
            if not self.gone:
                await self._guarded(self.on_authenticated(person), self.on_rejected)

    async def _known(self) -> User:
        """Who shows the token that came with the handshake."""
        scheme, _, shown = self.handshake.headers.get("authorization", "").partition(" ")
        token = shown.strip() if scheme.lower() == "bearer" else ""
        person = await self.host.authenticate(token=token or self.handshake.query.get("token"))
        if "chat" not in person.scopes:
            raise UnauthenticatedError("This token does not allow its owner to chat.")
        return person

    async def _read(self, payload: bytes) -> None:
        if len(payload) > self.host.max_frame_bytes:
            raise InvalidError(
                f"A frame can have {self.host.max_frame_bytes:,} bytes at most; this one has {len(payload):,}."
            )
        if payload is BINARY:
            raise InvalidError("Frames are text here, and this one was binary. Send it as text.")
        frame = decode(payload)
        kind = frame.get("type")
        if not isinstance(kind, str):
            raise InvalidError("A frame needs a type.")
        await self.take(self.person, kind, frame)

    async def _guarded(
        self, work: Awaitable[None], failed: Callable[[LegatoError], None], size: int = 0
    ) -> None:
        try:
            await work
        except LegatoError as error:
            failed(error)
        except Exception:
            logger.exception(
                "%s failed on a frame of %d bytes from user %s",
                type(self).__name__,
                size,
                self.visitor and self.visitor.id,
            )
            self.send(self.encode_error(FAILED))


def decode(payload: bytes) -> Frame:
    """A frame from a client: a JSON object.

    :raises InvalidError: it is something else.
    """
    try:
        frame = decode_replacing_surrogates(_decode, payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidError(f"This is not JSON: {str(error)[:SAID]}.") from None
    except RecursionError:
        raise InvalidError("This JSON is nested too deeply.") from None
    if not isinstance(frame, dict):
        raise InvalidError("A frame is a JSON object with a type.")
    return frame


def text_in(frame: Frame, *names: str) -> str:
    """The text of the first of these fields that is there.

    :raises InvalidError: none is, or it is no text.
    """
    for name in names:
        value = frame.get(name)
        if value is not None:
            if not isinstance(value, str):
                raise InvalidError(f"`{name}` must be a text.")
            return value
    raise InvalidError(f"This frame needs `{names[0]}`.")


def id_in(frame: Frame, *names: str) -> str | None:
    """The id in the first of these fields that is there; None where none is, or it is empty.

    :raises InvalidError: it is no id.
    """
    for name in names:
        value = frame.get(name)
        if value is not None and value != "":
            if not isinstance(value, str):
                raise InvalidError(f"`{name}` must be a text.")
            return check_id(value, f"`{name}`")
    return None


def unknown(kind: str) -> InvalidError:
    """What to raise for a `type` that is none of the dialect's."""
    return InvalidError(f"There is no message of type {kind[:40]!r} here.")


class TimestampFormatter:
    """The time of day as it stands in frames: ISO-8601, UTC, milliseconds, `Z`. It costs little, for it is said often."""

    __slots__ = ("_now", "_said", "_second")

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._said = ""
        self._second = datetime.min.replace(tzinfo=UTC)

    def __call__(self) -> str:
        now = self._now()
        since = now - self._second
        if since.days or since.seconds:
            self._second = now.replace(microsecond=0)
            self._said = self._second.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{self._said}{now.microsecond // 1000:03d}Z"
