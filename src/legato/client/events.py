"""The events of a client, in the order in which they happened."""

from msgspec import Struct

from legato.protocol.messages import ConversationView, Error, MessageView, PersonView, ServerAnswer
from legato.stream import Event


class StreamAdvanced(Struct, frozen=True):
    """A reply has new events. All events since the last `StreamRestarted`, added up, are the reply."""

    stream: str
    events: list[Event]


class StreamRestarted(Struct, frozen=True):
    """The events of a reply so far do not count: it starts again from its beginning."""

    stream: str


class MessageUpdated(Struct, frozen=True):
    """A message was added, or replaces the one with its id."""

    message: MessageView


class ConversationUpdated(Struct, frozen=True):
    """The title, head or revision of a conversation changed."""

    conversation: ConversationView


class ParticipantsUpdated(Struct, frozen=True):
    """The participants of a conversation, and who of them is present."""

    conversation: str
    participants: list[PersonView]


class TypingUpdated(Struct, frozen=True):
    """Another participant types, or stopped typing."""

    conversation: str
    user: str
    name: str | None
    typing: bool


class ConversationRemoved(Struct, frozen=True):
    """A conversation was deleted, or the user is no longer a participant. It has no further events."""

    conversation: str


class RequestAnswered(Struct, frozen=True):
    """The command `id` was answered."""

    id: str
    answer: ServerAnswer


class ErrorReceived(Struct, frozen=True):
    """The server sent an error that answers no command."""

    error: Error


ClientEvent = (
    StreamAdvanced
    | StreamRestarted
    | MessageUpdated
    | ConversationUpdated
    | ParticipantsUpdated
    | TypingUpdated
    | ConversationRemoved
    | RequestAnswered
    | ErrorReceived
)
