"""How often something may happen, by the generic cell rate algorithm (GCRA): one number, no timer."""


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
        paid = max(self._paid, now) + self._cost
        if paid > now + self.burst and self._cost:
            return False
        self._paid = paid
        return True

    def until(self, now: float) -> float:
        """Return the seconds until one use is allowed, without counting it; 0.0: at once."""
        return max(0.0, max(self._paid, now) + self._cost - now - self.burst)

    def wait(self, now: float) -> float:
        """Count one use and return 0.0 if it is allowed at `now`, else return the seconds until one is."""
        return 0.0 if self.allows(now) else max(self._paid, now) + self._cost - now - self.burst
