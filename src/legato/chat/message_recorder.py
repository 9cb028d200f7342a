"""Storing of finished messages: in the database first, then in memory, then for those who watch."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

import msgspec

from legato.backoff import exponential_delay
from legato.chat.conversation_cache import ConversationCache
from legato.chat.counters import Counters
from legato.chat.reply import Reply
from legato.chat.watchers import Watcher, Watchers
from legato.domain.conversation import Conversation
from legato.domain.message import Message
from legato.errors import StaleError, StorageError
from legato.storage.base import Storage
from legato.stream import Terminal

logger = logging.getLogger(__name__)

FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
"""Seconds before a database that has failed is asked again."""


class MessageRecorder:
    """Stores messages that were written again. A reply's end is stored before any viewer sees it."""

    def __init__(
        self,
        storage: Storage,
        cache: ConversationCache,
        watchers: Watchers,
        counters: Counters,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._storage = storage
        self._cache = cache
        self._watchers = watchers
        self._counters = counters
        self._now = now

    async def finish(self, reply: Reply, message: Message, end: Terminal) -> None:
        """Store a reply, then close its log with `end`, then tell the watchers. A database that fails is tried until it takes it."""
        # The terminal event is appended when the message is stored.
        log = reply.written
        stored = await self._store(reply, msgspec.structs.replace(message, log_end=(log.epoch, log.next + 1)))
        self._counters.ended(reply.assistant.config.name, end, reply.pieces)
        reply.written.append(end)
        if stored is None:
            return
        reply.message = stored
        self._tell(stored)

    async def rewrite(self, message: Message) -> None:
        """Store a user's message again. If that fails, it stays as it was."""
        try:
            stored = await self._storage.rewrite(message, self._now())
        except StorageError as error:
            logger.warning("Message %s could not be written again: %s", message.id, error.message)
            return
        if stored is not None:
            self._tell(stored)

    async def _store(self, reply: Reply, message: Message) -> Message | None:
        failures = 0
        while True:
            try:
                return await self._storage.finish(message, reply.owner, self._now())
            except StaleError as error:
                logger.warning("Reply %s is not stored: %s", message.id, error.message)
                return None
            except StorageError as error:
                logger.warning("Reply %s could not be stored yet: %s", message.id, error.message)
            await asyncio.sleep(exponential_delay(failures, FIRST_DELAY, LONGEST_DELAY))
            failures += 1

    def _tell(self, stored: Message) -> None:
        """Carry what was written into memory, and to those who watch."""
        conversation: Conversation | None = None
        tree = self._cache.seen(stored.conversation)
        if tree is not None and tree.conversation.revision == stored.revision - 1:
            conversation = msgspec.structs.replace(
                tree.conversation, revision=stored.revision, updated_at=self._now()
            )
            self._cache.wrote(conversation, stored)
        else:
            self._cache.outdated(stored.conversation, stored.revision)

        def tell(watcher: Watcher) -> None:
            watcher.on_message(stored)
            if conversation is not None:
                watcher.on_conversation(conversation)

        self._watchers.tell_soon(stored.conversation, tell)
