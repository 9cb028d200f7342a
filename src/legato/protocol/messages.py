"""The messages of `legato.v1`. Each is a JSON text frame, an object with a `type`; unknown fields are ignored.

The JSON Schema (`docs/reference/protocol.schema.json`) and the TypeScript types (`web/src/protocol.ts`) are generated from here.
"""

from typing import Any, Literal

from msgspec import Struct, field

from legato.domain.message import AudioPart, ImagePart, MessageRole, Part, Status, TextPart
from legato.domain.participant import ParticipantRole
from legato.stream import Event, ResetReason, Span, Timings, Usage

PROTOCOL = "legato.v1"


class ClientRequest(Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    """What every client message may carry: `id`, any string (≤128), which the answer to it repeats as `re`."""

    id: str | None = None


class Hello(ClientRequest, frozen=True, tag="hello"):
    """The first message of a client that did not authenticate in the handshake: a JWT, or a single-use ticket.

    Answered by `welcome`. Not needed where auth is off, or a token came in the `Authorization` header.
    """

    token: str | None = None
    ticket: str | None = None


class Where(Struct, frozen=True):
    """A position: the next offset that is wanted of this incarnation of a stream."""

    stream: str
    epoch: str
    offset: int


class Follow(ClientRequest, frozen=True, tag="follow"):
    """Follow a conversation. Answered by `following`, then whatever happens in it.

    `since` is the last revision the client has seen (0: none; every message is told). `positions` are the streams it
    has seen a part of. A second `follow` of the same conversation starts over with what it says.
    """

    conversation: str
    since: int = 0
    positions: list[Where] = field(default_factory=list)


class Unfollow(ClientRequest, frozen=True, tag="unfollow"):
    """Follow it no more. Answered by `unfollowed`."""

    conversation: str


class Send(ClientRequest, frozen=True, tag="send"):
    """A message from the person. Answered by `ack` once it is stored; the reply follows as a stream.

    Text that begins with `/` is a command: it reaches no model and is not stored. It is answered by `command`.

    Without `conversation` a new one is made, of `assistant`. The conversation is followed, if it was not yet.
    `client_message_id` (≤128, unique for this user) makes it safe to send again: the same body is answered with the same
    `ack`, another one with an error. `parent` is the message it stands behind; without it, the last one that is shown.
    """

    client_message_id: str
    conversation: str | None = None
    text: str = ""
    parts: list[TextPart | ImagePart | AudioPart] = field(default_factory=list)
    parent: str | None = None
    assistant: str | None = None


class Regenerate(ClientRequest, frozen=True, tag="regenerate"):
    """Another reply in place of `message` (an assistant's): a branch beside it. Answered by `ack`."""

    conversation: str
    message: str
    client_message_id: str | None = None


class Edit(ClientRequest, frozen=True, tag="edit"):
    """Another wording in place of `message` (a person's): a branch beside it, with a reply of its own. Answered by `ack`."""

    conversation: str
    message: str
    text: str
    client_message_id: str | None = None


class Show(ClientRequest, frozen=True, tag="show"):
    """Show the branch that ends in `message`, to everyone in the conversation. Answered by `conversation`."""

    conversation: str
    message: str


class Stop(ClientRequest, frozen=True, tag="stop"):
    """Stop a reply, or every running one of the conversation. Answered by `stopped`; the text so far stays."""

    conversation: str
    message: str | None = None


class Typing(ClientRequest, frozen=True, tag="typing"):
    """The person writes, or has stopped to. Not answered; lapses by itself after 6 s, so it is said again meanwhile."""

    conversation: str
    typing: bool = True


class Approve(ClientRequest, frozen=True, tag="approve"):
    """The person's word on a tool that asked (`tool_asked`): it may run, or with `allow` false it may not. Answered by `approved`.

    `message` is the reply, `call` the tool's.
    """

    conversation: str
    message: str
    call: str
    allow: bool = True


class Ping(ClientRequest, frozen=True, tag="ping"):
    """Answered by `pong`. A client that hears nothing for 20 s pings, and after 10 more counts the socket as dead."""


ClientMessage = Hello | Follow | Unfollow | Send | Regenerate | Edit | Show | Stop | Typing | Approve | Ping


class ServerAnswer(Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    """What every server message may carry: `re`, the `id` of the command that it answers."""

    re: str | None = None


class Welcome(ServerAnswer, frozen=True, tag="welcome"):
    """The socket is open and authenticated. Sent once, first."""

    user: str
    server: str
    heartbeat: float = 20.0
    max_frame_bytes: int = 65536


class ConversationView(Struct, frozen=True):
    """A conversation as clients see it. `standing` is what the asker may do in it. Times are ISO-8601 UTC with `Z`."""

    id: str
    title: str
    assistant: str
    revision: int
    created_at: str
    updated_at: str
    head: str | None = None
    standing: ParticipantRole = "owner"


class MessageView(Struct, frozen=True):
    """A message as clients see it; `text` is its text parts joined. Where `status` is `streaming` the text comes as the stream named `id`."""

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


class Following(ServerAnswer, frozen=True, tag="following"):
    """What was missed: the conversation, and its messages as they were written at revision `since` or later.

    Oldest first. Some of them the client may have: a message replaces the one with its `id`. Where `more` is true, the
    rest comes in frames of type `messages`.
    """

    conversation: ConversationView
    messages: list[MessageView]
    more: bool = False


class Messages(ServerAnswer, frozen=True, tag="messages"):
    """More of what was missed, behind `following`; the last such frame has no `more`."""

    conversation: str
    messages: list[MessageView]
    more: bool = False


class Unfollowed(ServerAnswer, frozen=True, tag="unfollowed"):
    conversation: str


class Ack(ServerAnswer, frozen=True, tag="ack"):
    """It is stored, and the reply is under way (or, with `duplicate`, was already). `reply` names the stream."""

    conversation: str
    reply: str
    message: str | None = None
    client_message_id: str | None = None
    duplicate: bool = False


class Stopped(ServerAnswer, frozen=True, tag="stopped"):
    """These replies were stopped; none, where nothing was running."""

    conversation: str
    messages: list[str]


class ConversationChanged(ServerAnswer, frozen=True, tag="conversation"):
    """The conversation has another title, head or revision."""

    conversation: ConversationView


class ConversationDeleted(ServerAnswer, frozen=True, tag="deleted"):
    """The conversation is gone for you: it was deleted, you left, or you were removed. You follow it no more."""

    conversation: str


class MessageChanged(ServerAnswer, frozen=True, tag="message"):
    """A message is new, or was written again because its reply ended. It replaces the one with its `id`."""

    message: MessageView


class Delta(Struct, frozen=True, tag_field="type", tag="delta", rename={"from_": "from"}):
    """The events of the offsets `from` ≤ offset < `to` of a stream, neighbours of text joined.

    `from` is the `to` of the delta before it, or the position that was asked for. Where it is 0 the stream is told from
    its beginning: what a client has of it is replaced.
    """

    stream: str
    epoch: str
    from_: int
    to: int
    events: list[Event]


class ResetStream(Struct, frozen=True, tag_field="type", tag="reset"):
    """The position cannot be continued: forget what you have of this stream. The next delta of it begins at 0; with the reason `gone` there is none."""

    stream: str
    reason: ResetReason | Literal["gone"]
    epoch: str | None = None


class PersonView(Struct, frozen=True, omit_defaults=True):
    """A participant as clients see them. `present`: they have this conversation open somewhere, through so many `connections`."""

    user: str
    standing: ParticipantRole
    name: str | None = None
    present: bool = False
    typing: bool = False
    connections: int = 0


class People(ServerAnswer, frozen=True, tag="people"):
    """Everybody who takes part in a conversation, and who of them is here: behind `following`, and whenever it changes.

    Changes that come close together are told as one.
    """

    conversation: str
    people: list[PersonView]


class TypingNow(ServerAnswer, frozen=True, tag="typing"):
    """Somebody else writes, or no longer does."""

    conversation: str
    user: str
    typing: bool
    name: str | None = None


class CommandAnswer(ServerAnswer, frozen=True, tag="command"):
    """What a command says, in Markdown, for the person who gave it. With `conversation`, that one is to be shown now."""

    name: str
    text: str
    failed: bool = False
    conversation: str | None = None


class Approved(ServerAnswer, frozen=True, tag="approved"):
    """The word was taken. Another person's may have come first: the stream tells what became of the tool."""

    conversation: str
    message: str
    call: str


class Error(ServerAnswer, frozen=True, tag="error"):
    """A command was refused, and changed nothing. `message` is a sentence for a person; `code` is a word for programs."""

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
    | ResetStream
    | People
    | TypingNow
    | CommandAnswer
    | Approved
    | Error
    | Pong
)
