"""The contract of storage. What a call returned is committed; what raised left nothing behind.

The journal is storage's own cursor on the logs: while a reply is being written, what its log gained since the last tick
(≤250 ms) is appended as one row for all replies together, never a write per token and never the whole text again. When
a reply ends its message is written once, and the rows of the journal that no running reply needs are dropped.
"""

from datetime import datetime
from typing import Literal, Protocol

from msgspec import Struct

from legato.domain.message import MessageRole, Part, Status
from legato.domain.message import ParticipantRole as ParticipantRole
from legato.stream import Event, Span, Timings, Usage


class ConversationSettings(Struct, frozen=True, omit_defaults=True):
    """What was chosen for one conversation.

    `model` answers in place of its assistant's. `system` is read by the model behind the assistant's own system prompt.
    `cleared` is the last message that the model no longer reads, with all before it.
    """

    model: str | None = None
    system: str | None = None
    cleared: str | None = None


SettingName = Literal["model", "system", "cleared"]


class Conversation(Struct, frozen=True):
    """`head` is the last message of the branch that is shown. `revision` counts every change of it or its messages."""

    id: str
    owner: str
    title: str
    assistant: str
    created_at: datetime
    updated_at: datetime
    revision: int = 0
    head: str | None = None
    settings: ConversationSettings = ConversationSettings()


PARTICIPANTS = 500
"""People beside the owner who can take part in one conversation: each of them is told of all the others."""


class Participant(Struct, frozen=True):
    """A person in a conversation. `name` is how they are called, where it is known."""

    conversation: str
    user: str
    role: ParticipantRole
    joined_at: datetime
    name: str | None = None


class Invitation(Struct, frozen=True):
    """A link by which whoever has it joins a conversation with `standing` (never as owner), until `expires_at`.

    `id` names it where it is listed and taken back. Of its secret only `digest` is kept (SHA-256, hex).
    """

    id: str
    digest: str
    conversation: str
    role: ParticipantRole
    created_at: datetime
    expires_at: datetime


class Attachment(Struct, frozen=True):
    """A file that a person uploaded. Its bytes stand beside the database, under its `digest` (SHA-256, hex).

    `media_type` was found in its content, never taken from its sender. `size` is in bytes.
    """

    id: str
    owner: str
    media_type: str
    size: int
    digest: str
    created_at: datetime
    name: str | None = None


class Message(Struct, frozen=True):
    """One message. Messages of a conversation are a tree: `parent` is the one before it, None for a first one.

    `revision` is the conversation's when this message was last written. `reasoning` is what the model thought.
    A reply's log has the name of its message. `detail` is a sentence about how the reply came to be or why it broke, for a
    person. `spans` say who wrote which part of a reply's text. Times are UTC.
    """

    id: str
    conversation: str
    role: MessageRole
    status: Status
    parts: tuple[Part, ...]
    created_at: datetime
    parent: str | None = None
    revision: int = 0
    author: str | None = None
    reasoning: str = ""
    model: str | None = None
    detail: str | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    spans: tuple[Span, ...] = ()


class NewTurn(Struct, frozen=True):
    """What begins a turn, written in one transaction.

    `question` is the person's message (None when a reply is regenerated), `reply` the assistant's, with status
    `streaming`. `client_message_id` and `fingerprint` (a hash of what was sent) make it idempotent for `user`.
    `title` is set where the conversation has none yet. The conversation's head becomes the reply. `create` is a new
    conversation (the one that `conversation` names), made in the same transaction unless the exchange is a duplicate.
    `enclosed` names the attachments of the question: whoever may read the conversation may read them from then on.
    """

    conversation: str
    user: str
    question: Message | None
    reply: Message
    client_message_id: str | None = None
    fingerprint: str = ""
    title: str | None = None
    create: Conversation | None = None
    enclosed: tuple[str, ...] = ()


class TurnStarted(Struct, frozen=True):
    """What `begin` wrote, or, with `duplicate`, what was written when this `client_message_id` first came."""

    conversation: Conversation
    question: Message | None
    reply: Message
    duplicate: bool = False


class JournalEntry(Struct, frozen=True, array_like=True):
    """What the log of one running reply (`message`) gained since its last entry.

    With `whole`, `events` is all there is of it, and its earlier entries no longer count: long replies are written
    again once in a while, so that the journal can be trimmed.
    """

    message: str
    events: list[Event]
    whole: bool = False


class UnfinishedReply(Struct, frozen=True):
    """A reply that was being written when the server went away, and all that the journal has of it, in order."""

    message: Message
    events: list[Event]


class SearchHit(Struct, frozen=True):
    """A hit of the full-text search. `snippet` is plain text around it; `message` is None where the title was hit."""

    conversation: Conversation
    message: str | None
    snippet: str


class Storage(Protocol):
    """One database. Every call may raise StorageError where the database fails (full, locked, gone)."""

    async def open(self) -> None:
        """Connect and bring the schema to this version."""
        ...

    async def close(self) -> None: ...

    async def ping(self) -> None:
        """Return if a write could succeed now.

        :raises StorageError: with the reason.
        """
        ...

    async def create_conversation(self, conversation: Conversation) -> None:
        """:raises ConflictError: there is one of this id."""
        ...

    async def conversation(self, conversation: str) -> Conversation | None: ...

    async def conversations(
        self, person: str, limit: int = 50, before: tuple[datetime, str] | None = None
    ) -> list[Conversation]:
        """Those that `person` owns or takes part in, last changed first; `before` is (updated_at, id) of the last one of the page before."""
        ...

    async def rename_conversation(self, conversation: str, title: str, now: datetime) -> Conversation | None:
        """The conversation with its new title and revision, or None where there is none."""
        ...

    async def set_head(self, conversation: str, head: str, now: datetime) -> Conversation | None:
        """Show another branch. None where there is no such conversation or no such message in it."""
        ...

    async def set_setting(
        self, conversation: str, what: SettingName, value: str | None, now: datetime
    ) -> Conversation | None:
        """Change one of its choices, None takes it back. None where there is no such conversation."""
        ...

    async def delete_conversation(self, conversation: str) -> bool:
        """It, its messages, their search entries and idempotency keys, and the attachments that no other conversation holds; False where there is none."""
        ...

    async def messages(self, conversation: str, after_revision: int = 0) -> list[Message]:
        """All messages of the tree in the order they were created (those of one exchange: question, reply), or only those written after a revision."""
        ...

    async def message(self, message: str) -> Message | None: ...

    async def begin(self, exchange: NewTurn, now: datetime) -> TurnStarted:
        """Write an exchange once.

        :raises ConflictError: this `client_message_id` came before with another fingerprint.
        :raises NotFoundError: there is no such conversation, or the question's parent (the reply's, where there is no question) is not in it, or an attachment is gone.
        """
        ...

    async def journal(self, entries: list[JournalEntry]) -> int:
        """Append one row; returns its number, which grows."""
        ...

    async def trim_journal(self, before: int) -> None:
        """Drop the rows with a smaller number."""
        ...

    async def finish(self, message: Message, now: datetime) -> Message | None:
        """Write a reply that ended, or a person's message in whose recordings somebody has listened. It gets the conversation's next revision and is what is returned; None where the conversation was deleted meanwhile.

        Writing it twice with the same content is harmless: the second time changes nothing but the revision.
        """
        ...

    async def unfinished(self) -> list[UnfinishedReply]:
        """Every reply with status `streaming`, with its journal."""
        ...

    async def participants(self, conversation: str) -> list[Participant]:
        """The owner, then those who joined, in the order in which they came; nobody where there is no such conversation."""
        ...

    async def add_participant(self, participant: Participant) -> Participant:
        """Let somebody take part. Doing it again never lowers a standing, and never makes an owner; a name becomes known by it.

        :raises NotFoundError: there is no such conversation. :raises ConflictError: `PARTICIPANTS` take part already.
        """
        ...

    async def join(self, digest: str, user: str, name: str | None, now: datetime) -> Participant | None:
        """`admit` whom the invitation of this digest lets in; None where there is none, or it is over.

        :raises ConflictError: as above.
        """
        ...

    async def change_role(
        self, conversation: str, user: str, standing: ParticipantRole
    ) -> Participant | None:
        """Make one who joined a member or a viewer. None where they do not take part."""
        ...

    async def transfer_ownership(self, conversation: str, user: str, now: datetime) -> Conversation | None:
        """Make one who joined the owner; who owned it stays as a member. None where they do not take part."""
        ...

    async def remove_participant(self, conversation: str, user: str) -> bool:
        """Let one who joined take part no more; False where they did not. The owner always does."""
        ...

    async def roles(self, user: str, conversations: list[str]) -> dict[str, ParticipantRole]:
        """How `user` stands in those of these conversations that they joined."""
        ...

    async def invite(self, invitation: Invitation) -> None:
        """:raises NotFoundError: there is no such conversation. :raises ConflictError: there is one of this id or digest."""
        ...

    async def invitations(self, conversation: str, now: datetime) -> list[Invitation]:
        """Those that are not over, oldest first."""
        ...

    async def revoke_invitation(self, conversation: str, invitation: str) -> bool:
        """Nobody joins by it any more; False where there is none."""
        ...

    async def add_attachment(self, attachment: Attachment, quota: int) -> Attachment:
        """Write it, where all that its owner has is not more than `quota` bytes then. One without a name that the owner has already is not written twice: it counts as new from now on, and is what is returned.

        :raises TooLargeError: its owner has no room for it.
        """
        ...

    async def attachment(self, attachment: str, reader: str) -> Attachment | None:
        """None where there is none, or `reader` neither owns it nor takes part in a conversation that holds it."""
        ...

    async def attachments(self, ids: list[str]) -> list[Attachment]:
        """Those of these ids that there are, whoever may read them."""
        ...

    async def drop_attachments(self, before: datetime) -> int:
        """Let go of those that came before this moment and that no conversation holds; how many."""
        ...

    async def known_digests(self, digests: list[str]) -> set[str]:
        """Those of these digests whose bytes an attachment needs."""
        ...

    async def search(self, person: str, query: str, limit: int = 20) -> list[SearchHit]:
        """Full-text search over titles and messages of what `person` owns or takes part in: of each conversation the best passage, best first. Any string is a query: words, all of which must occur, the last one as a prefix; nothing in it is syntax."""
        ...
