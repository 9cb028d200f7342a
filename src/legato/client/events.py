"""What a client tells its user, in the order in which it happened."""

from msgspec import Struct

from legato.protocol.messages import ConversationView, Error, MessageView, PersonView, ServerAnswer
from legato.stream import Event


class StreamAdvanced(Struct, frozen=True):
    """More of a reply. All of these since the last `StreamRestarted`, added up, are what it says."""

    stream: str
    events: list[Event]


class StreamRestarted(Struct, frozen=True):
    """What was told of a reply does not count: it comes again from its beginning."""

    stream: str


class MessageUpdated(Struct, frozen=True):
    """A message is new, or replaces the one with its id."""

    message: MessageView


class ConversationUpdated(Struct, frozen=True):
    """The conversation has another title, head or revision."""

    conversation: ConversationView


class ParticipantsUpdated(Struct, frozen=True):
    """Everybody who takes part in a conversation, and who of them is here."""

    conversation: str
    people: list[PersonView]


class TypingUpdated(Struct, frozen=True):
    """Somebody else begins to type, or types no more."""

    conversation: str
    user: str
    name: str | None
    typing: bool


class ConversationRemoved(Struct, frozen=True):
    """It was deleted, or is no longer this person's to see. Nothing more comes of it."""

    conversation: str


class RequestAnswered(Struct, frozen=True):
    """The command `id` was answered."""

    id: str
    answer: ServerAnswer


class ErrorReceived(Struct, frozen=True):
    """The server refused something that was no command."""

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
