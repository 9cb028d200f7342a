"""The contract of storage. When a call returns, its changes are committed; when it raises, nothing was written.

The contract has five parts, and `Storage` is all of them in one database. A consumer asks for the part it needs.

`by` is the user who asks for a change. The right to it is checked in the transaction that writes: a right that was taken
away before the commit is not used. NotFoundError is raised if the user takes no part in the conversation, ForbiddenError
if the user may do less. None is the server itself, which may do everything.
"""

from datetime import datetime
from typing import Protocol

from msgspec import Struct

from legato.domain.attachment import Attachment
from legato.domain.conversation import Conversation, SettingName
from legato.domain.invitation import Invitation
from legato.domain.message import Message
from legato.domain.participant import Participant, ParticipantRole
from legato.errors import BusyError
from legato.stream import Event

LOCAL_GATEWAY = "local"
"""The id of a gateway that runs alone."""


class ReplyOwner(Struct, frozen=True):
    """The gateway that runs a reply, and its term.

    Each adoption makes the term greater by one, so that a former owner, which may still be at work, is told apart.
    """

    gateway: str = LOCAL_GATEWAY
    term: int = 1


class NewTurn(Struct, frozen=True):
    """A turn that starts. It is written in one transaction.

    `question` is the user's message (None if a reply is regenerated), `reply` the assistant's, with status `streaming`.
    `client_message_id` and `fingerprint` (a hash of the request) make the turn idempotent for `user`.
    `title` is set if the conversation has none yet. The reply becomes the conversation's head. `create` is a new
    conversation with the id `conversation`, created in the same transaction unless the turn is a duplicate.
    `enclosed` are the ids of the question's attachments: from then on every reader of the conversation may read them.
    `gateway` will run the reply. If `after_head`, the parent of the question (of the reply, if there is no question) is
    the conversation's head at the moment of the transaction, whatever `parent` says: two users who send at once make
    one branch. `max_ahead` is how many replies of the conversation may run or wait before this one; None: any number.
    `text_quota` bounds the bytes of the user's messages and the replies to them, over all conversations; None: no bound.
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
    gateway: str = LOCAL_GATEWAY
    after_head: bool = False
    max_ahead: int | None = None
    text_quota: int | None = None


def queue_full(limit: int) -> BusyError:
    """Return the error for a turn that would wait behind more than `limit` others."""
    return BusyError(
        f"{limit} messages of this conversation wait for an answer already. Send it again when some are answered.",
        5.0,
    )


class TurnStarted(Struct, frozen=True):
    """What `begin` wrote or, if `duplicate`, what was written when this `client_message_id` came first.

    `owner` is what `finish` needs. `ahead` counts the replies of the conversation that run or wait before this one. Both
    mean nothing for a duplicate.
    """

    conversation: Conversation
    question: Message | None
    reply: Message
    duplicate: bool = False
    owner: ReplyOwner = ReplyOwner()
    ahead: int = 0


class JournalEntry(Struct, frozen=True, array_like=True):
    """What the log of one running reply (`message`) gained since its previous entry.

    If `whole`, `events` is the complete log and its earlier entries no longer count. Long replies get such an entry
    once in a while, so that the journal can be trimmed.
    """

    message: str
    events: list[Event]
    whole: bool = False


class AdoptedReply(Struct, frozen=True):
    """A running reply that a gateway took over from one that is gone.

    `owner` is the new owner. `user` is the user for whom the reply runs, empty if that is not known. `events` is what the
    journal has of it, in order. `decisions` says which tool calls were allowed. `stop_requested`: a user stopped it.
    """

    message: Message
    owner: ReplyOwner
    user: str
    events: list[Event]
    stop_requested: bool = False
    decisions: dict[str, bool] = {}


class SearchHit(Struct, frozen=True):
    """A hit of the full-text search. `snippet` is plain text around it; `message` is None if the title matched."""

    conversation: Conversation
    message: str | None
    snippet: str


class ConversationStore(Protocol):
    """Conversations and their messages."""

    async def create_conversation(self, conversation: Conversation) -> None:
        """Create a conversation.

        :raises ConflictError: a conversation with this id exists.
        """
        ...

    async def conversation(self, conversation: str) -> Conversation | None:
        """Return the conversation, or None if it does not exist."""
        ...

    async def conversations(
        self, user: str, limit: int = 50, before: tuple[datetime, str] | None = None
    ) -> list[Conversation]:
        """Return a page of the conversations that `user` owns or takes part in, last changed first.

        `before` is (updated_at, id) of the last conversation of the previous page.
        """
        ...

    async def rename_conversation(
        self, conversation: str, title: str, now: datetime, *, by: str | None = None
    ) -> Conversation | None:
        """Set the title. Return the conversation with its new revision, or None if it does not exist."""
        ...

    async def set_head(
        self, conversation: str, head: str, now: datetime, *, by: str | None = None
    ) -> Conversation | None:
        """Show another branch. Return None if the conversation does not exist or the message is not in it."""
        ...

    async def rename_and_set_head(
        self, conversation: str, title: str, head: str, now: datetime, *, by: str | None = None
    ) -> Conversation | None:
        """Set the title and show another branch, both or neither. Return None as `set_head` does."""
        ...

    async def set_setting(
        self, conversation: str, name: SettingName, value: str | None, now: datetime, *, by: str | None = None
    ) -> Conversation | None:
        """Change one setting; None resets it. Return None if the conversation does not exist."""
        ...

    async def delete_conversation(self, conversation: str, *, by: str | None = None) -> bool:
        """Delete a conversation with its messages, their search entries and idempotency keys, and the attachments that no other conversation holds. Return False if it does not exist."""
        ...

    async def messages(self, conversation: str, after_revision: int = 0) -> list[Message]:
        """Return all messages of the tree, or only those written after a revision, in the order of their creation. The question of a turn precedes its reply."""
        ...

    async def conversation_of(self, user: str, reply: str) -> str | None:
        """Return the conversation of a reply. None if `user` may not read it, or it does not exist; both cost the same."""
        ...

    async def message(self, message: str) -> Message | None:
        """Return the message, or None if it does not exist."""
        ...


class TurnStore(Protocol):
    """How turns start and replies end, who runs a reply, and the journal of running replies.

    A reply runs on one gateway, its owner. Another gateway can adopt it, under a greater term; from then on `finish`
    refuses the former owner. What users want of a reply (a stop, a decision on a tool call) is stored, so that it reaches
    the owner on whichever gateway it was said.

    The journal lets an adopter continue a reply. While replies run, what their logs gained since the last tick (≤250 ms)
    is appended as one row for all replies of a gateway together: never a write per token, never the whole text again.
    When a reply ends, its message is written once, and the rows of the journal that no running reply needs are dropped.
    """

    async def begin(self, turn: NewTurn, now: datetime) -> TurnStarted:
        """Write a turn once. Whether the user may write in the conversation is checked in the same transaction.

        :raises ConflictError: this `client_message_id` came before with another fingerprint.
        :raises NotFoundError: the conversation does not exist, the user takes no part in it, the parent is not in it, or
            an attachment does not exist for the user.
        :raises ForbiddenError: the user may only read the conversation.
        :raises BusyError: more than `max_ahead` replies are ahead.
        :raises StaleError: another gateway declared this one dead.
        :raises TooLargeError: the user's messages, with the replies to them, would take more than `text_quota`.
        """
        ...

    async def finish(self, reply: Message, owner: ReplyOwner, now: datetime) -> Message | None:
        """Write a reply that ended. Return it with the conversation's next revision, or None if the conversation was deleted meanwhile.

        A second call with the same content changes nothing but the revision: a caller that does not know whether its
        call succeeded can repeat it.

        :raises StaleError: `owner` does not run the reply any more. Nothing is written.
        """
        ...

    async def rewrite(self, question: Message, now: datetime) -> Message | None:
        """Write a user's message again, with the transcripts of its recordings. Return it with the conversation's next revision, or None if it does not exist any more."""
        ...

    async def adopt(self, gateway: str, gone: list[str]) -> list[AdoptedReply]:
        """Make `gateway` the owner of all replies that the gateways in `gone` ran, each under its next term. Return them in the order in which they started.

        A reply that another gateway adopts at this moment is left to it. A gateway that has no replies left is removed,
        with its journal, and cannot begin a turn any more. A gateway that restarts under its own id names itself in
        `gone`.
        """
        ...

    async def request_stop(
        self, conversation: str, reply: str | None = None, *, by: str | None = None
    ) -> list[str]:
        """Store that the running replies of a conversation, or one of them, are to be stopped. Return their ids in the order in which they run."""
        ...

    async def stop_requests(self, gateway: str) -> list[str]:
        """Return the replies of a gateway that are to be stopped."""
        ...

    async def decide(self, reply: str, call: str, allow: bool, *, by: str | None = None) -> bool:
        """Store a decision on a tool call of a running reply. Return the decision that counts: the first one.

        :raises NotFoundError: the reply does not run.
        """
        ...

    async def decisions(self, reply: str) -> dict[str, bool]:
        """Return the decisions on tool calls of a running reply, by call."""
        ...

    async def append_journal(self, gateway: str, entries: list[JournalEntry]) -> int:
        """Append one row. Return its number; numbers grow."""
        ...

    async def trim_journal(self, gateway: str, before: int) -> None:
        """Drop the rows of a gateway with a smaller number."""
        ...


class ParticipantStore(Protocol):
    """Participants, their roles, and invitations."""

    async def participants(self, conversation: str) -> list[Participant]:
        """Return the owner, then the participants in the order in which they joined; nothing if the conversation does not exist."""
        ...

    async def add_participant(self, participant: Participant) -> Participant:
        """Add a participant. Adding one again never lowers the role and never makes an owner; it may set an unknown name.

        :raises NotFoundError: the conversation does not exist.
        :raises ConflictError: it has `MAX_PARTICIPANTS` already.
        """
        ...

    async def invitation(self, digest: str, now: datetime) -> Invitation | None:
        """Return the invitation with this digest. None if it does not exist or has expired."""
        ...

    async def join(self, digest: str, user: str, name: str | None, now: datetime) -> Participant | None:
        """Add a participant by the invitation with this digest. Return None if it does not exist or has expired.

        :raises ConflictError: the conversation has `MAX_PARTICIPANTS` already.
        """
        ...

    async def change_role(
        self, conversation: str, user: str, role: ParticipantRole, *, by: str | None = None
    ) -> Participant | None:
        """Make a participant a member or a viewer. Return None if `user` is no participant."""
        ...

    async def transfer_ownership(
        self, conversation: str, user: str, now: datetime, *, by: str | None = None
    ) -> Conversation | None:
        """Make a participant the owner; the former owner stays as a member. Return None if `user` is no participant."""
        ...

    async def remove_participant(self, conversation: str, user: str, *, by: str | None = None) -> bool:
        """Remove a participant. Return False if `user` is none.

        :raises ConflictError: `user` is the owner.
        """
        ...

    async def role(self, user: str, conversation: str) -> ParticipantRole | None:
        """Return the role of `user`; None if the user takes no part in the conversation, or it does not exist. Both cost the same."""
        ...

    async def roles(self, user: str, conversations: list[str]) -> dict[str, ParticipantRole]:
        """Return the roles of `user` in those of these conversations that the user joined."""
        ...

    async def invite(
        self, invitation: Invitation, limit: int, *, by: str | None = None, name: str | None = None
    ) -> Participant | None:
        """Create an invitation if its conversation then has at most `limit` that have not expired.

        `name` is the display name of the owner `by`, which others may read from now on. Return the owner if it is given.

        :raises NotFoundError: the conversation does not exist.
        :raises ConflictError: there are too many, or an invitation with this id or digest exists.
        """
        ...

    async def invitations(self, conversation: str, now: datetime) -> list[Invitation]:
        """Return the invitations that have not expired, oldest first."""
        ...

    async def revoke_invitation(self, conversation: str, invitation: str, *, by: str | None = None) -> bool:
        """Delete an invitation. Return False if it does not exist."""
        ...


class AttachmentStore(Protocol):
    """Uploaded files: what is known of them, not their bytes."""

    async def add_attachment(self, attachment: Attachment, quota: int) -> Attachment:
        """Add an attachment if the files of its owner then have at most `quota` bytes in all.

        An attachment without a name whose owner has the same bytes without a name already is not added again: the
        existing one is returned, and counts as new from now on.

        :raises TooLargeError: the owner's quota is exhausted.
        """
        ...

    async def attachment(self, attachment: str, reader: str) -> Attachment | None:
        """Return the attachment, or None if it does not exist or `reader` neither owns it nor takes part in a conversation that holds it."""
        ...

    async def attachments(self, ids: list[str]) -> list[Attachment]:
        """Return the existing attachments of these ids. Access is not checked."""
        ...

    async def withdraw_attachment(self, attachment: Attachment) -> bool:
        """Remove an attachment that was just added. Return False if it stays: a conversation holds it, or its owner added the same bytes again."""
        ...

    async def drop_attachments(self, before: datetime) -> int:
        """Drop the attachments that were created before this moment and that no conversation holds. Return how many."""
        ...

    async def known_digests(self, digests: list[str]) -> set[str]:
        """Return those of these digests that an attachment refers to."""
        ...


class SearchIndex(Protocol):
    """Full-text search."""

    async def search(self, user: str, query: str, limit: int = 20) -> list[SearchHit]:
        """Search titles and messages of the conversations that `user` owns or takes part in. Return the best passage of each conversation, best first.

        A user's searches run one after the other, and users take turns. A caller that is cancelled stops its search.

        :raises StorageTimeoutError: it took too long. :raises BusyError: too many searches wait.

        Any string is a valid query: a list of words that must all occur, the last one as a prefix. There is no syntax.
        """
        ...


class Storage(ConversationStore, TurnStore, ParticipantStore, AttachmentStore, SearchIndex, Protocol):
    """One database. Every call may raise StorageError if the database fails (full, locked, gone)."""

    async def open(self) -> None:
        """Connect and migrate the schema to this version."""
        ...

    async def close(self) -> None: ...

    async def ping(self) -> None:
        """Return if a write could succeed now.

        :raises StorageError: with the reason.
        """
        ...
