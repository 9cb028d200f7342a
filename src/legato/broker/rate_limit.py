"""How often something may happen, by the generic cell rate algorithm (GCRA): one number, no timer."""

ROUNDING = 1e-6
"""Seconds by which sums of times may be wrong."""


class RateLimiter:
    """Allow `rate` uses a second (0: any number), and `burst` seconds of them at once.

    Each use moves the moment up to which is paid. It may be `burst` seconds ahead of the clock at most.
    """

    __slots__ = ("_cost", "_paid", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._cost = 1 / rate if rate else 0.0
        self._paid = 0.0

    def allows(self, now: float) -> bool:
        """Return whether one use is allowed at `now`, and count it if so. `now` is in seconds and never goes backwards."""
        if self.until(now):
            return False
        self._paid = max(self._paid, now) + self._cost
        return True

    def until(self, now: float) -> float:
        """Return the seconds until one use is allowed, without counting it; 0.0: at once."""
        wait = max(self._paid, now) + self._cost - now - self.burst
        return wait if wait > ROUNDING and self._cost else 0.0

    def left(self, now: float) -> int:
        """Return how many uses are allowed at once at `now`. The rate is not 0."""
        return max(0, int((now + self.burst - max(self._paid, now) + ROUNDING) / self._cost))

    def full_in(self, now: float) -> float:
        """Return in how many seconds the whole burst is allowed again."""
        return max(0.0, self._paid - now)

    def wait(self, now: float) -> float:
        """Count one use and return 0.0 if it is allowed at `now`, else return the seconds until one is."""
        wait = self.until(now)
        if not wait:
            self.allows(now)
        return wait
