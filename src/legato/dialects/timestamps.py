"""The times in frames and responses: ISO-8601, UTC, milliseconds, `Z`."""

from collections.abc import Callable
from datetime import UTC, datetime


def timestamp(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TimestampFormatter:
    """Formats the current time; everything above milliseconds is formatted once a second, because each frame needs it."""

    __slots__ = ("_now", "_prefix", "_second")

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._prefix = ""
        self._second = datetime.min.replace(tzinfo=UTC)

    def __call__(self) -> str:
        now = self._now()
        since = now - self._second
        if since.days or since.seconds:
            self._second = now.replace(microsecond=0)
            self._prefix = self._second.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{self._prefix}{now.microsecond // 1000:03d}Z"
