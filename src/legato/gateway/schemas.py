"""What the HTTP routes take and give, beside the views that they share with the native protocol."""

from typing import Any, Literal

from msgspec import Struct, field

from legato.chat.participants import WEEK
from legato.domain.message import AudioPart, ImagePart, TextPart
from legato.domain.participant import ParticipantRole
from legato.engines.base import Model
from legato.protocol.messages import ConversationView, MessageView, PersonView


class Problem(Struct, frozen=True, omit_defaults=True):
    """`message` is a sentence for a person, `code` a word for programs, `retry_after` in seconds."""

    code: str
    message: str
    retry_after: float | None = None


class ProblemAnswer(Struct, frozen=True):
    error: Problem


class NewConversation(Struct, frozen=True):
    assistant: str | None = None
    title: str | None = None


class ConversationChange(Struct, frozen=True):
    """A new title, or the last message of the branch to show."""

    title: str | None = None
    head: str | None = None


class ConversationHit(Struct, frozen=True, omit_defaults=True):
    """A conversation in a list; `snippet` and `message` where it was searched for."""

    id: str
    title: str
    assistant: str
    revision: int
    created_at: str
    updated_at: str
    head: str | None
    standing: ParticipantRole
    snippet: str | None = None
    message: str | None = None


class ConversationList(Struct, frozen=True):
    """`next` is what to give as `before` for the page behind this one; null on the last."""

    conversations: list[ConversationHit]
    next: str | None = None


class ConversationWhole(Struct, frozen=True):
    """A conversation and the messages of the branch that is shown, in order (or, with `branches=all`, every message)."""

    id: str
    title: str
    assistant: str
    revision: int
    created_at: str
    updated_at: str
    head: str | None
    standing: ParticipantRole
    messages: list[MessageView]


class MessageList(Struct, frozen=True):
    conversation: ConversationView
    messages: list[MessageView]


class NewMessage(Struct, frozen=True):
    """As the `send` of the native protocol."""

    text: str = ""
    parts: list[TextPart | ImagePart | AudioPart] = field(default_factory=list)
    client_message_id: str | None = None
    parent: str | None = None


class MessageTaken(Struct, frozen=True):
    """It is stored. `reply` names the stream of the answer: `GET /api/streams/{reply}`."""

    conversation: str
    message: str | None
    reply: str
    duplicate: bool


class AttachmentView(Struct, frozen=True, omit_defaults=True):
    """A file that was uploaded. A message names it as `{"type": type, "attachment": id}`; `url` gives its bytes back."""

    id: str
    type: Literal["image", "audio"]
    media_type: str
    size: int
    url: str
    name: str | None = None


class CommandDone(Struct, frozen=True):
    """What a command says, in Markdown. `failed`: it did nothing. `conversation` is another one to be shown now, `reply` the stream that it began."""

    name: str
    text: str
    failed: bool
    conversation: str | None
    reply: str | None


class StopRequest(Struct, frozen=True):
    message: str | None = None


class StoppedMessages(Struct, frozen=True):
    messages: list[str]


class ParticipantList(Struct, frozen=True):
    participants: list[PersonView]


class NewStanding(Struct, frozen=True):
    """`owner` hands the conversation over: who owned it stays as a member."""

    standing: ParticipantRole


class NewInvitation(Struct, frozen=True, forbid_unknown_fields=True):
    """`expires_in` is in seconds: a week, where nothing is said. A field that is not known is refused: passed over, it would
    let somebody do more than was meant."""

    standing: ParticipantRole = "member"
    expires_in: float = WEEK


class InvitationView(Struct, frozen=True, omit_defaults=True):
    """`secret` and `link` (the page's address behind this server's own) are there when it is made, and never again."""

    id: str
    standing: ParticipantRole
    created_at: str
    expires_at: str
    secret: str | None = None
    link: str | None = None


class InvitationList(Struct, frozen=True):
    invitations: list[InvitationView]


class ModelList(Struct, frozen=True):
    """The models of every engine in use; `problems` has a sentence for each engine that could not be asked."""

    models: list[Model]
    problems: dict[str, str]


class AssistantView(Struct, frozen=True, omit_defaults=True):
    """`images`: its model takes pictures. `tools` are those that it may use."""

    name: str
    engine: str
    model: str
    disclaimer: str | None = None
    images: bool = False
    tools: tuple[str, ...] = ()


class EngineView(Struct, frozen=True):
    """The engine that the default assistant speaks through; `why` is a sentence; empty where auth is on, since it may
    name files and addresses."""

    name: str
    model: str
    why: str


class ServerInfo(Struct, frozen=True):
    """`upload_bytes` is the most that one attachment may have."""

    server: str
    auth: bool
    assistants: list[AssistantView]
    engine: EngineView
    upload_bytes: int


class Alive(Struct, frozen=True):
    status: str = "ok"


class Readiness(Struct, frozen=True):
    """`ready`: messages are taken. `engines` tells whether each of them is `ok`, and to those who may know it what it says of
    itself, a second ago at most."""

    ready: bool
    storage: str
    engines: dict[str, Any]
    replies: int


class Ticket(Struct, frozen=True):
    """Good for one handshake, for `expires_in` seconds."""

    ticket: str
    expires_in: float
