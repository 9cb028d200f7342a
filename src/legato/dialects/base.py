"""The contract between a socket of the gateway and a session of a dialect.

The gateway owns the bytes on the wire: handshake, framing, heartbeat, size limits, close. A session owns their meaning: it
receives each whole text frame, and writes whole payloads. All calls are synchronous and on the event loop's thread.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from msgspec import Struct


class Socket(Protocol):
    """One accepted connection; a `legato.stream.Sink` that can also send single frames.

    `write` takes what `frame` returned, any number of frames joined, or none. `send` is for everything that is not a
    stream, and may be called at any time.
    A socket whose client reads too slowly closes itself with `CloseCode.SLOW`.
    """

    @staticmethod
    def frame(payload: bytes) -> bytes:
        """Return the payload as `write` takes it, so that it is framed once for all subscribers."""
        ...

    @property
    def writable(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    def flush(self) -> None: ...

    def send(self, payload: bytes) -> None:
        """Send one text frame, in order with what was written, within this turn of the event loop."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """Send what was written, close with `code`, and call nothing of the session but `closed`."""
        ...

    def limit_message(self, limit: int | None) -> None:
        """Take messages of at most `limit` bytes from now on; None: as long as the endpoint allows. A longer one closes the socket."""
        ...

    @property
    def at_fault(self) -> bool:
        """Whether it was closed because the client broke the protocol: no valid frames, no text, or too much."""
        ...


class Session(Protocol):
    """What one client and the server say to each other on a socket, in one dialect."""

    def received(self, payload: bytes) -> None:
        """A whole text frame, valid UTF-8, arrived. Never raises for what a client sent: it answers with an error."""
        ...

    def resumed(self) -> None:
        """The socket is writable again: mark the subscribers."""
        ...

    def closed(self) -> None:
        """The socket is gone. Called exactly once, whichever side closed it. Nothing is written after it."""
        ...


@runtime_checkable
class BinarySession(Protocol):
    """A session that may answer a binary message with an error. The socket of any other session is closed for it."""

    def binary(self) -> bool:
        """A binary message arrived, which no dialect has; its content is not read. Never raises.

        Return whether it is answered with an error; if not, the socket is closed.
        """
        ...


class Handshake(Struct, frozen=True):
    """The request that opened the socket. `params` are those of the path, `query` has the first value of each field, `headers` are lower-case."""

    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    subprotocol: str | None
    client: str


class Endpoint(Struct, frozen=True):
    """A path that accepts WebSockets: `/ws/conversations/{id}` binds `params["id"]`.

    `open` makes the session; it is called when the handshake is accepted. `subprotocols` are those it speaks; a client
    that offers none of them is accepted without one. `max_frame_bytes` and `max_frames_per_second` are the server's if
    they are None; 0 frames per second means no limit.
    """

    path: str
    open: Callable[[Handshake, Socket], Session]
    subprotocols: tuple[str, ...] = ()
    max_frame_bytes: int | None = None
    max_frames_per_second: float | None = None
