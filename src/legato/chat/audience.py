"""Who watches which conversation, and what they are told."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from legato.storage.base import Conversation, Message
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

    def on_deleted(self, conversation: str) -> None: ...

    def on_stream(self, log: Log) -> None:
        """A reply begins: its log, from offset 0."""
        ...


class Audience:
    """The watchers of every conversation. Adding one twice is adding it once.

    What is told of one conversation is told in the order of the calls, also where `tell_soon` puts it off.
    """

    def __init__(self) -> None:
        self._soon: dict[str, list[Callable[[Watcher], None]]] = {}
        self._watchers: dict[str, dict[Watcher, None]] = {}

    def add(self, conversation: str, watcher: Watcher) -> None:
        self._watchers.setdefault(conversation, {})[watcher] = None

    def remove(self, conversation: str, watcher: Watcher) -> bool:
        """Take one out; whether nobody is left."""
        watchers = self._watchers.get(conversation)
        if watchers is None:
            return False
        watchers.pop(watcher, None)
        if watchers:
            return False
        del self._watchers[conversation]
        return True

    def watched(self, conversation: str) -> bool:
        return conversation in self._watchers

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
