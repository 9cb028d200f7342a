"""The dialect `chunks`, on `/ws/conversations/{conversation}`: resumable, and safe to send again.

What Legato adds to it is in `docs/reference/dialects/chunks.md`.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import ClassVar

import msgspec
from msgspec import Struct, field

from legato.chat.commands import CommandResult, typed
from legato.dialects.base import Handshake, Socket
from legato.dialects.conversation_watcher import Change, ConversationWatcher
from legato.dialects.serializers import message_view, timestamp
from legato.dialects.session import Dialect, DialectSession, Frame, encode, id_in, unknown
from legato.domain.message import AudioPart, ImagePart, Message, TextPart
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.errors import InvalidError, LegatoError, NotFoundError
from legato.protocol.close_codes import CloseCode
from legato.protocol.messages import MessageView
from legato.storage.base import TurnStarted
from legato.stream import Batch, Failed, Log, Position, Reset, Text, resume

HOLD_SECONDS = 1.0
"""How long a client that comes in may take to say from where it goes on with a running reply, before it is told all of it."""

REMEMBERED = 100
"""Replies that a socket remembers to have told, or to have asked for."""

GONE = "This conversation was deleted, or you are no longer in it."


class ChunkFrame(Struct, frozen=True, tag_field="type", tag="chunk"):
    """`from` and `to` are offsets of the stream, good for the incarnation of it that `epoch` names."""

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


class ChunksDialect(Dialect["ChunksSession"]):
    path: ClassVar[str] = "/ws/conversations/{conversation:path}"

    def visit(self, handshake: Handshake, socket: Socket) -> "ChunksSession":
        return ChunksSession(self, handshake, socket)

    def frames(self, log: Log, batch: Batch) -> list[bytes]:
        text = "".join([event.text for event in batch.events if isinstance(event, Text)])
        said = [encode(ChunkFrame(log.stream, text, batch.first, batch.next, log.epoch))] if text else []
        said += [
            encode(ChunksError(event.message, log.stream))
            for event in batch.events
            if isinstance(event, Failed)
        ]
        return said


class ChunksSession(DialectSession):
    """`conversation` is the one in the path: a socket never leaves it."""

    def __init__(self, dialect: ChunksDialect, handshake: Handshake, socket: Socket) -> None:
        super().__init__(dialect, handshake, socket)
        self.conversation = handshake.params["conversation"]
        self.room = ChunksSubscription(self, dialect)
        self._mine: deque[str] = deque(maxlen=REMEMBERED)
        self._hold: asyncio.TimerHandle | None = None

    def encode_error(self, message: str) -> bytes:
        return encode(ChunksError(message))

    async def on_authenticated(self, person: User) -> None:
        await self.enter(self.conversation)
        if self.gone:
            return
        self.attend(self.conversation, self.room)
        if running := self.service.subscriptions.logs(self.conversation):
            self.room.hold(running)
            self._hold = asyncio.get_running_loop().call_later(HOLD_SECONDS, self._tell_held)

    def on_rejected(self, error: LegatoError) -> None:
        wrong = isinstance(error, InvalidError)
        self.refuse(error.message, CloseCode.BAD_REQUEST if wrong else CloseCode.FORBIDDEN)

    async def take(self, person: User, kind: str, frame: Frame) -> None:
        match kind:
            case "message":
                self._tell_held()
                await self._say(person, frame)
            case "resume":
                await self._resume(person, frame)
            case "ping":
                self.send(encode(ChunksPong(timestamp(self.host.now()))))
            case _:
                raise unknown(kind)

    def resumed(self) -> None:
        self.room.mark()

    def left(self) -> None:
        self._decided()
        self.room.detach()
        self.service.subscriptions.unfollow(self.conversation, self.room)

    def _decided(self) -> None:
        """It has said what it wants: the wait for that is over."""
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    def _tell_held(self) -> None:
        """Tell the replies that were running when the client came in, from their beginning."""
        self._decided()
        self.room.release()

    async def _say(self, person: User, frame: Frame) -> None:
        submission = submission_of(self.conversation, frame)
        if (text := typed(submission.text, submission.parts)) is not None:
            await self._obey(person, text, submission.client_message_id)
            return

        def acknowledged(begun: TurnStarted) -> None:
            if not begun.duplicate:
                self._mine.append(begun.reply.id)

        begun = await self.service.replies.send(person, submission, acknowledged)
        if begun.duplicate:
            await self._tell_duplicate(person, begun.reply.id)

    async def _tell_duplicate(self, person: User, reply: str) -> None:
        """Whoever sent it first may have been somebody else, and then all of the reply may have been told here by now."""
        room = self.room
        if not room.looks_at(reply) and (reply in self._mine or reply not in room.told):
            await self._tell(person, reply, None)
        self._mine.append(reply)

    async def _obey(self, person: User, text: str, key: str | None) -> None:
        answered = await self.command(text, self.conversation, key)
        if answered.started is not None:
            # The reply that it began is the answer.
            await self._tell_duplicate(person, answered.started.reply.id)
            return
        now = timestamp(self.host.now())
        message = command_message(self.host.new_id(), self.conversation, answered, now)
        self.send(encode(ChunkFrame(message.id, message.text, 0, 1, "")))
        self.send(encode(DoneFrame(message.id, message)))

    async def _resume(self, person: User, frame: Frame) -> None:
        named = id_in(frame, "conversationId", "conversation_id")
        if named is not None and named != self.conversation:
            raise InvalidError("This socket is in another conversation. Connect to the one you mean.")
        last = id_in(frame, "lastMessageId", "last_message_id")
        self._decided()
        if last is None and not self.room.busy:
            raise InvalidError(
                "Nothing is being written here now. Say which reply to go on with, as `lastMessageId`."
            )
        try:
            if last is not None:
                await self._tell(person, last, frame)
        finally:
            self._tell_held()

    async def _tell(self, person: User, reply: str, where: Frame | None) -> None:
        """Tell a reply of this conversation again, and its end.

        :raises NotFoundError: there is no such reply in it. :raises InvalidError: the position is none.
        """
        try:
            conversation, log = await self.service.subscriptions.log(person, reply)
            tree = await self.service.conversations.get(person, self.conversation)
        except NotFoundError:
            conversation = ""
        if conversation != self.conversation:
            raise NotFoundError("There is no such reply in this conversation.")
        offset = offset_in(log, where) if where is not None else 0
        if not self.gone:
            if offset is None:
                offset = 0
                self.send(encode(ChunkFrame(log.stream, "", 0, 0, log.epoch)))
            self.room.watch(log, offset)
            message = tree.messages.get(reply)
            if message is not None and message.status != "streaming":
                self.room.asked(message)


class ChunksSubscription(ConversationWatcher):
    """The conversation of a socket. `told` are the replies whose end was told here lately.

    A reply that is held is not told yet, its end neither: told first, a client that then resumes it would have a `done`
    with half of the text before it.
    """

    def __init__(self, visit: ChunksSession, dialect: ChunksDialect) -> None:
        super().__init__()
        self._visit = visit
        self._dialect = dialect
        self._asked: set[str] = set()
        self._held: dict[str, Log] = {}
        self._watched: set[str] = set()
        self.told: deque[str] = deque(maxlen=REMEMBERED)

    @property
    def busy(self) -> bool:
        """Whether a reply is being told, or held."""
        return bool(self._held or self._viewers)

    def hold(self, logs: Iterable[Log]) -> None:
        """Tell nothing of these, till they are watched or released."""
        self._held.update((log.stream, log) for log in logs)

    def release(self) -> None:
        """Tell what is held still, from its beginning."""
        for log in list(self._held.values()):
            self.watch(log)

    def watch(self, log: Log, offset: int = 0) -> None:
        """Tell a reply from here on; also one that is held, is being told, or was."""
        self._held.pop(log.stream, None)
        self._watched.add(log.stream)
        if log.stream in self.told:
            self.told.remove(log.stream)
        self.look(self._dialect.viewer(log, self._visit.socket, self.ended, offset))

    def asked(self, message: Message) -> None:
        """Tell the end of a reply that ended before it was asked for, however it ended."""
        self._asked.add(message.id)
        self.hear(message)

    def detach(self) -> None:
        self._held.clear()
        super().detach()

    def tell(self, change: Change) -> None:
        match change:
            case Message(role="assistant") if change.status != "streaming":
                self._end(change)
            case Log():
                self.watch(change)

    def on_deleted(self, conversation: str) -> None:
        self._visit.refuse(GONE, CloseCode.FORBIDDEN)

    def _premature(self, change: Change) -> bool:
        return (isinstance(change, Message) and change.id in self._held) or super()._premature(change)

    def _end(self, message: Message) -> None:
        """`done`; one that breaks off while it is told has said so in its stream."""
        if message.id not in self._watched:  # it ended as the client came in, or was told before
            return
        self._watched.discard(message.id)
        self.told.append(message.id)
        if message.status != "interrupted" or message.id in self._asked:
            self._visit.send(encode(DoneFrame(message.id, message_view(message))))
        self._asked.discard(message.id)


def submission_of(conversation: str, frame: Frame) -> Submission:
    """What a `message` says.

    :raises InvalidError: a field is not what it must be.
    """
    text = frame.get("text")
    if text is not None and not isinstance(text, str):
        raise InvalidError("`text` must be a text.")
    try:
        parts = msgspec.convert(frame.get("parts") or [], list[TextPart | ImagePart | AudioPart])
    except msgspec.ValidationError as error:
        raise InvalidError(f"`parts` do not fit: {str(error)[:200]}.") from None
    return Submission(id_in(frame, "client_message_id"), conversation, text or "", tuple(parts))


def command_message(id_: str, conversation: str, answered: CommandResult, now: str) -> MessageView:
    """What the server says to a command, as a message that is not stored."""
    text = answered.text
    return MessageView(
        id_, answered.conversation or conversation, "system", "complete", now, 0, text, (TextPart(text),)
    )


def offset_in(log: Log, frame: Frame) -> int | None:
    """Where a `resume` goes on: at its `position`, or at the beginning where it has none; None where it cannot go on there.

    A position that names no epoch is taken where there was never another incarnation of the log.

    :raises InvalidError: it is none.
    """
    position, epoch = frame.get("position"), frame.get("epoch")
    if position is None:
        return 0
    if not isinstance(position, int) or isinstance(position, bool):
        raise InvalidError("`position` must be the `from` or the `to` of a chunk.")
    if epoch is None and not log.again:
        epoch = log.epoch
    answer = resume(log, Position(log.stream, epoch if isinstance(epoch, str) else "", position))
    # What was shown up to a position in a log that was rewound is not known.
    return None if isinstance(answer, Reset) or log.rewinds else answer.offset
