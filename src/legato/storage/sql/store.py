"""Storage in an SQL database: each call checks its texts and runs a function as one transaction."""

import asyncio
from datetime import datetime
from functools import partial

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from legato.domain.attachment import Attachment
from legato.domain.conversation import Conversation, SettingName
from legato.domain.invitation import Invitation
from legato.domain.message import Message
from legato.domain.participant import Participant, ParticipantRole
from legato.domain.validation import check_storable
from legato.errors import SettingsError, StorageTimeoutError
from legato.storage.base import AdoptedReply, JournalEntry, NewTurn, ReplyOwner, SearchHit, TurnStarted
from legato.storage.sql import attachments, conversations, journal, participants, running, search, turns
from legato.storage.sql.codec import to_blob
from legato.storage.sql.database import TOO_SLOW, Database
from legato.storage.sql.postgres import PostgresDatabase
from legato.storage.sql.search_queue import SearchQueue
from legato.storage.sql.sqlite import SqliteDatabase

SEARCH_SECONDS = 5.0
"""How long a search may take, with its wait for others."""

_REVISION_LIMIT = 2**63 - 1


class SqlStorage:
    """The `Storage` contract on SQLite (`sqlite:///path`) or PostgreSQL (`postgresql://…`).

    If `durable`, an SQLite commit survives a power cut, and is slower; if not, it survives only the death of the process.
    PostgreSQL has its own settings for that. `lock_timeout` is in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        durable: bool = False,
        lock_timeout: float = 5.0,
        search_timeout: float | None = None,
    ) -> None:
        """:raises SettingsError: the URL is not one of these, or its driver is not installed."""
        self.database = _database(url, durable, lock_timeout)
        self._searches = SearchQueue()
        self._search_timeout = SEARCH_SECONDS if search_timeout is None else search_timeout

    async def open(self) -> None:
        try:
            await self.database.open()
        except BaseException:
            await self.database.close()
            raise

    async def close(self) -> None:
        await self.database.close()

    async def ping(self) -> None:
        await self.database.write(journal.check_writable)

    async def create_conversation(self, conversation: Conversation) -> None:
        await self.database.write(partial(conversations.create, conversation=conversation))

    async def conversation(self, conversation: str) -> Conversation | None:
        check_storable(conversation)
        return await self.database.read(partial(conversations.get, conversation=conversation))

    async def conversations(
        self, user: str, limit: int = 50, before: tuple[datetime, str] | None = None
    ) -> list[Conversation]:
        """:raises InvalidError: `limit` is not between 1 and 200."""
        check_storable(user)
        return await self.database.read(partial(conversations.page, user=user, limit=limit, before=before))

    async def rename_conversation(
        self, conversation: str, title: str, now: datetime, *, by: str | None = None
    ) -> Conversation | None:
        check_storable(conversation, title, by)
        return await self.database.write(
            partial(conversations.rename, conversation=conversation, title=title, now=now, by=by)
        )

    async def set_head(
        self, conversation: str, head: str, now: datetime, *, by: str | None = None
    ) -> Conversation | None:
        check_storable(conversation, head, by)
        return await self.database.write(
            partial(conversations.set_head, conversation=conversation, head=head, now=now, by=by)
        )

    async def rename_and_set_head(
        self, conversation: str, title: str, head: str, now: datetime, *, by: str | None = None
    ) -> Conversation | None:
        check_storable(conversation, title, head, by)
        work = conversations.rename_and_set_head
        return await self.database.write(
            partial(work, conversation=conversation, title=title, head=head, now=now, by=by)
        )

    async def set_setting(
        self, conversation: str, name: SettingName, value: str | None, now: datetime, *, by: str | None = None
    ) -> Conversation | None:
        check_storable(conversation, value, by)
        work = conversations.set_setting
        return await self.database.write(
            partial(work, conversation=conversation, name=name, value=value, now=now, by=by)
        )

    async def delete_conversation(self, conversation: str, *, by: str | None = None) -> bool:
        check_storable(conversation, by)
        return await self.database.write(partial(conversations.remove, conversation=conversation, by=by))

    async def messages(self, conversation: str, after_revision: int = 0) -> list[Message]:
        check_storable(conversation)
        after = max(-1, min(after_revision, _REVISION_LIMIT))
        return await self.database.read(
            partial(turns.by_conversation, conversation=conversation, after_revision=after)
        )

    async def conversation_of(self, user: str, reply: str) -> str | None:
        check_storable(user, reply)
        return await self.database.read(partial(participants.conversation_of_reply, user=user, reply=reply))

    async def message(self, message: str) -> Message | None:
        check_storable(message)
        return await self.database.read(partial(turns.message, message=message))

    async def begin(self, turn: NewTurn, now: datetime) -> TurnStarted:
        return await self.database.write(partial(turns.begin, turn=turn, now=now))

    async def finish(self, reply: Message, owner: ReplyOwner, now: datetime) -> Message | None:
        return await self.database.write(partial(turns.finish, reply=reply, owner=owner, now=now))

    async def rewrite(self, question: Message, now: datetime) -> Message | None:
        return await self.database.write(partial(turns.rewrite, question=question, now=now))

    async def adopt(self, gateway: str, gone: list[str]) -> list[AdoptedReply]:
        check_storable(gateway, *gone)
        return await self.database.write(partial(running.adopt, gateway=gateway, gone=gone))

    async def request_stop(
        self, conversation: str, reply: str | None = None, *, by: str | None = None
    ) -> list[str]:
        check_storable(conversation, reply, by)
        return await self.database.write(
            partial(running.request_stop, conversation=conversation, reply=reply, by=by)
        )

    async def stop_requests(self, gateway: str) -> list[str]:
        return await self.database.read(partial(running.stop_requests, gateway=gateway))

    async def decide(self, reply: str, call: str, allow: bool, *, by: str | None = None) -> bool:
        check_storable(reply, call, by)
        return await self.database.write(partial(running.decide, reply=reply, call=call, allow=allow, by=by))

    async def decisions(self, reply: str) -> dict[str, bool]:
        check_storable(reply)
        return await self.database.read(partial(running.decisions, reply=reply))

    async def append_journal(self, gateway: str, entries: list[JournalEntry]) -> int:
        return await self.database.write(partial(journal.append, gateway=gateway, blob=to_blob(entries)))

    async def trim_journal(self, gateway: str, before: int) -> None:
        await self.database.write(partial(journal.trim, gateway=gateway, before=before))

    async def search(self, user: str, query: str, limit: int = 20) -> list[SearchHit]:
        """:raises InvalidError: `limit` is not between 1 and 200.
        :raises StorageTimeoutError: it took longer than `SEARCH_SECONDS`. :raises BusyError: too many searches wait.
        """
        check_storable(user)
        try:
            async with asyncio.timeout(self._search_timeout), self._searches.place(user):
                work = partial(search.find, user=user, query=query, limit=limit)
                found = await self.database.search(work)
                return await asyncio.to_thread(search.hits_of, found, query)
        except TimeoutError:
            raise StorageTimeoutError(TOO_SLOW) from None

    async def participants(self, conversation: str) -> list[Participant]:
        check_storable(conversation)
        return await self.database.read(partial(participants.list_all, conversation=conversation))

    async def add_participant(self, participant: Participant) -> Participant:
        return await self.database.write(partial(participants.add, participant=participant))

    async def invitation(self, digest: str, now: datetime) -> Invitation | None:
        return await self.database.read(partial(participants.invitation, digest=digest, now=now))

    async def join(self, digest: str, user: str, name: str | None, now: datetime) -> Participant | None:
        check_storable(digest, user, name)
        return await self.database.write(
            partial(participants.join, digest=digest, user=user, name=name, now=now)
        )

    async def change_role(
        self, conversation: str, user: str, role: ParticipantRole, *, by: str | None = None
    ) -> Participant | None:
        check_storable(conversation, user, by)
        return await self.database.write(
            partial(participants.set_role, conversation=conversation, user=user, role=role, by=by)
        )

    async def transfer_ownership(
        self, conversation: str, user: str, now: datetime, *, by: str | None = None
    ) -> Conversation | None:
        check_storable(conversation, user, by)
        return await self.database.write(
            partial(participants.transfer_ownership, conversation=conversation, user=user, now=now, by=by)
        )

    async def remove_participant(self, conversation: str, user: str, *, by: str | None = None) -> bool:
        check_storable(conversation, user, by)
        return await self.database.write(
            partial(participants.remove, conversation=conversation, user=user, by=by)
        )

    async def role(self, user: str, conversation: str) -> ParticipantRole | None:
        check_storable(user, conversation)
        return await self.database.read(partial(participants.role, user=user, conversation=conversation))

    async def roles(self, user: str, conversations: list[str]) -> dict[str, ParticipantRole]:
        check_storable(user, *conversations)
        return await self.database.read(partial(participants.roles, user=user, ids=conversations))

    async def invite(
        self, invitation: Invitation, limit: int, *, by: str | None = None, name: str | None = None
    ) -> Participant | None:
        check_storable(by, name)
        return await self.database.write(
            partial(participants.invite, invitation=invitation, limit=limit, by=by, name=name)
        )

    async def invitations(self, conversation: str, now: datetime) -> list[Invitation]:
        check_storable(conversation)
        return await self.database.read(
            partial(participants.valid_invitations, conversation=conversation, now=now)
        )

    async def revoke_invitation(self, conversation: str, invitation: str, *, by: str | None = None) -> bool:
        check_storable(conversation, invitation, by)
        return await self.database.write(
            partial(participants.revoke, conversation=conversation, invitation=invitation, by=by)
        )

    async def add_attachment(self, attachment: Attachment, quota: int) -> Attachment:
        return await self.database.write(partial(attachments.add, attachment=attachment, quota=quota))

    async def attachment(self, attachment: str, reader: str) -> Attachment | None:
        check_storable(attachment, reader)
        return await self.database.read(
            partial(attachments.get_readable, attachment=attachment, reader=reader)
        )

    async def attachments(self, ids: list[str]) -> list[Attachment]:
        check_storable(*ids)
        return await self.database.read(partial(attachments.get_all, ids=ids))

    async def withdraw_attachment(self, attachment: Attachment) -> bool:
        return await self.database.write(partial(attachments.withdraw, attachment=attachment))

    async def drop_attachments(self, before: datetime) -> int:
        return await self.database.write(partial(attachments.drop_unused, before=before))

    async def known_digests(self, digests: list[str]) -> set[str]:
        return await self.database.read(partial(attachments.known_digests, digests=digests))


def open_storage(url: str, *, durable: bool = False) -> SqlStorage:
    """Return the storage at `url`. The caller awaits its `open`.

    :raises SettingsError: the URL is not one that `SqlStorage` takes, or its driver is not installed.
    """
    return SqlStorage(url, durable=durable)


def _database(url: str, durable: bool, lock_timeout: float) -> Database:
    parsed = _parsed(url)
    match parsed.get_backend_name():
        case "sqlite":
            return SqliteDatabase(parsed, durable=durable, lock_timeout=lock_timeout)
        case "postgresql" | "postgres":
            return PostgresDatabase(parsed, lock_timeout=lock_timeout)
        case other:
            raise SettingsError(
                f"Legato cannot keep its data in {other!r}. Use sqlite:///path/to/legato.db or postgresql://user@host/name."
            )


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError(
            "The database URL cannot be read. Write it as sqlite:///path/to/legato.db or postgresql://user@host/name."
        ) from None
