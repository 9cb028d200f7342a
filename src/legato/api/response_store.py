"""The responses in the database: found again after a restart, ended if an earlier server left them, and deleted in time."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from legato.api.byte_log import ByteLog
from legato.api.call import Call
from legato.api.formats import make_codec
from legato.api.generation import ServerStoppedError
from legato.api.response_stream import ResponseStream
from legato.api.stream_journal import error_of
from legato.errors import StorageError
from legato.storage.api_base import ApiStreamStore, FrameBatch, StoredStream, StreamEnding

logger = logging.getLogger(__name__)

STORED_SECONDS = 24 * 3600.0
"""How long a durable response can be read, from its beginning on."""

EXPIRE_SECONDS = 60.0
"""How often expired responses are deleted."""

STOPPED = (
    "The server was stopped before the response was complete. "
    "Send the request again, with a new `Idempotency-Key` if it had one."
)


class ResponseStore:
    """Stores responses as rows and reads rows as responses. `now` is in seconds since the epoch. Every call may raise StorageError."""

    def __init__(self, store: ApiStreamStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    async def add(self, call: Call, stream: ResponseStream) -> StoredStream:
        """Store a new response. If the idempotency key of the call has one, return that one instead."""
        return await self._store.add_stream(
            StoredStream(
                stream.id,
                stream.owner,
                call.api,
                call.format,
                call.model,
                stream.created,
                stream.created + STORED_SECONDS,
                options=call.format_options,
                idempotency_key=call.idempotency_key,
                fingerprint=call.fingerprint,
                request=call.document,
            )
        )

    async def ended(self, stream_id: str) -> StoredStream | None:
        """Return the row of an ended response that has not expired."""
        stored = await self._store.stream(stream_id)
        if stored is None or not stored.ended or stored.expires_at <= self._now():
            return None
        return stored

    async def read(self, stream_id: str) -> ResponseStream | None:
        """Return an ended response that has not expired."""
        stored = await self.ended(stream_id)
        if stored is None:
            return None
        stream = await self._stream(stored)
        stream.end()
        return stream

    async def keep(self, stream_ids: Sequence[str]) -> None:
        """Keep responses as long as a new one."""
        await self._store.keep_streams(stream_ids, self._now() + STORED_SECONDS)

    async def delete(self, stream_id: str) -> None:
        """Delete a response with its frames."""
        await self._store.delete_stream(stream_id)

    async def end_left(self) -> None:
        """End what an earlier server did not complete, with an error behind what was stored."""
        for stored in await self._store.running_streams():
            await self._end(stored)

    async def expire(self) -> None:
        """Delete expired responses, until it is cancelled."""
        while True:
            try:
                await self._store.expire_streams(self._now())
            except StorageError as error:
                logger.warning("Expired responses could not be deleted: %s", error.message)
            await asyncio.sleep(EXPIRE_SECONDS)

    async def _stream(self, stored: StoredStream) -> ResponseStream:
        codec = make_codec(stored.format, stored.id, stored.created_at, stored.model, stored.options)
        frames = await self._store.frames(stored.id)
        log = ByteLog(
            codec.media_type, numbered=codec.numbered, incarnation=stored.incarnation, restored=frames
        )
        stream = ResponseStream(
            stored.id, stored.owner, stored.api, stored.model, stored.created_at, log, streams=codec.streams
        )
        stream.request, stream.document = stored.request, stored.result
        stream.error = error_of(*stored.error) if stored.error is not None else None
        return stream

    async def _end(self, stored: StoredStream) -> None:
        restarted = await self._store.restart_stream(stored.id)
        if restarted is None:
            return
        stream = await self._stream(restarted)
        codec = make_codec(stored.format, stored.id, stored.created_at, stored.model, stored.options)
        before = stream.log.next
        codec.restore(stream.log.written(0))
        error = ServerStoppedError(STOPPED)
        if codec.streams:
            if not before:
                for frame in codec.begin():
                    stream.log.append(frame)
            for frame in codec.fail(error):
                stream.log.append(frame, end=True)
        frames = stream.log.written(before)
        batches = [FrameBatch(stored.id, before, frames, restarted.incarnation)] if frames else []
        ending = StreamEnding(stored.id, (error.code, error.message), codec.document(), restarted.incarnation)
        await self._store.append_frames(batches, [ending])
