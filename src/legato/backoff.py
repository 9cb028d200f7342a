"""Exponential backoff, for everything that tries again."""

import math


def exponential_delay(
    failures: int, first: float, longest: float = math.inf, *, shortened: float = 0.0
) -> float:
    """Return the seconds to wait: `first` after no earlier failure, twice as long after each one more, at most `longest`.

    `shortened`, a random number from 0 to 1, shortens the result by up to a half, so that many callers do not try again
    at the same moment.
    """
    return min(longest, first * 2.0 ** min(failures, 60)) * (1 - shortened / 2)
