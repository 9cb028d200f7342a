"""How often something may happen, by the generic cell rate algorithm: one number, no timer."""


class FrameRateLimiter:
    """`rate` times a second for long (0: as often as it likes), `burst` seconds of it at once.

    Each time moves the moment up to which is paid; it may be `burst` seconds ahead of the clock at most.
    """

    __slots__ = ("_ahead", "_cost", "_paid")

    def __init__(self, rate: float, burst: float) -> None:
        self._cost = 1 / rate if rate else 0.0
        self._ahead = burst
        self._paid = 0.0

    def allows(self, now: float) -> bool:
        """Whether it may happen at `now`, in seconds of any clock that never goes backwards; if so, it counts."""
        paid = max(self._paid, now) + self._cost
        if paid > now + self._ahead and self._cost:
            return False
        self._paid = paid
        return True
