"""The bodies of HTTP requests and responses, beside the views that the native protocol shares."""

from typing import Any, Literal

from msgspec import Struct, field

from legato.chat.participants import WEEK
from legato.domain.message import AudioPart, FilePart, ImagePart, TextPart
from legato.domain.participant import ParticipantRole
from legato.engines.base import Model
from legato.protocol.messages import ConversationView, MessageView, PersonView


class Problem(Struct, frozen=True, omit_defaults=True):
    """`message` is a sentence for people, `code` a word for programs, `retry_after` is in seconds."""

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
    """A conversation in a list. `snippet` and `message` are set by a search. `running`: a reply is being written in it."""

    id: str
    title: str
    assistant: str
    revision: int
    created_at: str
    updated_at: str
    head: str | None
    standing: ParticipantRole
    model: str | None
    cleared: str | None
    snippet: str | None = None
    message: str | None = None
    running: bool = False


class ConversationList(Struct, frozen=True):
    """`next` is the `before` of the next page; null on the last page."""

    conversations: list[ConversationHit]
    next: str | None = None


class ConversationWhole(Struct, frozen=True):
    """A conversation and the messages of the branch that is shown, in order; with `branches=all`, every message."""

    id: str
    title: str
    assistant: str
    revision: int
    created_at: str
    updated_at: str
    head: str | None
    standing: ParticipantRole
    model: str | None
    cleared: str | None
    messages: list[MessageView]


class MessageList(Struct, frozen=True):
    conversation: ConversationView
    messages: list[MessageView]


class NewMessage(Struct, frozen=True):
    """The fields of `send` of the native protocol."""

    text: str = ""
    parts: list[TextPart | ImagePart | AudioPart | FilePart] = field(default_factory=list)
    client_message_id: str | None = None
    parent: str | None = None
    append: bool | None = None


class MessageTaken(Struct, frozen=True):
    """The message is stored. `reply` names the stream of the answer: `GET /api/streams/{reply}`."""

    conversation: str
    message: str | None
    reply: str
    duplicate: bool


class AttachmentView(Struct, frozen=True, omit_defaults=True):
    """An uploaded file. A message names it as `{"type": type, "attachment": id}`; `url` returns its bytes."""

    id: str
    type: Literal["image", "audio", "file"]
    media_type: str
    size: int
    url: str
    name: str | None = None


class CommandDone(Struct, frozen=True):
    """The result of a command, in Markdown. `failed`: it did nothing. `conversation` is another one to show now, `reply` the stream that it started."""

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
    """`owner` transfers the conversation: the former owner stays as a member."""

    standing: ParticipantRole


class NewInvitation(Struct, frozen=True, forbid_unknown_fields=True):
    """`expires_in` is in seconds, by default a week. An unknown field is refused: an ignored one could permit more than intended."""

    standing: ParticipantRole = "member"
    expires_in: float = WEEK


class InvitationView(Struct, frozen=True, omit_defaults=True):
    """`secret` and `link` (the path of the page) are returned only when the invitation is created."""

    id: str
    standing: ParticipantRole
    created_at: str
    expires_at: str
    secret: str | None = None
    link: str | None = None


class InvitationPreviewView(Struct, frozen=True, omit_defaults=True):
    """What one joins with an invitation: `owner` is the name of the owner. `conversation` is its id if you take part already."""

    title: str
    owner: str
    standing: ParticipantRole
    expires_at: str
    conversation: str | None = None


class InvitationList(Struct, frozen=True):
    invitations: list[InvitationView]


class ModelList(Struct, frozen=True):
    """The models of every engine in use. `problems` has a sentence for each engine that failed."""

    models: list[Model]
    problems: dict[str, str]


class AssistantView(Struct, frozen=True, omit_defaults=True):
    """`images`: its model accepts pictures. `tools` are the tools that it may use. `backup` is the engine that answers if the
    first cannot.
    """

    name: str
    engine: str
    model: str
    disclaimer: str | None = None
    images: bool = False
    tools: tuple[str, ...] = ()
    backup: str | None = None


class EngineView(Struct, frozen=True):
    """The engine of the default assistant. `why` is a sentence, empty with authentication, because it may name files and addresses."""

    name: str
    model: str
    why: str


class ServerInfo(Struct, frozen=True):
    """`upload_bytes` is the largest attachment."""

    server: str
    auth: bool
    assistants: list[AssistantView]
    engine: EngineView
    upload_bytes: int


class Alive(Struct, frozen=True):
    status: str = "ok"


class Readiness(Struct, frozen=True):
    """`ready`: messages are accepted. `engines` says whether each of them is `ok`, with details for administrators; it is at most
    a second old.
    """

    ready: bool
    storage: str
    engines: dict[str, Any]
    replies: int


class Ticket(Struct, frozen=True):
    """Valid for one handshake, for `expires_in` seconds."""

    ticket: str
    expires_in: float


class UsageNumbers(Struct, frozen=True):
    """Calls of the APIs, and their tokens."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class UsageRow(Struct, frozen=True):
    """What one user used of one model on one day (UTC), with one key; null: without a key."""

    day: str
    user: str
    key: str | None
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class UsageReport(Struct, frozen=True):
    """The usage from the day `since` to the day `until`. There are at most 10,000 rows, the newest."""

    since: str
    until: str
    total: UsageNumbers
    data: list[UsageRow]
