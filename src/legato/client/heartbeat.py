"""When to ping a silent server, and when to reconnect to it. Clock and random numbers are arguments."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Literal

from legato.backoff import exponential_delay

MAX_DELAY = 30.0
"""Seconds between two attempts, at most."""


def backoff(random: Callable[[], float]) -> Iterator[float]:
    """Yield the delays before the first, second … attempt to reconnect: 1, 2, 4 … 30 s, each shortened by up to a half.

    `random` returns numbers from 0 to 1. Without it all clients of a restarted server would reconnect at the same moment.
    """
    for failures in count():
        yield exponential_delay(failures, 1.0, MAX_DELAY, shortened=random())


class HeartbeatTimer:
    """Detects a dead connection: it pings after `interval` seconds of silence, and gives up after half as many more."""

    def __init__(self, now: float, interval: float = 20.0) -> None:
        self._interval = interval
        self._last_received = now
        self._pinged: float | None = None

    def received(self, now: float) -> None:
        """A frame arrived, of any kind."""
        self._last_received = now
        self._pinged = None

    def action(self, now: float) -> Literal["ping", "dead"] | None:
        """Return what to do now; `ping` once for each silence."""
        if self._pinged is not None:
            return "dead" if now >= self._pinged + self._interval / 2 else None
        if now >= self._last_received + self._interval:
            self._pinged = now
            return "ping"
        return None

    def seconds_until_action(self, now: float) -> float:
        """Return the seconds until `action` returns something, if no frame arrives."""
        due = (
            self._last_received + self._interval
            if self._pinged is None
            else self._pinged + self._interval / 2
        )
        return max(0.0, due - now)
