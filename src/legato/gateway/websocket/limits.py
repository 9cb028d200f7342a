"""The limits of a connection."""

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds."""

    frame_bytes: int = 64 * 1024
    """The largest message of a client, in one frame or in many; an endpoint may have another limit. Beyond it: 1009."""

    frames_per_second: float = 200.0
    """The sustained rate of frames of every kind; an endpoint may have another one. Beyond it: 1008."""

    frames_burst_seconds: float = 6.0
    """How much of that rate may come at once: a client that reconnects subscribes to everything again, up to 1,000 streams."""

    high_water: int = 64 * 1024
    """A socket whose transport holds more is not `writable` until it holds less than `low_water`."""

    low_water: int = 16 * 1024

    backlog_bytes: int = 512 * 1024
    """A client with a larger backlog when the next message is sent is closed with `CloseCode.SLOW`.

    A message that is longer than this by itself does not count: no client could read it before the next one.
    """

    unsent_bytes: int = 128 * 1024
    """What the kernel may hold unsent for one socket (`TCP_NOTSENT_LOWAT`), so that a client that does not read uses no more memory."""

    stall_seconds: float = 30.0
    """A client that reads nothing of its backlog for this long is closed with `CloseCode.SLOW`."""

    ping_seconds: float = 15.0
    """Silence after which a client is pinged."""

    silent_seconds: float = 30.0
    """Silence after which a client is closed with `CloseCode.SILENT`."""

    close_seconds: float = 5.0
    """How long a close may take: the backlog, the close frame, and the client's answer."""

    head_seconds: float = 10.0
    """How long the head of an HTTP request may take, from the connection or from its first byte on."""

    head_bytes: int = 64 * 1024
    """The largest head of an HTTP request."""

    body_seconds: float = 30.0
    """The longest pause in the body of an HTTP request."""

    request_seconds: float = 300.0
    """How long a whole body of an HTTP request may take, however it drips."""

    pipelined: int = 16
    """Requests that may wait on one HTTP connection for the response to an earlier one. Beyond it: the connection ends."""

    message_seconds: float = 60.0
    """How long a message of a socket may take from its first byte to its last one. Beyond it: 1008."""

    tick_seconds: float = 1.0
    """The resolution of these times."""
