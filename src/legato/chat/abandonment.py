"""What becomes of a running reply that nobody watches any more: the setting of its assistant decides."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from legato.chat.running_replies import RunningReplies
from legato.chat.watchers import WatcherProbe

logger = logging.getLogger(__name__)

ARRIVAL_SECONDS = 5.0
"""How long the sender of a message has to come and watch, if the assistant cancels unwatched replies: a client that sends a
message by HTTP follows its reply in a second request."""

RETURN_SECONDS = 60.0
"""How long clients have to come back to a server that was restarted: they try every 30 s."""


class Abandonment:
    """Ends the replies of a conversation that nobody watches: at once, after a grace time, or never."""

    def __init__(self, watcher_probe: WatcherProbe, replies: RunningReplies) -> None:
        self._watcher_probe = watcher_probe
        self._replies = replies
        self._graces: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._closed = False

    def drain(self) -> None:
        """Ignore viewers who leave from now on: it is the server that leaves, and they come back to the next."""
        self._draining = True

    def begin(self, conversation: str) -> None:
        """Note that the last watcher of this gateway has left."""
        if self._draining or self._closed:
            return
        if any(reply.assistant.config.on_unwatched != "continue" for reply in self._replies.of(conversation)):
            self._run(self._begin(conversation))

    def expect(self, conversation: str, *, back: bool = False) -> None:
        """Note a reply that begins and that nobody watches yet. With `back` it goes on after a restart, and its viewers are to come back."""
        for reply in self._replies.of(conversation):
            config = reply.assistant.config
            if config.on_unwatched == "continue" or conversation in self._graces:
                continue
            seconds = config.grace_seconds if config.on_unwatched == "grace" else ARRIVAL_SECONDS
            if back:
                seconds = max(seconds, RETURN_SECONDS)
            self._start_grace(conversation, seconds)

    def end(self, conversation: str) -> None:
        """Note that somebody watches again."""
        if (grace := self._graces.pop(conversation, None)) is not None:
            grace.cancel()

    def close(self) -> None:
        """End nothing any more."""
        self._closed = True
        for grace in self._graces.values():
            grace.cancel()
        for task in self._tasks:
            task.cancel()

    async def _begin(self, conversation: str) -> None:
        if await self._watcher_probe.watched(conversation):
            return
        for reply in self._replies.of(conversation):
            config = reply.assistant.config
            if config.on_unwatched == "cancel":
                reply.end("unwatched")
            elif config.on_unwatched == "grace" and conversation not in self._graces:
                self._start_grace(conversation, config.grace_seconds)

    def _start_grace(self, conversation: str, seconds: float) -> None:
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        self._graces[conversation] = loop.call_later(seconds, self._grace_over, conversation)

    def _grace_over(self, conversation: str) -> None:
        self._graces.pop(conversation, None)
        self._run(self._end_unwatched(conversation))

    async def _end_unwatched(self, conversation: str) -> None:
        if not await self._watcher_probe.watched(conversation):
            for reply in self._replies.of(conversation):
                if reply.assistant.config.on_unwatched != "continue":
                    reply.end("unwatched")

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="abandonment")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error(
                "It is not known whether a conversation is watched; its reply goes on", exc_info=error
            )
