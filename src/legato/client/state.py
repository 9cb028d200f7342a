"""The client without its socket: received messages go in, messages to send and events come out.

Whatever is cut, lost or received twice, each reply ends up as the server has it: deltas are added only where they join,
everything else is requested again by position, and commands without an answer are sent again under the same
`client_message_id`.
"""

from collections.abc import Mapping
from itertools import count
from typing import assert_never

import msgspec
from msgspec import Struct, field

from legato.client.events import (
    ClientEvent,
    ConversationRemoved,
    ConversationUpdated,
    ErrorReceived,
    MessageUpdated,
    ParticipantsUpdated,
    RequestAnswered,
    TypingUpdated,
)
from legato.client.fragments import FragmentJoiner
from legato.client.stream import StreamState
from legato.client.streams import StreamStates
from legato.protocol.messages import (
    Ack,
    Approved,
    ClientMessage,
    CommandAnswer,
    ConversationChanged,
    ConversationDeleted,
    ConversationView,
    Delta,
    Error,
    Follow,
    Following,
    Fragment,
    Hello,
    MessageChanged,
    Messages,
    MessageView,
    People,
    PersonView,
    Ping,
    Pong,
    ResetStream,
    Send,
    ServerAnswer,
    ServerMessage,
    Stopped,
    Typing,
    TypingNow,
    Unfollow,
    Unfollowed,
    Welcome,
)

MAX_POSITIONS = 100
"""Positions that one `follow` may name."""

FINAL_ERRORS = frozenset({"not_found", "forbidden", "invalid"})
"""Codes of the answers to `follow` that a second attempt would not change."""


class FollowedConversation(Struct):
    """A conversation that is followed.

    `follow_id` is the id of the `follow` that is not answered yet, `pending_answer` its answer while more of it is to come.
    `is_complete`: no message of a revision before `revision` is missing. `history_wanted`: a user of the client follows the
    conversation. If nobody does, it is followed only for replies, and the messages before them are not requested.
    """

    id: str
    follow_id: str | None = None
    pending_answer: Following | None = None
    is_complete: bool = False
    history_wanted: bool = False
    revision: int = 0
    view: ConversationView | None = None
    messages: dict[str, MessageView] = field(default_factory=dict)
    participants: list[PersonView] = field(default_factory=list)

    @property
    def since(self) -> int:
        """The revision from which messages are requested. Several messages of one revision arrive one by one."""
        return 0 if self.history_wanted and not self.is_complete else self.revision


class ClientState:
    """What the client knows of the server, and what it still has to send.

    `failure` says why this connection is useless although it is open: another one should be made. `welcome` is None while
    the server is away.
    """

    def __init__(self) -> None:
        self.failure: str | None = None
        self.welcome: Welcome | None = None
        self.conversations: dict[str, FollowedConversation] = {}
        self._events: list[ClientEvent] = []
        self._streams = StreamStates(self._emit)
        self._pending: dict[str, ClientMessage] = {}
        self._ids = count(1)
        self._outgoing: list[ClientMessage] = []
        self._fragments = FragmentJoiner()

    @property
    def streams(self) -> Mapping[str, StreamState]:
        """The known replies by id."""
        return self._streams.by_id

    def take_outgoing(self) -> list[ClientMessage]:
        """Return the messages to send now, in order. They count as sent."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def take_events(self) -> list[ClientEvent]:
        """Return the events since the last call."""
        taken, self._events = self._events, []
        return taken

    def request(self, command: ClientMessage) -> str:
        """Send a command, now or when the server is back, until it is answered. Return its id."""
        id_ = f"c{next(self._ids)}"
        command = msgspec.structs.replace(command, id=id_)
        self._pending[id_] = command
        if self.welcome is not None:
            self._outgoing.append(command)
        return id_

    def follow(self, conversation: str) -> str:
        """Follow a conversation with its history from now on, across lost connections. Return the id of the command."""
        followed = self.conversations.setdefault(conversation, FollowedConversation(conversation))
        is_requested = followed.follow_id is not None and (followed.history_wanted or followed.is_complete)
        followed.history_wanted = True
        if followed.follow_id is None or not is_requested:
            followed.follow_id = self.request(self._follow_command(followed))
        return followed.follow_id

    def unfollow(self, conversation: str) -> None:
        """Unfollow and forget a conversation, unless another command about it is unanswered."""
        if any(
            _conversation_of(each) == conversation
            for each in self._pending.values()
            if not isinstance(each, Follow)
        ):
            return
        if self._forget(conversation) and self.welcome is not None:
            self._outgoing.append(Unfollow(conversation=conversation))

    def typing(self, conversation: str, typing: bool) -> None:
        """Send that the user types. Nothing is sent while the server is away."""
        if self.welcome is not None:
            self._outgoing.append(Typing(conversation=conversation, typing=typing))

    def ping(self) -> None:
        self._outgoing.append(Ping())

    def connected(self, hello: Hello | None = None) -> None:
        """There is a new connection. `hello` is the first message, unless the server's welcome comes first."""
        self.welcome = self.failure = None
        self._fragments = FragmentJoiner()
        self._outgoing = [] if hello is None else [hello]

    def disconnected(self) -> None:
        """The connection is lost; unanswered commands are sent again on the next one."""
        self.welcome = None
        self._outgoing = []

    def receive(self, message: ServerMessage) -> None:
        """Take a message of the server."""
        match message:
            case Welcome():
                self._on_welcome(message)
            case Following():
                self._on_following(message)
            case Messages():
                self._add_history(message.conversation, message.messages, message.more)
            case Ack():
                self._on_ack(message)
            case People(conversation=conversation, people=people):
                if (followed := self.conversations.get(conversation)) is not None:
                    followed.participants = people
                    self._emit(ParticipantsUpdated(conversation, people))
            case TypingNow(conversation=conversation):
                if conversation in self.conversations:
                    self._emit(TypingUpdated(conversation, message.user, message.name, message.typing))
            case Stopped() | Unfollowed() | CommandAnswer() | Approved() | Pong():
                self._answer(message)
            case ConversationChanged():
                self._update_conversation(message.conversation)
                self._answer(message)
            case ConversationDeleted():
                self._remove(
                    message.conversation,
                    "The conversation is gone: it was deleted, or you take part in it no more.",
                )
            case MessageChanged():
                self._update_message(message.message)
            case Fragment():
                if (whole := self._fragments.add(message)) is not None:
                    self.receive(whole)
            case Delta():
                if (stream := self._streams.apply(message)) is not None:
                    self._request_missing(stream)
            case ResetStream():
                self._on_reset(message)
            case Error():
                self._on_error(message)
            case _:
                assert_never(message)

    def _emit(self, event: ClientEvent) -> None:
        self._events.append(event)

    def _on_welcome(self, welcome: Welcome) -> None:
        """Follow all conversations from where they are, then send all unanswered commands again."""
        known = self.welcome is not None
        self.welcome = welcome
        if known:
            return
        for followed in self.conversations.values():
            if followed.follow_id is not None:
                self._pending.pop(followed.follow_id, None)
            else:
                followed.follow_id = f"c{next(self._ids)}"
            follow = msgspec.structs.replace(self._follow_command(followed), id=followed.follow_id)
            self._outgoing.append(follow)
        self._outgoing.extend(self._pending.values())
        for followed in self.conversations.values():
            if followed.follow_id is not None:
                self._pending[followed.follow_id] = self._follow_command(followed)

    def _follow_command(self, followed: FollowedConversation) -> Follow:
        positions = self._streams.positions(followed.id)
        return Follow(conversation=followed.id, since=followed.since, positions=positions[-MAX_POSITIONS:])

    def _on_following(self, answer: Following) -> None:
        followed = self.conversations.get(answer.conversation.id)
        if followed is None:
            return
        followed.pending_answer = answer
        self._update_conversation(answer.conversation)
        self._add_history(followed.id, answer.messages, answer.more)

    def _add_history(self, conversation: str, messages: list[MessageView], more: bool) -> None:
        for message in messages:
            self._update_message(message)
        followed = self.conversations.get(conversation)
        if followed is None or followed.pending_answer is None or more:
            return
        answer, followed.pending_answer = followed.pending_answer, None
        command = self._pending.get(answer.re) if answer.re is not None else None
        if isinstance(command, Follow) and command.since == 0:
            followed.is_complete = True
        followed.revision = max(followed.revision, answer.conversation.revision)
        if answer.re == followed.follow_id:
            followed.follow_id = None
        self._answer(answer)

    def _on_ack(self, ack: Ack) -> None:
        command = self._pending.get(ack.re) if ack.re is not None else None
        if ack.conversation not in self.conversations:
            # A conversation that this send created has no history that could be missing.
            new = isinstance(command, Send) and command.conversation is None and not ack.duplicate
            self.conversations[ack.conversation] = FollowedConversation(ack.conversation, is_complete=new)
        self._streams.get_or_create(ack.reply, ack.conversation)
        self._answer(ack)
        known = self.conversations[ack.conversation].messages.get(ack.reply)
        if known is not None:
            self._streams.complete(known)

    def _update_conversation(self, view: ConversationView) -> None:
        followed = self.conversations.get(view.id)
        if followed is not None and (followed.view is None or followed.view.revision <= view.revision):
            followed.view = view
            self._emit(ConversationUpdated(view))

    def _update_message(self, message: MessageView) -> None:
        followed = self.conversations.get(message.conversation)
        if followed is not None:
            known = followed.messages.get(message.id)
            if known is not None and (known == message or known.revision > message.revision):
                return
            followed.messages[message.id] = message
            if followed.pending_answer is None:
                # Changes arrive in the order of their revisions, a history does not.
                followed.revision = max(followed.revision, message.revision)
        if message.role == "assistant" and message.status == "streaming":
            self._streams.get_or_create(message.id, message.conversation)
        self._streams.complete(message)
        if followed is not None:
            self._emit(MessageUpdated(message))

    def _request_missing(self, stream: StreamState) -> None:
        """Follow the conversation of a stream with a gap again. If that did not fill the gap, request the whole stream."""
        followed = self.conversations.get(stream.conversation or "")
        if followed is None or followed.follow_id is not None:
            return
        if stream.gap_requested:
            self._streams.restart(stream)
        stream.gap_requested = True
        followed.follow_id = self.request(self._follow_command(followed))

    def _on_reset(self, reset: ResetStream) -> None:
        stream = self.streams.get(reset.stream)
        if stream is None or stream.end is not None:
            return
        self._streams.restart(stream)
        if reset.reason == "gone":
            self._streams.fail(stream, "The server no longer has this reply.")

    def _on_error(self, error: Error) -> None:
        if error.re is None or error.re not in self._pending:
            self._emit(ErrorReceived(error))
            return
        command = self._pending[error.re]
        followed = self.conversations.get(command.conversation) if isinstance(command, Follow) else None
        if followed is not None and followed.view is not None and error.code not in FINAL_ERRORS:
            self.failure = error.message
            return
        self._answer(error)
        if followed is not None:
            self._remove(followed.id, error.message)

    def _remove(self, conversation: str, message: str) -> None:
        """The conversation is gone: fail its running replies, and forget it."""
        for stream in self._streams.of(conversation):
            self._streams.fail(stream, message)
        if self._forget(conversation):
            self._emit(ConversationRemoved(conversation))

    def _forget(self, conversation: str) -> bool:
        followed = self.conversations.pop(conversation, None)
        if followed is None:
            return False
        if followed.follow_id is not None:
            self._pending.pop(followed.follow_id, None)
        self._streams.remove(conversation)
        return True

    def _answer(self, answer: ServerAnswer) -> None:
        if answer.re is not None and answer.re in self._pending:
            del self._pending[answer.re]
            self._emit(RequestAnswered(answer.re, answer))


def _conversation_of(command: ClientMessage) -> str | None:
    return None if isinstance(command, Hello | Ping) else command.conversation
