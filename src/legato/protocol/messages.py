"""The messages of `legato.v1`. Each is a JSON text frame, an object with a `type`; unknown fields are ignored.

The JSON Schema (`docs/reference/protocol.schema.json`) and the TypeScript types (`web/src/protocol.ts`) are generated from here.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

from legato.domain.message import AudioPart, FilePart, ImagePart, MessageRole, Part, Status, TextPart
from legato.domain.participant import ParticipantRole
from legato.protocol.command_data import CommandData
from legato.stream import Event, ResetReason, Span, Timings, Usage

PROTOCOL = "legato.v1"


class ClientRequest(Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    """The base of all client messages. `id` is any string (≤128), which the answer repeats as `re`."""

    id: str | None = None


class Hello(ClientRequest, frozen=True, tag="hello"):
    """The first message of a client that did not authenticate in the handshake: a JWT, or a single-use ticket.

    Answered by `welcome`. Not needed if auth is off, or if a token came in the `Authorization` header.
    """

    token: str | None = None
    ticket: str | None = None


class Where(Struct, frozen=True):
    """A position: the next offset that the client needs of this epoch of a stream."""

    stream: str
    epoch: str
    offset: int


class Follow(ClientRequest, frozen=True, tag="follow"):
    """Follow a conversation. Answered by `following`; then every change of the conversation is sent.

    `since` is the last revision that the client has (0: none; every message is sent). `positions` are the streams that it
    has a part of. A second `follow` of the same conversation replaces the first one.
    """

    conversation: str
    since: int = 0
    positions: list[Where] = field(default_factory=list)


class Unfollow(ClientRequest, frozen=True, tag="unfollow"):
    """Stop following a conversation. Answered by `unfollowed`."""

    conversation: str


class Send(ClientRequest, frozen=True, tag="send"):
    """A message of the user. Answered by `ack` when it is stored; the reply follows as a stream.

    Text that begins with `/` is a command: it reaches no model and is not stored. It is answered by `command`.

    Without `conversation`, a new one with `assistant` is created. The socket follows the conversation from then on.
    `client_message_id` (≤128, unique for this user) makes it safe to send the message again: the same body is answered with
    the same `ack`, another body with an error. `parent` is the message before it; by default the last one of the branch
    that is shown.

    If more was written behind `parent` in the branch that is shown, the message goes to the end of that branch with
    `append` true, and starts a branch behind `parent` with false. By default it goes to the end if only other users wrote
    there.
    """

    client_message_id: str
    conversation: str | None = None
    text: str = ""
    parts: list[TextPart | ImagePart | AudioPart | FilePart] = field(default_factory=list)
    parent: str | None = None
    assistant: str | None = None
    append: bool | None = None


class Regenerate(ClientRequest, frozen=True, tag="regenerate"):
    """Generate another reply in place of the assistant's `message`, in a new branch. Answered by `ack`."""

    conversation: str
    message: str
    client_message_id: str | None = None


class Edit(ClientRequest, frozen=True, tag="edit"):
    """Replace the text of the user's `message`, in a new branch with a reply of its own. Answered by `ack`."""

    conversation: str
    message: str
    text: str
    client_message_id: str | None = None


class Show(ClientRequest, frozen=True, tag="show"):
    """Show the branch that ends in `message`, to all participants. Answered by `conversation`."""

    conversation: str
    message: str


class Stop(ClientRequest, frozen=True, tag="stop"):
    """Stop a reply, or all running replies of the conversation. Answered by `stopped`; the text so far is kept."""

    conversation: str
    message: str | None = None


class Typing(ClientRequest, frozen=True, tag="typing"):
    """The user types, or stopped typing. Not answered. It expires after 6 s, so send it again while the user types."""

    conversation: str
    typing: bool = True


class Approve(ClientRequest, frozen=True, tag="approve"):
    """Approve a tool call that waits for approval (`tool_asked`), or refuse it with `allow` false. Answered by `approved`.

    `message` is the reply, `call` the id of the tool call.
    """

    conversation: str
    message: str
    call: str
    allow: bool = True


class Ping(ClientRequest, frozen=True, tag="ping"):
    """Answered by `pong`. A client that received nothing for 20 s pings; after 10 more it treats the socket as dead."""


ClientMessage = Hello | Follow | Unfollow | Send | Regenerate | Edit | Show | Stop | Typing | Approve | Ping


class ServerAnswer(Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    """The base of all server messages. `re` is the `id` of the command that it answers."""

    re: str | None = None


class Welcome(ServerAnswer, frozen=True, tag="welcome"):
    """The socket is open and authenticated. Sent once, as the first message.

    `max_frame_bytes` is the largest frame that the server takes, `max_sent_bytes` the largest that it sends.
    """

    user: str
    server: str
    heartbeat: float = 20.0
    max_frame_bytes: int = 65536
    max_sent_bytes: int = 262144


class ConversationView(Struct, frozen=True):
    """A conversation as clients see it. `standing` is the role of the user who gets it. Times are ISO-8601 UTC with `Z`.

    `model` was chosen with `/model` and answers in place of the assistant's; None if none was chosen. `cleared` is the id of
    a message: the model reads neither it nor any message before it.
    """

    id: str
    title: str
    assistant: str
    revision: int
    created_at: str
    updated_at: str
    head: str | None = None
    standing: ParticipantRole = "owner"
    model: str | None = None
    cleared: str | None = None


class MessageView(Struct, frozen=True):
    """A message as clients see it; `text` is its text parts joined. While `status` is `streaming`, the text is the stream named `id`.

    With `places`, `parts` are those that are not text, and `places` says of each how many characters (Unicode code points) of
    `text` come before it. Without it, `parts` has the text too.
    """

    id: str
    conversation: str
    role: MessageRole
    status: Status
    created_at: str
    revision: int = 0
    text: str = ""
    parts: tuple[Part, ...] = ()
    parent: str | None = None
    author: str | None = None
    reasoning: str = ""
    model: str | None = None
    detail: str | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    spans: tuple[Span, ...] = ()
    places: tuple[int, ...] | UnsetType = UNSET


class Following(ServerAnswer, frozen=True, tag="following"):
    """The conversation, and its messages that changed at revision `since` or later, oldest first.

    The client may have some of them: a message replaces the one with its `id`. If `more` is true, the rest comes in
    frames of type `messages`.
    """

    conversation: ConversationView
    messages: list[MessageView]
    more: bool = False


class Messages(ServerAnswer, frozen=True, tag="messages"):
    """More messages after `following`; the last such frame has no `more`."""

    conversation: str
    messages: list[MessageView]
    more: bool = False


class Fragment(Struct, frozen=True, tag_field="type", tag="fragment", omit_defaults=True):
    """A piece of a frame that is longer than `max_sent_bytes`. The joined `text` of all pieces with the same `group` is the frame.

    Pieces of one group come in order, the last one without `more`. Other frames may come between them.
    """

    group: str
    text: str
    more: bool = False


class Unfollowed(ServerAnswer, frozen=True, tag="unfollowed"):
    conversation: str


class Ack(ServerAnswer, frozen=True, tag="ack"):
    """The message is stored and its reply started; with `duplicate`, that happened before. `reply` names the stream."""

    conversation: str
    reply: str
    message: str | None = None
    client_message_id: str | None = None
    duplicate: bool = False


class Stopped(ServerAnswer, frozen=True, tag="stopped"):
    """These replies were stopped; none if none was running."""

    conversation: str
    messages: list[str]


class ConversationChanged(ServerAnswer, frozen=True, tag="conversation"):
    """The title, head or revision of the conversation changed."""

    conversation: ConversationView


class ConversationDeleted(ServerAnswer, frozen=True, tag="deleted"):
    """The conversation was deleted, or the user left it or was removed from it. The socket no longer follows it."""

    conversation: str


class MessageChanged(ServerAnswer, frozen=True, tag="message"):
    """A message was added, or changed because its reply ended. It replaces the one with its `id`."""

    message: MessageView


class Delta(Struct, frozen=True, tag_field="type", tag="delta", rename={"from_": "from"}):
    """The events at the offsets `from` ≤ offset < `to` of a stream, with consecutive texts joined.

    `from` is the `to` of the delta before it, or the requested position. If it is 0, the stream is sent from its beginning
    and replaces what the client has of it.
    """

    stream: str
    epoch: str
    from_: int
    to: int
    events: list[Event]


class ResetStream(Struct, frozen=True, tag_field="type", tag="reset"):
    """The stream cannot resume at the position: drop what you have of it. Its next delta begins at 0; with the reason `gone` there is none."""

    stream: str
    reason: ResetReason | Literal["gone"]
    epoch: str | None = None


class PersonView(Struct, frozen=True, omit_defaults=True):
    """A participant as clients see them. `present`: they follow this conversation now, with so many `connections`."""

    user: str
    standing: ParticipantRole
    name: str | None = None
    present: bool = False
    typing: bool = False
    connections: int = 0


class People(ServerAnswer, frozen=True, tag="people"):
    """The participants of a conversation, and who of them is present: sent after `following`, and at every change.

    Changes within a short time are sent as one.
    """

    conversation: str
    people: list[PersonView]


class TypingNow(ServerAnswer, frozen=True, tag="typing"):
    """Another participant types, or stopped typing."""

    conversation: str
    user: str
    typing: bool
    name: str | None = None


class CommandAnswer(ServerAnswer, frozen=True, tag="command"):
    """The result of a command, in Markdown, for the user who ran it. With `conversation`, show that one now.

    `data` is what `text` says, as fields: a client that shows it in its own way uses these, and never parses the text.
    """

    name: str
    text: str
    failed: bool = False
    conversation: str | None = None
    data: CommandData | None = None


class Approved(ServerAnswer, frozen=True, tag="approved"):
    """The decision was received. Another user's may have come first: the stream shows what happened to the tool call."""

    conversation: str
    message: str
    call: str


class Error(ServerAnswer, frozen=True, tag="error"):
    """A command was refused and changed nothing. `message` is a sentence for the user; `code` is a word for programs."""

    code: str
    message: str
    retry_after: float | None = None
    detail: dict[str, Any] | None = None


class Pong(ServerAnswer, frozen=True, tag="pong"):
    pass


ServerMessage = (
    Welcome
    | Following
    | Messages
    | Unfollowed
    | Ack
    | Stopped
    | ConversationChanged
    | ConversationDeleted
    | MessageChanged
    | Delta
    | Fragment
    | ResetStream
    | People
    | TypingNow
    | CommandAnswer
    | Approved
    | Error
    | Pong
)
