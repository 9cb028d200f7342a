"""The numbers of a WebSocket: what a client may send, owe and keep silent about."""

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds. The defaults are those of a server that was told nothing."""

    frame_bytes: int = 64 * 1024
    """The largest message a client may send, in one frame or in many; a door may have another. Beyond it: 1009."""

    frames_per_second: float = 200.0
    """Frames of every kind that a client may send for long; a door may have another. Beyond it: 1008."""

    frames_burst_seconds: float = 6.0
    """How much of that rate may come at once: a client that comes back follows all that it followed, up to 1,000."""

    high_water: int = 64 * 1024
    """A socket whose transport holds more is not `writable`, until it holds less than `low_water`."""

    low_water: int = 16 * 1024

    owed_bytes: int = 512 * 1024
    """A client that owes more than this when the next thing is sent to it is closed with `CloseCode.SLOW`.

    A message that is longer than this by itself does not count: no client could have taken it before the next one.
    """

    unsent_bytes: int = 128 * 1024
    """What the kernel may hold unsent for one socket (`TCP_NOTSENT_LOWAT`), so that a client which does not read costs it no more."""

    stall_seconds: float = 30.0
    """A client that takes nothing of what it owes for this long is closed with `CloseCode.SLOW`."""

    ping_seconds: float = 15.0
    """Silence after which a client is pinged."""

    silent_seconds: float = 30.0
    """Silence after which a client is given up, with `CloseCode.SILENT`."""

    close_seconds: float = 5.0
    """How long a close may take: what is owed, the close frame, the client's answer."""

    head_seconds: float = 10.0
    """How long the head of an HTTP request may take, from the connection or from its first byte on."""

    head_bytes: int = 64 * 1024
    """How long the head of an HTTP request may be."""

    body_seconds: float = 30.0
    """Silence within the body of an HTTP request after which it is given up."""

    tick_seconds: float = 1.0
    """How exact the times above are."""
