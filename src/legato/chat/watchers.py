"""The watchers of conversations, and how they are told of changes."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from legato.broker.base import Notes
from legato.domain.conversation import Conversation
from legato.domain.message import Message
from legato.domain.user import User
from legato.stream import Log

logger = logging.getLogger(__name__)


class Watcher(Protocol):
    """Follows a conversation: it is told of each change, synchronously, in order. It must not raise."""

    def on_message(self, message: Message) -> None:
        """A message is new, or was written again."""
        ...

    def on_conversation(self, conversation: Conversation) -> None:
        """Title, head or revision changed."""
        ...

    def on_deleted(self, conversation: str) -> None:
        """The conversation was deleted, or the user takes part in it no more: nothing of it is told any more."""
        ...

    def on_stream(self, log: Log) -> None:
        """A reply begins; `log` has it from offset 0."""
        ...

    def on_people(self, conversation: str) -> None:
        """Who takes part, or who is here, changed: `ConversationPresence.now` returns all of it. Changes that come close together are told as one."""
        ...

    def on_typing(self, conversation: str, user: str, name: str | None, typing: bool) -> None:
        """Another user begins to type, or stops."""
        ...


class WatcherProbe:
    """Tells whether anybody watches a conversation, through this gateway or another."""

    def __init__(self, watchers: "Watchers", notes: Notes) -> None:
        self._watchers = watchers
        self._notes = notes

    async def watched(self, conversation: str) -> bool:
        """Return whether anybody watches it. Other gateways are asked only if nobody does here."""
        return (
            self._watchers.watched(conversation) or await self._notes.subscribed_elsewhere(conversation) > 0
        )


class Watchers:
    """The watchers of every conversation, each for a user. To add one twice is to add it once.

    What is told of one conversation is told in the order of the calls, also if `tell_soon` delays it.
    """

    def __init__(self) -> None:
        self._delayed: dict[str, list[Callable[[Watcher], None]]] = {}
        self._watchers: dict[str, dict[Watcher, User]] = {}

    def add(self, conversation: str, watcher: Watcher, user: User) -> bool:
        """Add a watcher, and return whether it is new there."""
        watchers = self._watchers.setdefault(conversation, {})
        if watcher in watchers:
            return False
        watchers[watcher] = user
        return True

    def remove(self, conversation: str, watcher: Watcher) -> User | None:
        """Remove a watcher. Return its user, or None if it was not there."""
        watchers = self._watchers.get(conversation)
        user = watchers.pop(watcher, None) if watchers is not None else None
        if not watchers:
            self._watchers.pop(conversation, None)
        return user

    def watched(self, conversation: str) -> bool:
        return conversation in self._watchers

    def count(self, conversation: str) -> int:
        """Return how many watch it."""
        return len(self._watchers.get(conversation, ()))

    def of(self, conversation: str) -> dict[Watcher, User]:
        """Return those who watch it now, each with its user."""
        return dict(self._watchers.get(conversation, ()))

    def tell(self, conversation: str, say: Callable[[Watcher], None]) -> None:
        """Call `say` with every watcher. One that fails harms neither the others nor the caller."""
        for earlier in self._delayed.pop(conversation, ()):
            self._tell(conversation, earlier)
        self._tell(conversation, say)

    def tell_soon(self, conversation: str, say: Callable[[Watcher], None]) -> None:
        """Do the same in the next step of the event loop, behind what was written to their streams."""
        if (waiting := self._delayed.get(conversation)) is not None:
            waiting.append(say)
            return
        self._delayed[conversation] = [say]
        asyncio.get_running_loop().call_soon(self._tell_delayed, conversation)

    def _tell_delayed(self, conversation: str) -> None:
        for say in self._delayed.pop(conversation, ()):
            self._tell(conversation, say)

    def _tell(self, conversation: str, say: Callable[[Watcher], None]) -> None:
        for watcher in list(self._watchers.get(conversation, ())):
            try:
                say(watcher)
            except Exception:
                logger.exception("A watcher of conversation %s failed", conversation)
