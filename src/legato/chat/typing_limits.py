"""How often the others are told that a user types. Pure state: the time is an argument, in seconds."""

from collections import OrderedDict

from legato.broker.rate_limit import RateLimiter

RATE = 1.0
"""Changes that are told in a second, for one user in one conversation."""

BURST = 6.0
"""Changes that are told at once, before the rate counts."""

REMEMBERED = 10_000
"""Users, each in one conversation, whose rate is remembered."""


class _Notices:
    __slots__ = ("limiter", "told")

    def __init__(self) -> None:
        self.limiter = RateLimiter(RATE, BURST / RATE)
        self.told = False


class TypingLimits:
    """What the others were told last of each user, and when they may be told more."""

    def __init__(self) -> None:
        self._notices: OrderedDict[tuple[str, str], _Notices] = OrderedDict()

    def tell(self, conversation: str, user: str, typing: bool, now: float) -> float | None:
        """Return 0.0 if `typing` is to be told now, else in how many seconds it may be; None if it was told last.

        With 0.0 it counts as told.
        """
        key = (conversation, user)
        notices = self._notices.setdefault(key, _Notices())
        self._notices.move_to_end(key)
        if len(self._notices) > REMEMBERED:
            self._notices.popitem(last=False)
        if notices.told == typing:
            return None
        wait = notices.limiter.wait(now)
        if not wait:
            notices.told = typing
        return wait
