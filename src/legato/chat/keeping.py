"""The keeping half of the service: conversations are begun, entered, named, arranged and deleted."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from legato.chat.access import NO_MESSAGE, NOT_FOUND
from legato.chat.attachments import Attachments
from legato.chat.conversation_settings import SYSTEM_LENGTH
from legato.chat.reading import Reading
from legato.chat.reply import Reply
from legato.domain.conversation import Conversation, SettingName
from legato.domain.user import User
from legato.domain.validation import check_id, check_new_id, clean_title
from legato.errors import ConflictError, InvalidError, NotFoundError, StorageError

STORED_SECONDS = 10.0
"""How long who stops a reply waits until that is stored: engines, tools and databases take a while to end things."""


class Keeping(Reading):
    """What is done with a conversation as a whole."""

    _attachments: Attachments | None
    _new_id: Callable[[], str]
    _now: Callable[[], datetime]

    async def create(
        self, person: User, assistant: str | None = None, title: str | None = None
    ) -> Conversation:
        """:raises InvalidError: there is no such assistant, or the title is empty."""
        conversation = self._conversation(person, assistant, clean_title(title) if title is not None else "")
        await self._storage.create_conversation(conversation)
        return conversation

    async def get_or_create(
        self,
        person: User,
        conversation: str,
        *,
        assistant: str | None = None,
        create: bool = False,
        join: bool = False,
    ) -> Conversation:
        """The conversation of this id, for a client that names one.

        With `join` somebody else's is joined, as a member. With `create` one that nobody has is made under this very id,
        of `assistant`, and is the person's.

        :raises NotFoundError: there is none for this person. :raises InvalidError: none can be of this id, or there is no such assistant.
        """
        tree = await self._trees.get(check_id(conversation, "The conversation's id"))
        if tree is None and create:
            check_new_id(conversation, "The id of a new conversation")
            made = self._conversation(person, assistant, "", conversation)
            try:
                await self._storage.create_conversation(made)
            except ConflictError:
                tree = await self._trees.get(conversation)
            else:
                return made
        if tree is not None and join and tree.role(person.id) is None:
            await self.people.add_participant(person, conversation)
        return (await self._access.reader(person, conversation)).conversation

    async def rename(self, person: User, conversation: str, title: str) -> Conversation:
        """:raises NotFoundError: as above. :raises ForbiddenError: it is not the person's. :raises InvalidError: the title is empty."""
        title = await self._nameable(person, conversation, title)
        return self._changed(await self._storage.rename_conversation(conversation, title, self._now()))

    async def set_setting(
        self, person: User, conversation: str, what: SettingName, value: str | None
    ) -> Conversation:
        """Choose something for one conversation, or take the choice back with None. What it may be is the caller's to know.

        :raises NotFoundError: as above. :raises ForbiddenError: it is not the person's. :raises InvalidError: it is too long.
        """
        if value is not None and len(value) > SYSTEM_LENGTH:
            raise InvalidError(f"It can have {SYSTEM_LENGTH:,} characters at most.")
        await self._access.owner(person, conversation)
        return self._changed(await self._storage.set_setting(conversation, what, value, self._now()))

    async def show(self, person: User, conversation: str, message: str) -> Conversation:
        """Show the branch that ends in `message`.

        :raises NotFoundError: there is no such conversation, or no such message in it.
        :raises ForbiddenError: the person may only read.
        """
        await self._showable(person, conversation, message)
        return self._changed(await self._storage.set_head(conversation, message, self._now()))

    async def rename_and_show(
        self, person: User, conversation: str, title: str, message: str
    ) -> Conversation:
        """Both of the above. Where one of them may not be, neither is done.

        :raises LegatoError: as either.
        """
        title = await self._nameable(person, conversation, title)
        await self._showable(person, conversation, message)
        self._changed(await self._storage.rename_conversation(conversation, title, self._now()))
        return self._changed(await self._storage.set_head(conversation, message, self._now()))

    async def delete(self, person: User, conversation: str) -> None:
        """Delete it and stop what runs in it.

        :raises NotFoundError: as above. :raises ForbiddenError: it is not the person's.
        """
        await self._access.owner(person, conversation)
        await self._storage.delete_conversation(conversation)
        if self._attachments is not None:
            self._attachments.sweep_soon()
        self._trees.deleted(conversation)
        await self._end(self._runner.replies.of(conversation))
        self._audience.tell(conversation, lambda watcher: watcher.on_deleted(conversation))
        self._runner.replies.forget(conversation)

    @staticmethod
    async def _end(replies: list[Reply]) -> None:
        """Stop them and wait until that is stored. All are told first: none may begin because the one before it ended.

        :raises StorageError: the database does not take it for so long. They were stopped all the same.
        """
        for reply in reversed(replies):
            reply.end("stopped")
        try:
            async with asyncio.timeout(STORED_SECONDS):
                for reply in replies:
                    await reply.done.wait()
        except TimeoutError:
            raise StorageError(
                "It was stopped, but the database does not take what it said. It is kept as soon as it does."
            ) from None

    def _conversation(
        self, person: User, assistant: str | None, title: str, name: str | None = None
    ) -> Conversation:
        speaker = self.assistant_named(assistant).assistant.name
        now = self._now()
        return Conversation(name or self._new_id(), person.id, title, speaker, now, now)

    async def _nameable(self, person: User, conversation: str, title: str) -> str:
        title = clean_title(title)
        await self._access.owner(person, conversation)
        return title

    async def _showable(self, person: User, conversation: str, message: str) -> None:
        tree = await self._access.writer(person, conversation)
        if message not in tree.messages:
            raise NotFoundError(NO_MESSAGE)

    def _changed(self, conversation: Conversation | None) -> Conversation:
        if conversation is None:
            raise NotFoundError(NOT_FOUND)
        self._trees.wrote(conversation)
        self._audience.tell(conversation.id, lambda watcher: watcher.on_conversation(conversation))
        return conversation
