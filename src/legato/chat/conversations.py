"""Conversations as a whole: create, find, list, rename, configure, export and delete them."""

from collections.abc import Callable
from datetime import datetime

from legato.chat.access import NO_MESSAGE, Access
from legato.chat.assistants import Assistants
from legato.chat.attachments import Attachments
from legato.chat.conversation_cache import ConversationCache
from legato.chat.conversation_settings import SYSTEM_LENGTH
from legato.chat.export import as_json, as_markdown
from legato.chat.message_tree import MessageTree
from legato.chat.participants import Participants
from legato.chat.running_replies import RunningReplies
from legato.chat.watchers import Watchers
from legato.domain.conversation import Conversation, SettingName
from legato.domain.message import text_of
from legato.domain.participant import NOT_FOUND, Needs
from legato.domain.user import User
from legato.domain.validation import check_id, check_new_id, clean_text, clean_title
from legato.errors import ConflictError, InvalidError, NotFoundError
from legato.protocol.command_data import ExportFormat
from legato.storage.base import SearchHit, Storage


class Conversations:
    """Reads and changes conversations. Each call asks `Access` first, and tells the watchers of each change."""

    def __init__(
        self,
        storage: Storage,
        cache: ConversationCache,
        access: Access,
        watchers: Watchers,
        running: RunningReplies,
        participants: Participants,
        assistants: Assistants,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        attachments: Attachments | None = None,
    ) -> None:
        self._storage = storage
        self._cache = cache
        self._access = access
        self._watchers = watchers
        self._running = running
        self._participants = participants
        self._assistants = assistants
        self._now = now
        self._new_id = new_id
        self._attachments = attachments

    async def get(self, user: User, conversation: str) -> MessageTree:
        """Return a conversation with all its messages and participants.

        :raises NotFoundError: there is no conversation with this id in which the user takes part.
        """
        return await self._access.reader(user, conversation)

    async def check(self, user: User, conversation: str, needs: Needs) -> None:
        """Check that the user may read, write in, or own a conversation.

        :raises NotFoundError: as above. :raises ForbiddenError: the user may not do that.
        """
        await self._access.check(user, conversation, needs)

    async def page(
        self, user: User, limit: int = 50, before: tuple[datetime, str] | None = None
    ) -> list[Conversation]:
        """Return the user's conversations, the one that changed last first. `before` is where the page before this one ended."""
        return await self._storage.conversations(user.id, limit, before)

    async def search(self, user: User, query: str, limit: int = 20) -> list[SearchHit]:
        """Search the messages and titles of the user's conversations."""
        return await self._storage.search(user.id, clean_text(query), limit)

    async def export(self, user: User, conversation: str, form: ExportFormat, most: int) -> str | None:
        """Return a conversation as text: the shown branch in Markdown, or all branches in JSON; None if it has more than `most` characters.

        :raises NotFoundError: as above.
        """
        tree = await self.get(user, conversation)
        messages = tree.path() if form == "markdown" else list(tree.messages.values())
        if sum(len(text_of(message.parts)) for message in messages) > most:
            return None
        text = as_markdown(tree, user.id) if form == "markdown" else as_json(tree)
        return text if len(text) <= most else None

    async def create(
        self, user: User, assistant: str | None = None, title: str | None = None
    ) -> Conversation:
        """Create a conversation that the user owns.

        :raises InvalidError: there is no such assistant, or the title is empty.
        """
        conversation = self.draft(user, assistant, clean_title(title) if title is not None else "")
        await self._storage.create_conversation(conversation)
        return conversation

    async def get_or_create(
        self,
        user: User,
        conversation: str,
        *,
        assistant: str | None = None,
        create: bool = False,
        join: bool = False,
    ) -> Conversation:
        """Return the conversation with an id that the client chose.

        With `join` the user becomes a member of a conversation of somebody else. With `create` a conversation that does
        not exist is created with this id, for `assistant`, and the user owns it.

        :raises NotFoundError: the user takes part in no such conversation.
        :raises InvalidError: no conversation can have this id, or there is no such assistant.
        """
        check_id(conversation, "The conversation's id")
        exists = await self._exists(conversation) if create or join else True
        if not exists and create:
            check_new_id(conversation, "The id of a new conversation")
            created = self.draft(user, assistant, "", conversation)
            try:
                await self._storage.create_conversation(created)
            except ConflictError:
                exists = True
            else:
                return created
        if exists and join and not await self._access.takes_part(user, conversation):
            await self._participants.add_participant(user, conversation)
        return (await self._access.reader(user, conversation)).conversation

    async def _exists(self, conversation: str) -> bool:
        seen = self._cache.seen(conversation)
        return seen is not None or await self._storage.conversation(conversation) is not None

    def draft(
        self, user: User, assistant: str | None, title: str = "", conversation: str | None = None
    ) -> Conversation:
        """Return a new conversation of the user that is not stored yet.

        :raises InvalidError: there is no such assistant.
        """
        name = self._assistants.named(assistant).config.name
        now = self._now()
        return Conversation(conversation or self._new_id(), user.id, title, name, now, now)

    async def rename(self, user: User, conversation: str, title: str) -> Conversation:
        """Change the title.

        :raises NotFoundError: as above. :raises ForbiddenError: the user is not its owner. :raises InvalidError: the title is empty.
        """
        title = clean_title(title)
        await self._access.owner(user, conversation)
        return self._changed(
            await self._storage.rename_conversation(conversation, title, self._now(), by=user.id)
        )

    async def set_setting(
        self, user: User, conversation: str, setting: SettingName, value: str | None
    ) -> Conversation:
        """Set a setting of one conversation, or reset it with None. The caller checks that the value makes sense.

        :raises NotFoundError: as above. :raises ForbiddenError: the user is not its owner. :raises InvalidError: the value is too long.
        """
        if value is not None and len(value) > SYSTEM_LENGTH:
            raise InvalidError(f"It can have {SYSTEM_LENGTH:,} characters at most.")
        await self._access.owner(user, conversation)
        return self._changed(
            await self._storage.set_setting(conversation, setting, value, self._now(), by=user.id)
        )

    async def show(self, user: User, conversation: str, message: str) -> Conversation:
        """Show the branch that ends in `message`.

        :raises NotFoundError: there is no such conversation, or no such message in it.
        :raises ForbiddenError: the user may only read.
        """
        await self._check_message(user, conversation, message)
        return self._changed(await self._storage.set_head(conversation, message, self._now(), by=user.id))

    async def rename_and_show(self, user: User, conversation: str, title: str, message: str) -> Conversation:
        """Do both of the above. If one of them is not allowed, neither is done.

        :raises LegatoError: as either.
        """
        title = clean_title(title)
        await self._access.owner(user, conversation)
        await self._check_message(user, conversation, message)
        now = self._now()
        return self._changed(
            await self._storage.rename_and_set_head(conversation, title, message, now, by=user.id)
        )

    async def delete(self, user: User, conversation: str) -> None:
        """Delete a conversation and stop its running replies.

        :raises NotFoundError: as above. :raises ForbiddenError: the user is not its owner.
        """
        await self._access.owner(user, conversation)
        await self._storage.delete_conversation(conversation, by=user.id)
        if self._attachments is not None:
            self._attachments.sweep_soon()
        self._cache.deleted(conversation)
        running = self._running.of(conversation)
        self._running.end(running)
        await self._running.stored(running)
        self._watchers.tell(conversation, lambda watcher: watcher.on_deleted(conversation))
        self._running.forget(conversation)

    async def _check_message(self, user: User, conversation: str, message: str) -> None:
        tree = await self._access.writer(user, conversation)
        if message not in tree.messages:
            raise NotFoundError(NO_MESSAGE)

    def _changed(self, conversation: Conversation | None) -> Conversation:
        if conversation is None:
            raise NotFoundError(NOT_FOUND)
        self._cache.wrote(conversation)
        self._watchers.tell(conversation.id, lambda watcher: watcher.on_conversation(conversation))
        return conversation
