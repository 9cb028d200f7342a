"""The generations of a server: started by calls, read by any number of connections, and kept for a while after their end."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from legato.api.byte_log import ByteLog
from legato.api.call import Call
from legato.api.call_limiter import CallLimiter
from legato.api.formats import make_codec
from legato.api.generation import STOP, CallEndedError, Generation, ServerStoppedError
from legato.api.key_cache import LOST
from legato.api.response_store import STOPPED, ResponseStore
from legato.api.response_stream import ResponseStream
from legato.api.stream_journal import StreamJournal
from legato.broker.person_limits import PersonLimits, unlimited
from legato.errors import BusyError, ConflictError, LegatoError, NotFoundError, OverLimitError
from legato.storage.api_base import ApiStreamStore

logger = logging.getLogger(__name__)

KEPT_SECONDS = 600.0
"""How long a response in memory can be read again after its end."""

KEPT_BYTES = 256 * 1024 * 1024
"""Bytes of ended responses that are kept in memory at most. The oldest go first."""

RUNNING = 10_000
"""The largest number of generations that run at once."""

LEAVE_SECONDS = 5.0
"""How long a server that ends waits for engines that were told to stop."""


class _Kept(Struct):
    """What the server knows of a response: who writes it (None: it has ended), its idempotency key, its size in bytes if it has ended, its
    readers, and the timer that ends or forgets it.
    """

    stream: ResponseStream
    generation: Generation | None = None
    key: str | None = None
    fingerprint: str = ""
    size: int = 0
    readers: int = 0
    timer: asyncio.TimerHandle | None = None


class Generations:
    """Starts generations and finds their responses again. A generation that no client reads is ended as its call asks.

    Durable responses are also in `store`: after a restart they can be read, and one that was not complete ends with an error.
    `now` is in seconds since the epoch.
    """

    def __init__(
        self,
        store: ApiStreamStore,
        *,
        now: Callable[[], float],
        limits: PersonLimits | None = None,
        calls: CallLimiter | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_urlsafe(18),
        kept_seconds: float = KEPT_SECONDS,
    ) -> None:
        self._stored = ResponseStore(store, now)
        self._journal = StreamJournal(store)
        self._now = now
        self._limits = limits or unlimited()
        self._calls = calls
        self._new_id = new_id
        self._kept_seconds = kept_seconds
        self._kept: dict[str, _Kept] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._starting = asyncio.Lock()
        self._ended_bytes = 0
        self._running = 0
        self._draining = False
        self._expirer: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """How many generations run."""
        return self._running

    async def open(self) -> None:
        """End what an earlier server left, and begin to write the journal.

        :raises StorageError: the database failed.
        """
        await self._stored.end_left()
        self._journal.start()
        self._expirer = asyncio.create_task(self._stored.expire(), name="expiry of responses")

    async def start(self, call: Call) -> ResponseStream:
        """Start a generation, or return the response that the call's idempotency key names.

        :raises BusyError: the server stops, or runs too many.
        :raises OverLimitError: a limit of the caller is reached.
        :raises ConflictError: the key was used for another request.
        :raises StorageError: a durable response cannot be stored.
        """
        if call.idempotency_key is None:
            return await self._start(call)
        async with self._starting:
            known = self._keys.get((call.caller.user, call.idempotency_key))
            if known is not None and known in self._kept:
                kept = self._kept[known]
                _check_same(call, kept.fingerprint)
                return kept.stream
            return await self._start(call)

    async def find(self, owner: str, stream_id: str) -> ResponseStream:
        """Return a response of this owner.

        :raises NotFoundError: there is none, or it has expired; the same for one of another owner.
        """
        kept = self._kept.get(stream_id)
        if kept is None:
            kept = await self._restore(stream_id)
        if kept is None or kept.stream.owner != owner:
            raise NotFoundError(_NOT_FOUND)
        return kept.stream

    def document(self, stream: ResponseStream) -> Any:
        """Return the object that the API stores of a response, as it is now."""
        kept = self._kept.get(stream.id)
        if kept is None or kept.generation is None:
            return stream.document
        return kept.generation.document()

    async def record(self, owner: str, stream_id: str) -> tuple[Any, Any]:
        """Return what the API stored of the request and of the response, without the frames.

        :raises NotFoundError: as `find` does.
        """
        kept = self._kept.get(stream_id)
        if kept is not None:
            if kept.stream.owner == owner:
                return kept.stream.request, self.document(kept.stream)
        else:
            stored = await self._stored.ended(stream_id)
            if stored is not None and stored.owner == owner:
                return stored.request, stored.result
        raise NotFoundError(_NOT_FOUND)

    async def keep(self, stream_ids: Sequence[str]) -> None:
        """Keep stored responses as long as a new one."""
        await self._stored.keep(stream_ids)

    async def cancel(self, owner: str, stream_id: str, error: LegatoError | None = None) -> ResponseStream:
        """End a generation, down to the engine, and return its response when nothing of it runs any more.

        :raises NotFoundError: as `find` does.
        """
        stream = await self.find(owner, stream_id)
        generation = self._kept[stream.id].generation
        if generation is not None:
            generation.cancel(error or CallEndedError("The response was cancelled by its caller."), STOP)
        await stream.done.wait()
        return stream

    def running_keys(self) -> set[str]:
        """Return the API keys under which generations run."""
        return {key for each in self._unfinished() if (key := each.call.caller.key) is not None}

    def cancel_keys(self, keys: Collection[str]) -> None:
        """End the generations of API keys that are not valid any more, down to the engines."""
        for generation in self._unfinished():
            if generation.call.caller.key in keys:
                generation.cancel(CallEndedError(LOST))

    async def delete(self, owner: str, stream_id: str) -> None:
        """Cancel and delete a response.

        :raises NotFoundError: as `find` does.
        """
        stream = await self.cancel(owner, stream_id)
        self._journal.forget(stream.id)
        await self._stored.delete(stream.id)
        self._forget(stream.id)

    def read(self, stream: ResponseStream) -> Callable[[], None]:
        """Count a reader. The returned function ends that, and must be called once.

        :raises OverLimitError: the owner reads as many streams as one person may.
        """
        kept = self._kept.get(stream.id)
        if kept is None:
            return lambda: None
        try:
            self._limits.enter("event_streams", stream.owner)
        except OverLimitError:
            if kept.readers == 0 and not stream.done.is_set():
                _abandon(kept)
            raise
        kept.readers += 1
        if not stream.done.is_set():
            _stop(kept)

        def leave() -> None:
            self._limits.leave("event_streams", stream.owner)
            kept.readers -= 1
            if kept.readers == 0 and not stream.done.is_set():
                _abandon(kept)

        return leave

    def begin(self, stream: ResponseStream) -> None:
        """Write what comes before all text: the client has waited long enough for its status."""
        kept = self._kept.get(stream.id)
        if kept is not None and kept.generation is not None and not stream.done.is_set():
            kept.generation.begin()

    async def drain(self, seconds: float) -> None:
        """Let running generations end for `seconds`, then end them. No further ones are started."""
        self._draining = True
        await self._wait(seconds)
        for generation in self._unfinished():
            generation.cancel(ServerStoppedError(STOPPED))

    async def close(self) -> None:
        """Cancel what still runs, down to the engines, and store the rest."""
        await self.drain(0)
        await self._wait(LEAVE_SECONDS)
        if self._expirer is not None:
            self._expirer.cancel()
            await asyncio.gather(self._expirer, return_exceptions=True)
        await self._journal.close()
        for kept in self._kept.values():
            _stop(kept)

    async def _start(self, call: Call) -> ResponseStream:
        call = replace(call, request=replace(call.request, user=call.caller.user, key=call.caller.key or ""))
        if self._draining:
            raise BusyError("The server is about to restart. Send it again in a moment.")
        if self._running >= RUNNING:
            raise BusyError("The server answers as many requests as it can. Try again in a moment.")
        self._enter(call)
        try:
            return await self._begin(call)
        except BaseException:
            self._leave(call)
            raise

    async def _begin(self, call: Call) -> ResponseStream:
        new, created = self._new_id(), self._now()
        codec = make_codec(call.format, new, created, call.model, call.format_options)
        log = ByteLog(codec.media_type, numbered=codec.numbered)
        stream = ResponseStream(
            new, call.caller.user, call.api, call.model, created, log, streams=codec.streams
        )
        stream.request = call.document
        if call.durable:
            stored = await self._stored.add(call, stream)
            if stored.id != new:
                _check_same(call, stored.fingerprint)
                found = await self.find(call.caller.user, stored.id)
                self._leave(call)
                return found
            self._journal.open(stream)
        store_end = (lambda: self._journal.end(stream)) if call.durable else None
        generation = Generation(call, codec, stream, store_end)
        self._kept[new] = _Kept(stream, generation, call.idempotency_key, call.fingerprint)
        if call.idempotency_key is not None:
            self._keys[call.caller.user, call.idempotency_key] = new
        self._running += 1
        generation.start(lambda: self._ended(new, generation))
        return stream

    async def _restore(self, stream_id: str) -> _Kept | None:
        """Read an ended response from the database into memory."""
        stream = await self._stored.read(stream_id)
        if stream is None:
            return None
        kept = self._kept.setdefault(stream_id, _Kept(stream))
        if kept.stream is stream:
            self._keep(kept)
        return kept

    async def _wait(self, seconds: float) -> None:
        waits = [asyncio.ensure_future(each.stream.done.wait()) for each in self._unfinished()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=seconds)
            for each in late:
                each.cancel()

    def _unfinished(self) -> list[Generation]:
        return [
            kept.generation
            for kept in self._kept.values()
            if kept.generation is not None and not kept.stream.done.is_set()
        ]

    def _enter(self, call: Call) -> None:
        """Count a call that runs.

        :raises OverLimitError: its caller has as many as they may, or has used the tokens of the day.
        """
        self._limits.enter("replies", call.caller.user)
        try:
            if self._calls is not None:
                self._calls.begin(call.caller)
        except OverLimitError:
            self._limits.leave("replies", call.caller.user)
            raise

    def _leave(self, call: Call) -> None:
        self._limits.leave("replies", call.caller.user)
        if self._calls is not None:
            self._calls.end(call.caller)

    def _ended(self, stream_id: str, generation: Generation) -> None:
        self._running -= 1
        self._leave(generation.call)
        if self._calls is not None:
            self._calls.used(generation.call.caller, generation.call.model, *generation.used())
        kept = self._kept.get(stream_id)
        if kept is not None:
            _stop(kept)
            # The request of an ended response is not needed any more, and may be large.
            kept.generation = None
            self._keep(kept)

    def _keep(self, kept: _Kept) -> None:
        """Keep an ended response for a while, and forget the oldest ones if there are too many."""
        kept.size = kept.stream.log.next + len(msgspec.json.encode(kept.stream.request))
        self._ended_bytes += kept.size
        kept.timer = asyncio.get_running_loop().call_later(self._kept_seconds, self._forget, kept.stream.id)
        if self._ended_bytes > KEPT_BYTES:
            for other, each in list(self._kept.items()):
                if self._ended_bytes <= KEPT_BYTES:
                    break
                if each is not kept and each.stream.done.is_set() and each.readers == 0:
                    self._forget(other)

    def _forget(self, stream_id: str) -> None:
        kept = self._kept.pop(stream_id, None)
        if kept is None:
            return
        _stop(kept)
        self._ended_bytes -= kept.size
        if kept.key is not None:
            self._keys.pop((kept.stream.owner, kept.key), None)


def _check_same(call: Call, fingerprint: str) -> None:
    """:raises ConflictError: the key of this call was used for another request."""
    if call.fingerprint != fingerprint:
        raise ConflictError(
            "This `Idempotency-Key` was used for another request. Use a new key for each request."
        )


def _abandon(kept: _Kept) -> None:
    """Do what the call asks for when its last reader has left."""
    generation = kept.generation
    if generation is None or (grace := generation.call.on_disconnect.grace) is None:
        return
    error = CallEndedError("The response was ended, because its client left.")
    if grace == 0:
        generation.cancel(error)
    else:
        _stop(kept)
        kept.timer = asyncio.get_running_loop().call_later(grace, generation.cancel, error)


def _stop(kept: _Kept) -> None:
    if kept.timer is not None:
        kept.timer.cancel()
        kept.timer = None


_NOT_FOUND = "There is no such stream. It may have ended some time ago."
