"""What a client tells its user, in the order in which it happened."""

from msgspec import Struct

from legato.protocol.messages import Answer, ConversationView, Error, MessageView, PersonView
from legato.stream import Event


class Streamed(Struct, frozen=True):
    """More of a reply. All of these since the last `StartedOver`, added up, are what it says."""

    stream: str
    events: list[Event]


class StartedOver(Struct, frozen=True):
    """What was told of a reply does not count: it comes again from its beginning."""

    stream: str


class MessageTold(Struct, frozen=True):
    """A message is new, or replaces the one with its id."""

    message: MessageView


class ConversationTold(Struct, frozen=True):
    """The conversation has another title, head or revision."""

    conversation: ConversationView


class PeopleTold(Struct, frozen=True):
    """Everybody who takes part in a conversation, and who of them is here."""

    conversation: str
    people: list[PersonView]


class TypingTold(Struct, frozen=True):
    """Somebody else begins to type, or types no more."""

    conversation: str
    user: str
    name: str | None
    typing: bool


class ConversationGone(Struct, frozen=True):
    """It was deleted, or is no longer this person's to see. Nothing more comes of it."""

    conversation: str


class Answered(Struct, frozen=True):
    """The command `id` was answered."""

    id: str
    answer: Answer


class Complained(Struct, frozen=True):
    """The server refused something that was no command."""

    error: Error


Happening = (
    Streamed
    | StartedOver
    | MessageTold
    | ConversationTold
    | PeopleTold
    | TypingTold
    | ConversationGone
    | Answered
    | Complained
)
