"""The journal of running replies: one more cursor on every log, written out a few times a second."""

import asyncio
import logging

from legato.backoff import exponential_delay
from legato.errors import StorageError
from legato.storage.base import LOCAL_GATEWAY, JournalEntry, TurnStore
from legato.stream import Event, Log, State

logger = logging.getLogger(__name__)

INTERVAL = 0.25
"""Seconds between two ticks: a killed server loses at most so much of a running text."""

WHOLE_AFTER = 240
"""Rows after which a reply is written whole again, so that the rows before can be dropped."""

AT_ONCE = 500
"""Logs that a tick looks at before it yields to the event loop: with ten thousand replies it must not delay their tokens."""

TAKEN_AT_ONCE = 8
"""Logs that it takes new text from before it yields: a hundred at once take half a millisecond, which is visible in p99."""

LONG = 65_536
"""Events beyond which a running log drops its oldest, so that an engine that never ends does not take all memory."""

RECENT = 16_384
"""Events that such a log keeps. A position before them is answered with a reset."""


FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
"""Seconds before `store` tries again."""


class _Cursor:
    __slots__ = ("doubtful", "first_row", "log", "offset")

    def __init__(self, log: Log, offset: int) -> None:
        self.log = log
        self.offset = offset
        self.first_row: int | None = None
        self.doubtful = False


def _only_waits(event: Event) -> bool:
    return isinstance(event, State) and event.phase == "queued"


class Journal:
    """Stores what running replies said, in rows that each hold all of a tick, and drops the rows that no reply needs."""

    def __init__(self, storage: TurnStore, gateway: str = LOCAL_GATEWAY) -> None:
        self._storage = storage
        self._gateway = gateway
        self._cursors: dict[str, _Cursor] = {}
        self._row = 0
        self._trimmed = 0
        self._ticking = asyncio.Lock()
        self._failing = False

    def open(self, log: Log) -> None:
        """Begin to store `log`, from offset 0. Rows of an earlier incarnation of it no longer count."""
        self._cursors[log.stream] = _Cursor(log, 0)

    def close(self, stream: str) -> None:
        """Forget a log whose message is stored."""
        self._cursors.pop(stream, None)

    @property
    def idle(self) -> bool:
        """Whether a tick would do nothing."""
        return self._trimmed > self._row and not any(
            cursor.doubtful or cursor.offset < cursor.log.next for cursor in self._cursors.values()
        )

    async def tick(self) -> None:
        """Write what was gained since the last tick. A database that fails is tried again at the next one.

        A write that failed or was cancelled may have been taken all the same; what follows it is the whole text again.
        """
        async with self._ticking:
            await self._tick()

    async def store(self, log: Log) -> None:
        """Return when all that `log` says now is stored. A database that fails is tried until it takes it."""
        cursor, end, failures = self._cursors[log.stream], log.next, 0
        while True:
            await self.tick()
            if cursor.offset >= end and not cursor.doubtful:
                return
            await asyncio.sleep(exponential_delay(failures, FIRST_DELAY, LONGEST_DELAY))
            failures += 1

    async def _tick(self) -> None:
        entries: list[JournalEntry] = []
        ahead: list[tuple[_Cursor, int, bool]] = []
        pause = TAKEN_AT_ONCE
        for number, (stream, cursor) in enumerate(list(self._cursors.items()), start=1):
            if number % AT_ONCE == 0 or len(entries) == pause:
                pause = len(entries) + TAKEN_AT_ONCE
                await asyncio.sleep(0)
            whole = cursor.doubtful or cursor.first_row is None or self._row - cursor.first_row >= WHOLE_AFTER
            if cursor.offset >= cursor.log.next and (not whole or cursor.log.next == 0):
                continue
            batch = cursor.log.since(0 if whole else cursor.offset)
            if not cursor.doubtful and all(map(_only_waits, batch.events)):
                # A place in the queue is not worth a row: after a restart the reply takes its place anew.
                cursor.offset = batch.next
                continue
            entries.append(JournalEntry(stream, batch.events, whole))
            ahead.append((cursor, batch.next, whole))
            cursor.doubtful = True
        try:
            if entries:
                self._row = await self._storage.append_journal(self._gateway, entries)
                for cursor, offset, whole in ahead:
                    cursor.offset = offset
                    cursor.doubtful = False
                    if whole:
                        cursor.first_row = self._row
                    if cursor.log.next - cursor.log.base > LONG and offset > RECENT:
                        cursor.log.compact(offset - RECENT)
            await self._trim()
        except StorageError as error:
            if not self._failing:
                logger.warning(
                    "The journal cannot be written: %s It is tried again until it can.", error.message
                )
            self._failing = True
        else:
            if self._failing:
                logger.warning("The journal is written again.")
            self._failing = False

    async def _trim(self) -> None:
        rows = [cursor.first_row for cursor in self._cursors.values() if cursor.first_row is not None]
        needed = min(rows, default=self._row + 1)
        if needed > self._trimmed:
            await self._storage.trim_journal(self._gateway, needed)
            self._trimmed = needed
