"""Who watches which conversation, and what they are told."""

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
    """One that follows a conversation: told of each change, synchronously, in order. Must not raise."""

    def on_message(self, message: Message) -> None:
        """A message is new or was written again."""
        ...

    def on_conversation(self, conversation: Conversation) -> None:
        """Title, head or revision changed."""
        ...

    def on_deleted(self, conversation: str) -> None:
        """It is gone, or the person takes part in it no more: nothing of it is told any more."""
        ...

    def on_stream(self, log: Log) -> None:
        """A reply begins: its log, from offset 0."""
        ...

    def on_people(self, conversation: str) -> None:
        """Who takes part or who is here changed: `People.now` has all of it. Changes that come close together are one."""
        ...

    def on_typing(self, conversation: str, user: str, name: str | None, typing: bool) -> None:
        """Somebody else begins to type, or types no more."""
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
    """The watchers of every conversation, each on behalf of a person. Adding one twice is adding it once.

    What is told of one conversation is told in the order of the calls, also where `tell_soon` puts it off.
    """

    def __init__(self) -> None:
        self._soon: dict[str, list[Callable[[Watcher], None]]] = {}
        self._watchers: dict[str, dict[Watcher, User]] = {}

    def add(self, conversation: str, watcher: Watcher, person: User) -> bool:
        """Whether it is new there."""
        watchers = self._watchers.setdefault(conversation, {})
        if watcher in watchers:
            return False
        watchers[watcher] = person
        return True

    def remove(self, conversation: str, watcher: Watcher) -> User | None:
        """Take one out; on whose behalf it was there, None where it was not."""
        watchers = self._watchers.get(conversation)
        person = watchers.pop(watcher, None) if watchers is not None else None
        if not watchers:
            self._watchers.pop(conversation, None)
        return person

    def watched(self, conversation: str) -> bool:
        return conversation in self._watchers

    def count(self, conversation: str) -> int:
        """How many watch it."""
        return len(self._watchers.get(conversation, ()))

    def of(self, conversation: str) -> dict[Watcher, User]:
        """Those who watch it now."""
        return dict(self._watchers.get(conversation, ()))

    def tell(self, conversation: str, say: Callable[[Watcher], None]) -> None:
        """Let every watcher hear it. One that fails harms neither the others nor what is told."""
        for earlier in self._soon.pop(conversation, ()):
            self._tell(conversation, earlier)
        self._tell(conversation, say)

    def tell_soon(self, conversation: str, say: Callable[[Watcher], None]) -> None:
        """Let them hear it at the end of this turn of the loop, behind what was written to their streams."""
        if (waiting := self._soon.get(conversation)) is not None:
            waiting.append(say)
            return
        self._soon[conversation] = [say]
        asyncio.get_running_loop().call_soon(self._told, conversation)

    def _told(self, conversation: str) -> None:
        for say in self._soon.pop(conversation, ()):
            self._tell(conversation, say)

    def _tell(self, conversation: str, say: Callable[[Watcher], None]) -> None:
        for watcher in list(self._watchers.get(conversation, ())):
            try:
                say(watcher)
            except Exception:
                logger.exception("A watcher of conversation %s failed", conversation)
