"""The generations of a server: started by calls, read by any number of connections, and kept for a while after their end."""

import asyncio
import logging
import secrets
from collections.abc import Callable

from msgspec import Struct

from legato.api.byte_log import ByteLog
from legato.api.call import Call
from legato.api.codec import ResponseCodec
from legato.api.generation import CallEndedError, Generation
from legato.errors import BusyError, ConflictError, NotFoundError

logger = logging.getLogger(__name__)

KEPT_SECONDS = 600.0
"""How long a response can be read again after its end."""

KEPT_BYTES = 256 * 1024 * 1024
"""Bytes of ended responses that are kept in memory at most. The oldest go first."""

RUNNING = 10_000
"""The largest number of generations that run at once."""


class _Kept(Struct):
    """What the server knows of a generation: its readers, and the timer that ends it or forgets it."""

    generation: Generation
    readers: int = 0
    timer: asyncio.TimerHandle | None = None


class Generations:
    """Starts generations and finds them again. A generation that no client reads is ended as its call asks.

    `clock` and `now` are in seconds, of the event loop and since the epoch.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        new_id: Callable[[], str] = lambda: f"gen_{secrets.token_urlsafe(18)}",
        kept_seconds: float = KEPT_SECONDS,
    ) -> None:
        self._now = now
        self._new_id = new_id
        self._kept_seconds = kept_seconds
        self._kept: dict[str, _Kept] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._ended_bytes = 0
        self._draining = False

    @property
    def running(self) -> int:
        """How many generations run."""
        return sum(not kept.generation.done.is_set() for kept in self._kept.values())

    def start(self, call: Call, make_codec: Callable[[str, float], ResponseCodec]) -> Generation:
        """Start a generation, or return the one that the call's idempotency key names. `make_codec` gets its id and its time.

        :raises BusyError: the server stops, or runs too many.
        :raises ConflictError: the key was used for another request.
        """
        if (known := self._by_key(call)) is not None:
            return known
        if self._draining:
            raise BusyError("The server is about to restart. Send it again in a moment.")
        if self.running >= RUNNING:
            raise BusyError("The server answers as many requests as it can. Try again in a moment.")
        new, created = self._new_id(), self._now()
        codec = make_codec(new, created)
        generation = Generation(new, call, codec, ByteLog(codec.media_type, numbered=codec.numbered), created)
        self._kept[new] = _Kept(generation)
        if call.idempotency_key is not None:
            self._keys[call.caller.user, call.idempotency_key] = new
        generation.start()
        generation.on_done(lambda: self._ended(new))
        return generation

    def find(self, owner: str, generation_id: str) -> Generation:
        """Return a generation of this owner.

        :raises NotFoundError: there is none; the same for one of another owner.
        """
        kept = self._kept.get(generation_id)
        if kept is None or kept.generation.owner != owner:
            raise NotFoundError("There is no such stream. It may have ended some time ago.")
        return kept.generation

    def read(self, generation: Generation) -> Callable[[], None]:
        """Count a reader. The returned function ends that, and must be called once."""
        kept = self._kept.get(generation.id)
        if kept is None:
            return lambda: None
        kept.readers += 1
        if not generation.done.is_set():
            _stop(kept)

        def leave() -> None:
            kept.readers -= 1
            if kept.readers == 0 and not generation.done.is_set():
                self._abandoned(kept)

        return leave

    async def drain(self, seconds: float) -> None:
        """Let running generations end for `seconds`. No further ones are started."""
        self._draining = True
        waits = [asyncio.ensure_future(each.wait()) for each in self._running()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=seconds)
            for each in late:
                each.cancel()

    async def close(self) -> None:
        """Cancel what still runs, down to the engines."""
        self._draining = True
        running = self._running()
        for generation in running:
            generation.cancel(CallEndedError(_STOPPED))
        await asyncio.gather(*[generation.wait() for generation in running])
        for kept in self._kept.values():
            _stop(kept)

    def _running(self) -> list[Generation]:
        return [kept.generation for kept in self._kept.values() if not kept.generation.done.is_set()]

    def _by_key(self, call: Call) -> Generation | None:
        if call.idempotency_key is None:
            return None
        known_id = self._keys.get((call.caller.user, call.idempotency_key))
        if known_id is None:
            return None
        known = self._kept[known_id].generation
        if known.call.fingerprint != call.fingerprint:
            raise ConflictError(
                "This `Idempotency-Key` was used for another request. Use a new key for each request."
            )
        return known

    def _abandoned(self, kept: _Kept) -> None:
        grace = kept.generation.call.on_disconnect.grace
        if grace is None:
            return
        left = CallEndedError("The response was ended, because its client left.")
        if grace == 0:
            kept.generation.cancel(left)
        else:
            _stop(kept)
            kept.timer = asyncio.get_running_loop().call_later(grace, kept.generation.cancel, left)

    def _ended(self, generation_id: str) -> None:
        kept = self._kept[generation_id]
        _stop(kept)
        self._ended_bytes += kept.generation.log.next
        kept.timer = asyncio.get_running_loop().call_later(self._kept_seconds, self._forget, generation_id)
        if self._ended_bytes > KEPT_BYTES:
            for other, each in list(self._kept.items()):
                if self._ended_bytes <= KEPT_BYTES:
                    break
                if each.generation.done.is_set() and each.readers == 0:
                    self._forget(other)

    def _forget(self, generation_id: str) -> None:
        kept = self._kept.pop(generation_id, None)
        if kept is None:
            return
        _stop(kept)
        self._ended_bytes -= kept.generation.log.next
        key = kept.generation.call.idempotency_key
        if key is not None:
            self._keys.pop((kept.generation.owner, key), None)


_STOPPED = "The server was stopped before the response was complete. Send the request again."


def _stop(kept: _Kept) -> None:
    if kept.timer is not None:
        kept.timer.cancel()
        kept.timer = None
