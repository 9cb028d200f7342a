"""The replies of this server: those that run, in order within their conversation, and the logs of those that ended lately."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from legato.chat.message_tree import weight
from legato.chat.reply import Reply
from legato.errors import StorageError
from legato.stream import Log, State

KEPT_SECONDS = 120.0
"""How long the log of a finished reply stays, so that positions in it can be continued."""

KEPT_LOGS = 2000

KEPT_BYTES = 32 * 1024 * 1024
"""About what the logs of ended replies may hold together; the last one stays, whatever its size."""

EVENT_BYTES = 150
"""What an event costs in memory, beside its text."""


STORED_SECONDS = 10.0
"""How long `stored` waits: engines, tools and databases take a while to end things."""


class RetainedLog(NamedTuple):
    """The log of a reply that ended at `ended`. `size` is in bytes, about."""

    ended: float
    conversation: str
    log: Log
    size: int


class RunningReplies:
    """Running replies by id and by conversation. In one conversation they run one after the other."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._running: dict[str, Reply] = {}
        self._lines: dict[str, deque[Reply]] = {}
        self._kept: OrderedDict[str, RetainedLog] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._running)

    def all(self) -> list[Reply]:
        return list(self._running.values())

    def of(self, conversation: str) -> list[Reply]:
        """The running and waiting replies of a conversation, in their order."""
        return list(self._lines.get(conversation, ()))

    def get(self, reply: str) -> Reply | None:
        return self._running.get(reply)

    def log(self, reply: str) -> tuple[str, Log] | None:
        """The conversation and the log of a reply that runs or ended lately."""
        running = self._running.get(reply)
        if running is not None:
            return running.message.conversation, running.shown
        kept = self._kept.get(reply)
        return None if kept is None else (kept.conversation, kept.log)

    def enter(self, reply: Reply) -> None:
        """Take the last place of its conversation's line."""
        self._running[reply.id] = reply
        line = self._lines.setdefault(reply.message.conversation, deque())
        line.append(reply)
        if len(line) > 1:
            reply.state(State("queued", place=len(line) - 1))

    async def turn(self, reply: Reply) -> None:
        """Return when all that were in line before it are done."""
        line = self._lines[reply.message.conversation]
        while line[0] is not reply:
            await line[0].done.wait()

    def leave(self, reply: Reply) -> None:
        """It ended: keep its log for a while, and let the next one of the line go on."""
        self._running.pop(reply.id, None)
        conversation = reply.message.conversation
        line = self._lines.get(conversation)
        if line is not None and reply in line:
            line.remove(reply)
            if not line:
                del self._lines[conversation]
            for place, waiting in enumerate(line):
                if place > 0:
                    waiting.state(State("queued", place=place))
        if reply.written.closed:
            shown = reply.shown
            size = EVENT_BYTES * (shown.next - shown.base) + weight(reply.message)
            self._kept[reply.id] = RetainedLog(self._clock(), conversation, shown, size)
            self._size += size
        self.expire()
        reply.done.set()

    def expire(self) -> None:
        """Let go of logs that were kept long enough, or are too many."""
        old = self._clock() - KEPT_SECONDS
        while self._kept:
            stream, oldest = next(iter(self._kept.items()))
            full = len(self._kept) > KEPT_LOGS or (self._size > KEPT_BYTES and len(self._kept) > 1)
            if oldest.ended >= old and not full:
                return
            self._drop(stream)

    def _drop(self, stream: str) -> None:
        self._size -= self._kept.pop(stream).size

    def forget(self, conversation: str) -> None:
        """The conversation was deleted: its ended logs go at once."""
        for stream in [key for key, kept in self._kept.items() if kept.conversation == conversation]:
            self._drop(stream)

    @staticmethod
    def end(replies: Sequence[Reply]) -> None:
        """Stop replies. All are told at once: none may begin because the one before it ended."""
        for reply in reversed(replies):
            reply.end("stopped")

    @staticmethod
    async def stored(replies: Sequence[Reply]) -> None:
        """Return when these replies have ended and are stored.

        :raises StorageError: the database does not take them for `STORED_SECONDS`. They were stopped all the same.
        """
        try:
            async with asyncio.timeout(STORED_SECONDS):
                for reply in replies:
                    await reply.done.wait()
        except TimeoutError:
            raise StorageError(
                "It was stopped, but the database does not take what it said. It is kept as soon as it does."
            ) from None

    async def empty(self) -> None:
        """Return when nothing runs."""
        while self._running:
            await next(iter(self._running.values())).done.wait()
