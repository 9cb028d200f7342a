"""The dialect `rooms`, on `/ws/sessions`: several people in one session, with whole messages, or word by word.

What Legato adds to it is in `docs/reference/dialects/rooms.md`.
"""

from collections.abc import Iterable
from typing import ClassVar, Literal

from legato.chat.commands import is_command
from legato.chat.message_tree import MessageTree
from legato.dialects.base import Endpoint, Handshake, Socket
from legato.dialects.conversation_watcher import Change, ConversationWatcher
from legato.dialects.rooms import frames
from legato.dialects.rooms.presence_notices import PresenceNoticesRegistry
from legato.dialects.session import (
    Dialect,
    DialectContext,
    DialectSession,
    Frame,
    TimestampFormatter,
    encode,
    id_in,
    text_in,
    unknown,
)
from legato.domain.message import Message, text_of
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.errors import InvalidError, LegatoError
from legato.protocol.close_codes import CloseCode
from legato.stream import Batch, Log, Text

NOT_JOINED = "You are in no session. Join one first, then send the message again."
GONE = "This session was deleted, or you are no longer in it. Join another one."
BROKE = "This reply broke off. Ask again to have it whole."

SHOWN = 20
"""Messages that one who joins is shown at most."""

SHOWN_CHARACTERS = 100_000
"""Characters that they have together, about; the last one is shown whatever its size."""


class RoomsDialect(Dialect["RoomsSession"]):
    path: ClassVar[str] = "/ws/sessions"

    def __init__(
        self, host: DialectContext, assistant: str = "default", join: Literal["members", "anyone"] = "members"
    ) -> None:
        """`join`: who may join a session that is not theirs, and make one that is nobody's."""
        super().__init__(host, assistant)
        self.stamp = TimestampFormatter(host.now)
        self.anyone_joins = join == "anyone"
        self.gatherings = PresenceNoticesRegistry(host.new_id, each_connection=host.anyone is not None)

    def doors(self) -> list[Endpoint]:
        by_name = Endpoint(f"{self.path}/{{session:path}}", self.open, (), self.door().max_frame_bytes)
        return [self.door(), by_name]

    def visit(self, handshake: Handshake, socket: Socket) -> "RoomsSession":
        return RoomsSession(self, handshake, socket)

    def frames(self, log: Log, batch: Batch) -> Iterable[bytes]:
        text = "".join([event.text for event in batch.events if isinstance(event, Text)])
        if not text:
            return ()
        state = log.state_at(batch.next)
        model = (state.model if state is not None else None) or ""
        return (encode(frames.RoomsChunk("assistant", text, model, self.stamp(), log.stream)),)


class RoomsSession(DialectSession):
    """`room` is the session that it joined last and has not left."""

    def __init__(self, dialect: RoomsDialect, handshake: Handshake, socket: Socket) -> None:
        super().__init__(dialect, handshake, socket)
        self.rooms = dialect
        self.stamp = dialect.stamp
        self.named = handshake.params.get("session")
        self.room: RoomsSubscription | None = None

    def encode_error(self, message: str) -> bytes:
        return encode(frames.RoomsError(message, self.stamp()))

    async def on_authenticated(self, person: User) -> None:
        name = person.name or person.id
        hello = frames.ConnectionEstablished(self.host.new_id(), person.id, name, self.stamp())
        self.send(encode(hello))
        if self.named is not None:
            stream = self.handshake.query.get("stream", "").lower() in ("1", "true", "yes")
            await self._join(person, self.named, stream)

    def on_rejected(self, error: LegatoError) -> None:
        """The session in the path cannot be joined."""
        wrong = isinstance(error, InvalidError)
        self.refuse(error.message, CloseCode.BAD_REQUEST if wrong else CloseCode.FORBIDDEN)

    async def take(self, person: User, kind: str, frame: Frame) -> None:
        match kind:
            case "chat_message":
                await self._hear(person, frame)
            case "join_session":
                session = id_in(frame, "session_id")
                if session is None:
                    raise InvalidError("Say which session to join: this frame needs `session_id`.")
                await self._join(person, session, frame.get("stream") is True)
            case "leave_session":
                if self.room is None:
                    raise InvalidError("You are in no session.")
                self.room.leave()
            case "ping":
                self.send(encode(frames.RoomsPong(self.stamp())))
            case _:
                raise unknown(kind)

    def resumed(self) -> None:
        if self.room is not None:
            self.room.mark()

    def left(self) -> None:
        if self.room is not None:
            self.room.leave()

    async def _join(self, person: User, session: str, stream: bool) -> None:
        anyone = self.rooms.anyone_joins
        await self.enter(session, join=anyone, create=anyone or self.host.anyone is not None)
        tree = await self.service.conversations.get(person, session)
        if self.gone:
            return
        if self.room is not None:
            self.room.leave()
        self.room = RoomsSubscription(self, session, stream)
        self.room.come(tree)

    async def _hear(self, person: User, frame: Frame) -> None:
        room = self.room
        if room is None:
            raise InvalidError(NOT_JOINED)
        named = id_in(frame, "session_id")
        if named is not None and named != room.session:
            raise InvalidError(
                "You are in another session. Join this one first, then send the message again."
            )
        text = text_in(frame, "content", "message")
        if is_command(text):
            await self._obey(person, room, text)
        else:
            await self.service.replies.send(person, Submission(conversation=room.session, text=text))

    async def _obey(self, person: User, room: "RoomsSubscription", text: str) -> None:
        answered = await self.command(text, room.session)
        response = frames.CommandResponse(
            answered.name, not answered.failed, answered.text, room.session, self.stamp()
        )
        self.send(encode(response))
        if answered.conversation is not None and answered.conversation != room.session:
            await self._join(person, answered.conversation, room.stream)


class RoomsSubscription(ConversationWatcher):
    """A session as one socket follows it: by whole messages, and with `stream` word by word as well."""

    def __init__(self, visit: RoomsSession, session: str, stream: bool) -> None:
        super().__init__()
        self._visit = visit
        self.session = session
        self.stream = stream
        self._assistant = ""
        self._running: list[str] = []
        self._gathering = visit.rooms.gatherings.enter(session, self.notice, visit.service.presence.now)

    def come(self, tree: MessageTree) -> None:
        """Join: say what there is, and hear of all that comes. The tree was read in this very moment."""
        visit = self._visit
        self._assistant = tree.conversation.assistant
        visit.attend(self.session, self)
        people = [
            frames.RoomsUser(each.user, each.name or each.user, each.role, each.connections > 0)
            for each in visit.service.presence.now(self.session)
        ]
        self._send(
            frames.SessionJoined(
                self.session,
                tree.conversation.title,
                self._assistant,
                people,
                self._shown(tree),
                visit.stamp(),
            )
        )
        for log in visit.service.subscriptions.logs(self.session):
            self.on_stream(log)
        self.on_people(self.session)

    def leave(self) -> None:
        self.detach()
        visit = self._visit
        if visit.room is self:
            visit.room = None
        visit.rooms.gatherings.leave(self.session, self.notice)
        visit.service.subscriptions.unfollow(self.session, self)
        self.on_people(self.session)

    def notice(self, id_: str, text: str) -> None:
        """The server says something about the session. It is not kept."""
        self._send(frames.RoomsMessage("system", id_, self.session, text, self._visit.stamp(), "system"))

    def on_people(self, conversation: str) -> None:
        self._gathering.look(self._visit.service.presence.now(conversation))

    def on_deleted(self, conversation: str) -> None:
        if self._running:
            self._typing(False)
        self.leave()
        if self._visit.named == conversation:
            self._visit.refuse(GONE, CloseCode.FORBIDDEN)
        else:
            self._visit.send(self._visit.encode_error(GONE))

    def tell(self, change: Change) -> None:
        match change:
            case Log():
                self._begin(change)
            case Message(role="assistant", status="streaming"):
                pass
            case Message(role="assistant"):
                self._end(change)
            case Message():
                self._send(frames.said(change, self._sender(change)))
            case _:
                self._assistant = change.assistant

    def _begin(self, log: Log) -> None:
        if log.stream in self._running:
            return
        self._running.append(log.stream)
        if len(self._running) == 1:
            self._typing(True)
        if self.stream:
            self.look(self._visit.dialect.viewer(log, self._visit.socket, self.ended))

    def _end(self, message: Message) -> None:
        if message.status != "interrupted" or text_of(message.parts):
            self._send(frames.said(message, self._sender(message)))
        if message.status == "interrupted":
            self._visit.send(self._visit.encode_error(message.detail or BROKE))
        if message.id in self._running:
            first = self._running[0] == message.id
            self._running.remove(message.id)
            if first:
                self._typing(False)
                if self._running:
                    self._typing(True)

    def _typing(self, typing: bool) -> None:
        self._send(frames.RoomsTyping(typing, self.session, self._assistant))

    def _sender(self, message: Message) -> str:
        if message.role == "assistant":
            return self._assistant
        return self._gathering.name(message.author) if message.author is not None else message.role

    def _shown(self, tree: MessageTree) -> list[frames.RoomsMessage]:
        """The last messages, oldest first; a reply that is being written comes when it is whole."""
        shown: list[frames.RoomsMessage] = []
        size = 0
        for message in reversed(tree.path()):
            if message.status == "streaming":
                continue
            said = frames.said(message, self._sender(message))
            size += len(said.content)
            if len(shown) == SHOWN or (shown and size > SHOWN_CHARACTERS):
                break
            shown.append(said)
        return shown[::-1]

    def _send(self, frame: frames.RoomsFrame) -> None:
        self._visit.send(encode(frame))
