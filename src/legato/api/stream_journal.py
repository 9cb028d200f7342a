"""The journal of durable responses: what their logs gained is stored every quarter of a second, and their ends at once."""

import asyncio
import logging

from legato.api.response_stream import ResponseStream
from legato.backoff import exponential_delay
from legato.domain.validation import clean_text
from legato.errors import LegatoError, StorageError
from legato.storage.api_base import ApiStreamStore, FrameBatch, StreamEnding

logger = logging.getLogger(__name__)

INTERVAL = 0.25
"""Seconds between two writes. A server that is killed loses what came since the last one."""

BATCH_BYTES = 1024 * 1024
"""About how many bytes of one response one write stores at most."""

FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
"""Seconds before a database that has failed is asked again."""


class StreamJournal:
    """Stores the frames of open responses. If the database fails, they are stored later."""

    def __init__(self, store: ApiStreamStore) -> None:
        self._store = store
        self._open: dict[str, tuple[ResponseStream, int]] = {}
        self._writing = asyncio.Lock()
        self._ticker: asyncio.Task[None] | None = None

    @property
    def open_ids(self) -> list[str]:
        """The responses whose ends are not stored yet."""
        return list(self._open)

    def start(self) -> None:
        """Start to write in the background."""
        self._ticker = asyncio.create_task(self._tick(), name="journal of the APIs")

    async def close(self) -> None:
        """Stop, after a last write."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        try:
            await self.write()
        except StorageError as error:
            logger.warning("Responses could not be stored: %s", error.message)

    def open(self, stream: ResponseStream, stored: int = 0) -> None:
        """Store what this response gains. `stored` bytes of it are stored already."""
        self._open[stream.id] = (stream, stored)

    def forget(self, stream_id: str) -> None:
        """Store nothing more of a response, because it was deleted."""
        self._open.pop(stream_id, None)

    async def end(self, stream: ResponseStream) -> None:
        """Store all that is left of a response, and its end. A database that fails is tried until it takes it."""
        failures = 0
        while stream.id in self._open:
            try:
                async with self._writing:
                    await self._write_end(stream)
                return
            except StorageError as error:
                logger.warning("Response %s could not be stored yet: %s", stream.id, error.message)
            await asyncio.sleep(exponential_delay(failures, FIRST_DELAY, LONGEST_DELAY))
            failures += 1

    async def write(self) -> None:
        """Store what all open responses gained.

        :raises StorageError: the database failed. Nothing is lost; the next write stores it.
        """
        async with self._writing:
            batches: list[FrameBatch] = []
            for stream, stored in self._open.values():
                if stream.log.next > stored and (frames := stream.log.frames(stored, BATCH_BYTES)):
                    batches.append(FrameBatch(stream.id, stored, frames, stream.log.incarnation))
            if not batches:
                return
            await self._store.append_frames(batches)
            for batch in batches:
                if (known := self._open.get(batch.stream)) is not None:
                    self._open[batch.stream] = (known[0], batch.first + sum(map(len, batch.frames)))

    async def _write_end(self, stream: ResponseStream) -> None:
        known = self._open.get(stream.id)
        if known is None:
            return
        frames = stream.log.written(known[1])
        batches = [FrameBatch(stream.id, known[1], frames, stream.log.incarnation)] if frames else []
        error = None if stream.error is None else (stream.error.code, clean_text(stream.error.message))
        end = StreamEnding(stream.id, error, stream.document, stream.log.incarnation)
        await self._store.append_frames(batches, [end])
        self._open.pop(stream.id, None)

    async def _tick(self) -> None:
        failures = 0
        while True:
            await asyncio.sleep(
                INTERVAL if not failures else exponential_delay(failures, INTERVAL, LONGEST_DELAY)
            )
            try:
                await self.write()
                failures = 0
            except StorageError as error:
                failures += 1
                logger.warning("Responses could not be stored yet: %s", error.message)


def error_of(code: str, message: str) -> LegatoError:
    """Return a stored error as one of the tree: of the class that has this code."""
    kinds = [LegatoError]
    for kind in kinds:
        if kind.code == code and kind is not LegatoError:
            try:
                return kind(message)
            except TypeError:
                break
        kinds += kind.__subclasses__()
    return LegatoError(message)
