"""The replies of this server: the running ones, in a queue for each conversation, and the logs of those that ended lately."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from legato.chat.message_tree import weight
from legato.chat.reply import Reply
from legato.errors import StorageError
from legato.stream import Log, State

KEPT_SECONDS = 120.0
"""Seconds that the log of a finished reply is kept, so that clients can continue from a position in it."""

KEPT_LOGS = 2000

KEPT_BYTES = 32 * 1024 * 1024
"""Bytes, approximately, that the logs of ended replies may have together. The last one is kept whatever its size."""

MAX_WAITING = 100
"""Replies that can wait in one conversation."""

NEAR = 10
"""Places from the front at which each step is told; further back every tenth one is: N replies must not cost N² events."""

EVENT_BYTES = 150
"""Bytes of an event in memory, beside its text."""


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
        self._queues: dict[str, deque[Reply]] = {}
        self._by_user: Counter[str] = Counter()
        self._kept: OrderedDict[str, RetainedLog] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._running)

    def all(self) -> list[Reply]:
        return list(self._running.values())

    def of(self, conversation: str) -> list[Reply]:
        """Return the running and waiting replies of a conversation, in their order."""
        return list(self._queues.get(conversation, ()))

    def full(self, conversation: str) -> bool:
        """Return whether no more replies can wait in the conversation."""
        return len(self._queues.get(conversation, ())) > MAX_WAITING

    def of_user(self, user: str) -> int:
        """Return how many replies to a user run or wait."""
        return self._by_user[user]

    def get(self, reply: str) -> Reply | None:
        return self._running.get(reply)

    def log(self, reply: str) -> tuple[str, Log] | None:
        """Return the conversation and the shown log of a reply that runs or ended lately."""
        running = self._running.get(reply)
        if running is not None:
            return running.message.conversation, running.shown
        kept = self._kept.get(reply)
        return None if kept is None else (kept.conversation, kept.log)

    def enter(self, reply: Reply) -> None:
        """Add a reply at the end of its conversation's queue."""
        self._running[reply.id] = reply
        self._by_user[reply.user] += 1
        queue = self._queues.setdefault(reply.message.conversation, deque())
        queue.append(reply)
        if len(queue) > 1:
            reply.state(State("queued", place=len(queue) - 1))

    async def turn(self, reply: Reply) -> None:
        """Return when all replies before it in the queue are done."""
        queue = self._queues[reply.message.conversation]
        while queue[0] is not reply:
            await queue[0].done.wait()

    def leave(self, reply: Reply) -> None:
        """Remove a reply that ended, keep its log for `KEPT_SECONDS`, and let the next one of the queue go on."""
        if self._running.pop(reply.id, None) is not None:
            self._by_user -= Counter((reply.user,))
        conversation = reply.message.conversation
        queue = self._queues.get(conversation)
        if queue is not None and reply in queue:
            queue.remove(reply)
            if not queue:
                del self._queues[conversation]
            for place, waiting in enumerate(queue):
                if 0 < place <= NEAR or place % NEAR == 0 < place:
                    waiting.state(State("queued", place=place))
        if reply.written.closed:
            shown = reply.shown
            size = EVENT_BYTES * (shown.next - shown.base) + weight(reply.message)
            self._kept[reply.id] = RetainedLog(self._clock(), conversation, shown, size)
            self._size += size
        self.expire()
        reply.done.set()

    def expire(self) -> None:
        """Drop the logs that were kept long enough, or are too many."""
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
        """Drop the logs of the ended replies of a conversation at once."""
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
