"""Subscriptions: who is told of the changes of a conversation, and the logs of its replies."""

import asyncio
import logging

from legato.chat.abandonment import Abandonment
from legato.chat.access import Access
from legato.chat.conversation_cache import ConversationCache
from legato.chat.conversation_presence import ConversationPresence
from legato.chat.reply import stored_log
from legato.chat.running_replies import RunningReplies
from legato.chat.watchers import Watcher, Watchers
from legato.domain.conversation import Conversation
from legato.domain.message import Message
from legato.domain.user import User
from legato.errors import LegatoError, NotFoundError
from legato.storage.base import ConversationStore
from legato.stream import Log

logger = logging.getLogger(__name__)

NO_STREAM = "There is no such stream."


class Subscriptions:
    """Adds and removes the watchers of conversations, and hands out the logs of replies."""

    def __init__(
        self,
        storage: ConversationStore,
        cache: ConversationCache,
        access: Access,
        watchers: Watchers,
        running: RunningReplies,
        presence: ConversationPresence,
        abandonment: Abandonment,
    ) -> None:
        self._storage = storage
        self._cache = cache
        self._access = access
        self._watchers = watchers
        self._running = running
        self._presence = presence
        self._abandonment = abandonment
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Cancel the checks that are still under way."""
        for task in self._tasks:
            task.cancel()

    async def follow(
        self, user: User, conversation: str, watcher: Watcher, since: int = 0
    ) -> tuple[Conversation, list[Message]]:
        """Subscribe, and return the conversation and what was written at revision `since` and after it.

        The watcher is told of changes before this returns. What it is told and what is returned may overlap (compare
        revisions), and leaves no gap. One revision may be several messages, of which the caller may have only one.

        :raises NotFoundError: there is no such conversation. Then nothing is subscribed to.
        """
        await self._access.reader(user, conversation)
        self.subscribe(user, conversation, watcher)
        try:
            tree = await self._access.reader(user, conversation)
        except BaseException:
            self.unfollow(conversation, watcher)
            raise
        return tree.conversation, [message for message in tree.messages.values() if message.revision >= since]

    def subscribe(self, user: User, conversation: str, watcher: Watcher) -> None:
        """Tell the watcher of changes from now on, without what was before.

        The caller has just checked that the user may read the conversation. If the user no longer may, `on_deleted` is
        called at once or soon: they may have been removed while the database wrote what they came for.
        """
        if self._watchers.add(conversation, watcher, user):
            self._presence.arrived(conversation, user)
            if self._cache.seen(conversation) is None:
                task = asyncio.create_task(self._check_again(conversation, user, watcher), name="access")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif self._access.known(user.id, conversation) is None:
                self.shut_out(conversation, watcher)
        self._abandonment.end(conversation)

    def unfollow(self, conversation: str, watcher: Watcher) -> None:
        """Tell the watcher nothing more. If it was the last one, the assistant's setting decides about a running reply."""
        user = self._watchers.remove(conversation, watcher)
        if user is None:
            return
        self._presence.departed(conversation, user)
        if not self._watchers.watched(conversation):
            self._abandonment.begin(conversation)

    def shut_out(self, conversation: str, watcher: Watcher) -> None:
        """Unsubscribe a watcher whose user takes part no more, and tell it `on_deleted`."""
        self.unfollow(conversation, watcher)
        try:
            watcher.on_deleted(conversation)
        except Exception:
            logger.exception("A watcher of conversation %s failed", conversation)

    def shut_out_user(self, conversation: str, user: str) -> None:
        """Do the same with all watchers of a user."""
        for watcher, of in self._watchers.of(conversation).items():
            if of.id == user:
                self.shut_out(conversation, watcher)

    def evict(self, conversation: str) -> bool:
        """Drop a conversation from memory; the next request reads it from the database.

        Return False, and keep it, if it is watched or a reply of it is running.
        """
        if self._watchers.watched(conversation) or self._running.of(conversation):
            return False
        self._cache.drop(conversation)
        self._running.forget(conversation)
        return True

    def running_log(self, reply: str) -> Log | None:
        """Return the log of a running reply."""
        running = self._running.get(reply)
        return running.shown if running is not None else None

    def logs(self, conversation: str) -> list[Log]:
        """Return the logs of the running replies of a conversation, in their order."""
        return [reply.shown for reply in self._running.of(conversation)]

    async def log(self, user: User, stream: str) -> tuple[str, Log]:
        """Return the conversation and the log of any reply: running, ended lately, or rebuilt from its message.

        :raises NotFoundError: there is no such stream that this user may read.
        """
        found = self._running.log(stream)
        if found is not None:
            await self._access.reader(user, found[0], missing=NO_STREAM)
            return found
        conversation = await self._storage.conversation_of(user.id, stream)
        if conversation is None:
            raise NotFoundError(NO_STREAM)
        message = await self._storage.message(stream)
        await self._access.reader(user, conversation, missing=NO_STREAM)
        if message is None:
            raise NotFoundError(NO_STREAM)
        return self._running.log(stream) or (conversation, stored_log(message))

    async def _check_again(self, conversation: str, user: User, watcher: Watcher) -> None:
        try:
            await self._access.reader(user, conversation)
        except NotFoundError:
            self.shut_out(conversation, watcher)
        except LegatoError as error:
            logger.warning("Conversation %s could not be looked up again: %s", conversation, error.message)
