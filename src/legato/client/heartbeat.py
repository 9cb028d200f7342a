"""When to ask whether the other side is there, and when to come back to it. Clocks and chance come in as arguments."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Literal

from legato.backoff import exponential_delay

LONGEST = 30.0
"""Seconds between two attempts, at most."""


def backoff(chance: Callable[[], float]) -> Iterator[float]:
    """The pauses before the first, second … attempt to come back: 1, 2, 4 … 30 s, each shortened by up to a half.

    `chance` gives numbers from 0 to 1. Without it all clients of a server that was restarted would come at once.
    """
    for failures in count():
        yield exponential_delay(failures, 1.0, LONGEST, shortened=chance())


class HeartbeatTimer:
    """Tells a quiet connection from a dead one: after `quiet` seconds of silence ask, after half as many more give up."""

    def __init__(self, now: float, quiet: float = 20.0) -> None:
        self._quiet = quiet
        self._heard = now
        self._asked: float | None = None

    def heard(self, now: float) -> None:
        """Something came, whatever it was."""
        self._heard = now
        self._asked = None

    def beat(self, now: float) -> Literal["ask", "dead"] | None:
        """What to do now; `ask` is said once for each silence."""
        if self._asked is not None:
            return "dead" if now >= self._asked + self._quiet / 2 else None
        if now >= self._heard + self._quiet:
            self._asked = now
            return "ask"
        return None

    def wait(self, now: float) -> float:
        """Seconds until `beat` has something to say, unless something is heard."""
        due = self._heard + self._quiet if self._asked is None else self._asked + self._quiet / 2
        return max(0.0, due - now)
