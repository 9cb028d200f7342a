"""The client without its socket: what it was told goes in, what it must say and what happened come out.

Whatever is cut, lost or told twice on the way, each reply ends up as the server has it: deltas are added only where they
join on, everything else is asked for again by position, and commands without an answer are said again under the same
`client_message_id`.
"""

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
    StreamAdvanced,
    StreamRestarted,
    TypingUpdated,
)
from legato.client.stream import DeltaFit, StreamState
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
from legato.stream import Failed

POSITIONS = 100
"""As many as one `follow` may name."""

GONE = frozenset({"not_found", "forbidden", "invalid"})
"""Answers to `follow` that will not be other ones later."""


class FollowedConversation(Struct):
    """A conversation that is followed.

    `asked` is the id of the `follow` that is not answered yet, `answer` its answer while more of it is to come. `whole`
    says that no message of a revision before `seen` is missing.
    """

    id: str
    asked: str | None = None
    answer: Following | None = None
    whole: bool = False
    seen: int = 0
    view: ConversationView | None = None
    messages: dict[str, MessageView] = field(default_factory=dict)
    people: list[PersonView] = field(default_factory=list)

    @property
    def since(self) -> int:
        """From which revision on something may be missing. Several messages of one revision are told one by one."""
        return self.seen if self.whole else 0


class ClientState:
    """What is known of the server, and what is still to be said to it.

    `unwell` says why this connection is of no use although it stands: another one should be made.
    """

    def __init__(self) -> None:
        self.unwell: str | None = None
        self.welcomed: Welcome | None = None
        self.conversations: dict[str, FollowedConversation] = {}
        self.streams: dict[str, StreamState] = {}
        self._pending: dict[str, ClientMessage] = {}
        self._ids = count(1)
        self._outgoing: list[ClientMessage] = []
        self._happened: list[ClientEvent] = []

    def outgoing(self) -> list[ClientMessage]:
        """What is to be sent now, in this order; asking for it is sending it."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def happened(self) -> list[ClientEvent]:
        """What is new since this was asked last."""
        taken, self._happened = self._happened, []
        return taken

    def ask(self, command: ClientMessage) -> str:
        """Have a command sent, now or when the server is there, until it is answered. Returns its id."""
        name = f"c{next(self._ids)}"
        command = msgspec.structs.replace(command, id=name)
        self._pending[name] = command
        if self.welcomed is not None:
            self._outgoing.append(command)
        return name

    def follow(self, conversation: str) -> str:
        """Follow a conversation from now on, however often the connection is lost. Returns the id of the command."""
        followed = self.conversations.setdefault(conversation, FollowedConversation(conversation))
        if followed.asked is None:
            followed.asked = self.ask(self._follow(followed))
        return followed.asked

    def unfollow(self, conversation: str) -> None:
        """Follow it no more, and forget what is known of it; unless something was asked of it that is not answered yet."""
        if any(_of(each) == conversation for each in self._pending.values() if not isinstance(each, Follow)):
            return
        if self._forget(conversation) and self.welcomed is not None:
            self._outgoing.append(Unfollow(conversation=conversation))

    def typing(self, conversation: str, typing: bool) -> None:
        """Say that somebody types; a server that is away need not know."""
        if self.welcomed is not None:
            self._outgoing.append(Typing(conversation=conversation, typing=typing))

    def ping(self) -> None:
        self._outgoing.append(Ping())

    def opened(self, hello: Hello | None = None) -> None:
        """There is a new connection. What it begins with, if it does not begin with the server's welcome."""
        self.welcomed = self.unwell = None
        self._outgoing = [] if hello is None else [hello]

    def lost(self) -> None:
        """The connection is gone; what was not answered is said again on the next one."""
        self.welcomed = None
        self._outgoing = []

    def received(self, message: ServerMessage) -> None:
        """The server said something."""
        match message:
            case Welcome():
                self._begin(message)
            case Following():
                self._following(message)
            case Messages():
                self._history(message.conversation, message.messages, message.more)
            case Ack():
                self._acknowledged(message)
            case People(conversation=conversation, people=people):
                if (followed := self.conversations.get(conversation)) is not None:
                    followed.people = people
                    self._happened.append(ParticipantsUpdated(conversation, people))
            case TypingNow(conversation=conversation):
                if conversation in self.conversations:
                    self._happened.append(
                        TypingUpdated(conversation, message.user, message.name, message.typing)
                    )
            case Stopped() | Unfollowed() | CommandAnswer() | Approved() | Pong():
                self._answered(message)
            case ConversationChanged():
                self._conversation(message.conversation)
                self._answered(message)
            case ConversationDeleted():
                self._gone(
                    message.conversation,
                    "The conversation is gone: it was deleted, or you take part in it no more.",
                )
            case MessageChanged():
                self._message(message.message)
            case Delta():
                self._delta(message)
            case ResetStream():
                self._reset(message)
            case Error():
                self._refused(message)
            case _:
                assert_never(message)

    def _begin(self, welcome: Welcome) -> None:
        again = self.welcomed is not None
        self.welcomed = welcome
        if again:
            return
        for followed in self.conversations.values():
            if followed.asked is not None:
                self._pending.pop(followed.asked, None)
            else:
                followed.asked = f"c{next(self._ids)}"
            follow = msgspec.structs.replace(self._follow(followed), id=followed.asked)
            self._outgoing.append(follow)
        self._outgoing.extend(self._pending.values())
        for followed in self.conversations.values():
            if followed.asked is not None:
                self._pending[followed.asked] = self._follow(followed)

    def _follow(self, followed: FollowedConversation) -> Follow:
        positions = [
            where
            for stream in self.streams.values()
            if stream.conversation == followed.id and (where := stream.position) is not None
        ]
        return Follow(conversation=followed.id, since=followed.since, positions=positions[-POSITIONS:])

    def _following(self, answer: Following) -> None:
        followed = self.conversations.get(answer.conversation.id)
        if followed is None:
            return
        followed.answer = answer
        self._conversation(answer.conversation)
        self._history(followed.id, answer.messages, answer.more)

    def _history(self, conversation: str, messages: list[MessageView], more: bool) -> None:
        for message in messages:
            self._message(message)
        followed = self.conversations.get(conversation)
        if followed is None or followed.answer is None or more:
            return
        answer, followed.answer = followed.answer, None
        followed.whole = True
        followed.seen = max(followed.seen, answer.conversation.revision)
        if answer.re == followed.asked:
            followed.asked = None
        self._answered(answer)

    def _acknowledged(self, ack: Ack) -> None:
        command = self._pending.get(ack.re) if ack.re is not None else None
        if ack.conversation not in self.conversations:
            # A conversation that this send made has no past that could be missing.
            new = isinstance(command, Send) and command.conversation is None and not ack.duplicate
            self.conversations[ack.conversation] = FollowedConversation(ack.conversation, whole=new)
        self._stream(ack.reply, ack.conversation)
        self._answered(ack)
        known = self.conversations[ack.conversation].messages.get(ack.reply)
        if known is not None:
            self._complete(known)

    def _conversation(self, view: ConversationView) -> None:
        followed = self.conversations.get(view.id)
        if followed is not None and (followed.view is None or followed.view.revision <= view.revision):
            followed.view = view
            self._happened.append(ConversationUpdated(view))

    def _message(self, message: MessageView) -> None:
        followed = self.conversations.get(message.conversation)
        if followed is not None:
            known = followed.messages.get(message.id)
            if known is not None and (known == message or known.revision > message.revision):
                return
            followed.messages[message.id] = message
            if followed.answer is None:
                # Changes are told in the order of their revisions, what was missed is not.
                followed.seen = max(followed.seen, message.revision)
        if message.role == "assistant" and message.status == "streaming":
            self._stream(message.id, message.conversation)
        self._complete(message)
        if followed is not None:
            self._happened.append(MessageUpdated(message))

    def _complete(self, message: MessageView) -> None:
        """A message that is no longer written says all there is of its stream."""
        stream = self.streams.get(message.id)
        if message.status == "streaming" or stream is None or stream.end is not None:
            return
        anew, events = stream.complete(message)
        if anew:
            self._happened.append(StreamRestarted(stream.id))
        self._happened.append(StreamAdvanced(stream.id, events))

    def _delta(self, delta: Delta) -> None:
        stream = self._stream(delta.stream, None)
        fit = stream.fit(delta)
        if fit is DeltaFit.GAP:
            self._distrust(stream)
            return
        if fit is DeltaFit.ANEW:
            self._happened.append(StreamRestarted(stream.id))
        if events := stream.take(delta):
            self._happened.append(StreamAdvanced(stream.id, events))

    def _distrust(self, stream: StreamState) -> None:
        """Something is missing: ask for it from where we stand. Where that was asked in vain, ask for all of it."""
        followed = self.conversations.get(stream.conversation or "")
        if followed is None or followed.asked is not None:
            return
        if stream.distrusted:
            self._forget_stream(stream)
        stream.distrusted = True
        self.follow(followed.id)

    def _reset(self, reset: ResetStream) -> None:
        stream = self.streams.get(reset.stream)
        if stream is None or stream.end is not None:
            return
        self._forget_stream(stream)
        if reset.reason == "gone":
            self._end(stream, "The server no longer has this reply.")

    def _refused(self, error: Error) -> None:
        if error.re is None or error.re not in self._pending:
            self._happened.append(ErrorReceived(error))
            return
        command = self._pending[error.re]
        followed = self.conversations.get(command.conversation) if isinstance(command, Follow) else None
        if followed is not None and followed.view is not None and error.code not in GONE:
            self.unwell = error.message
            return
        self._answered(error)
        if followed is not None:
            self._gone(followed.id, error.message)

    def _gone(self, conversation: str, message: str) -> None:
        for stream in [each for each in self.streams.values() if each.conversation == conversation]:
            self._end(stream, message)
        if self._forget(conversation):
            self._happened.append(ConversationRemoved(conversation))

    def _end(self, stream: StreamState, message: str) -> None:
        if stream.end is None:
            stream.end = Failed("gone", message)
            stream.fold.apply(stream.end)
            self._happened.append(StreamAdvanced(stream.id, [stream.end]))

    def _forget_stream(self, stream: StreamState) -> None:
        if stream.offset:
            stream.forget()
            self._happened.append(StreamRestarted(stream.id))

    def _forget(self, conversation: str) -> bool:
        followed = self.conversations.pop(conversation, None)
        if followed is None:
            return False
        if followed.asked is not None:
            self._pending.pop(followed.asked, None)
        for stream in [each for each in self.streams.values() if each.conversation == conversation]:
            del self.streams[stream.id]
        return True

    def _stream(self, stream: str, conversation: str | None) -> StreamState:
        found = self.streams.get(stream)
        if found is None:
            found = self.streams[stream] = StreamState(stream, conversation)
        elif found.conversation is None:
            found.conversation = conversation
        return found

    def _answered(self, answer: ServerAnswer) -> None:
        if answer.re is not None and answer.re in self._pending:
            del self._pending[answer.re]
            self._happened.append(RequestAnswered(answer.re, answer))


def _of(command: ClientMessage) -> str | None:
    """The conversation that a command is about."""
    return None if isinstance(command, Hello | Ping) else command.conversation
