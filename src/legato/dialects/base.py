"""What a socket is to a dialect, and what a dialect's session is to the gateway.

The gateway owns bytes on the wire: handshake, framing, heartbeat, size caps, close. A session owns meaning: it is told
of each whole text frame, and writes whole payloads. All calls are synchronous and on the event loop's thread.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Protocol, runtime_checkable

from msgspec import Struct

from legato.stream import Batch, BatchEncoder, Log


class Socket(Protocol):
    """One accepted connection; a `legato.stream.Sink` with words of its own.

    `write` takes what `frame` made, any number of frames one behind the other, or none. `send` is for everything that is
    not a stream, and may be called at any time.
    A socket that owes its client too much, or for too long, closes itself with `CloseCode.SLOW`.
    """

    @staticmethod
    def frame(payload: bytes) -> bytes:
        """The payload as `write` wants it, so that it is made once for all viewers."""
        ...

    @property
    def writable(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    def flush(self) -> None: ...

    def send(self, payload: bytes) -> None:
        """One text frame, in order with what was written; it leaves within this turn of the loop."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """Send what is owed, close with `code`, and tell the session no more but `closed`."""
        ...

    @property
    def at_fault(self) -> bool:
        """Whether it was closed because the client sent what no client may: no frames, no text, or too much."""
        ...


class Session(Protocol):
    """One client's conversation with the server, in one dialect."""

    def received(self, payload: bytes) -> None:
        """A whole text frame, valid UTF-8. Never raises for what a client sent: it answers with an error."""
        ...

    def resumed(self) -> None:
        """The socket is writable again: mark the viewers."""
        ...

    def closed(self) -> None:
        """The socket is gone; called exactly once, whoever closed it. Nothing is written after it."""
        ...


@runtime_checkable
class BinarySession(Protocol):
    """A session that answers a binary message with an error. The socket of any other one is closed for it."""

    def binary(self) -> None:
        """A binary message came, which no dialect has; what is in it is not read. Never raises."""
        ...


class Handshake(Struct, frozen=True):
    """The request that opened the socket. `params` come from the path, `query` from behind it (first value of each), `headers` are lower-case."""

    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    subprotocol: str | None
    client: str


class Endpoint(Struct, frozen=True):
    """A path that takes WebSockets: `/ws/conversations/{id}` binds `params["id"]`.

    `open` is called once the handshake is accepted and makes the session. `subprotocols` are those it speaks; a client
    that offers none of them, or none at all, is accepted without. `max_frame_bytes` and `max_frames_per_second` are the
    server's where they are None; 0 frames per second means as many as come.
    """

    path: str
    open: Callable[[Handshake, Socket], Session]
    subprotocols: tuple[str, ...] = ()
    max_frame_bytes: int | None = None
    max_frames_per_second: float | None = None


@lru_cache(maxsize=64)
def framed(encoding: BatchEncoder, frame: Callable[[bytes], bytes]) -> BatchEncoder:
    """`encoding` as a socket's `write` takes it. The same two give the same object, so a batch is encoded once."""

    def encode(log: Log, batch: Batch) -> bytes:
        return frame(encoding(log, batch))

    return encode
