"""How much callers of the APIs may ask for: requests a minute, streams at once, tokens a day. No I/O, no clock.

What is limited has a name, such as a user or a key. Moments of requests are in seconds of a clock that never goes backwards;
moments of tokens are in seconds since the epoch, and a day is one of UTC.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from legato.broker.rate_limit import RateLimiter
from legato.errors import OverLimitError

REMEMBERED = 10_000
"""How many names are remembered for each kind of limit. The names that were used longest ago are forgotten first."""

DAY_SECONDS = 86_400
BURST_SECONDS = 60.0

CallLimitKind = Literal["api_requests", "api_streams", "api_tokens"]

LIMIT_NAMES = ("requests_per_minute", "streams", "tokens_per_day")
"""The names of the limits, as in the settings and in a key."""


class CallRules(Struct, frozen=True):
    """The limits of one name; None: no limit."""

    requests_per_minute: int | None = None
    streams: int | None = None
    tokens_per_day: int | None = None


Limited = tuple[str, CallRules]
"""A name with its limits. A call can count for several: its user and its key."""


class LimitState(Struct, frozen=True):
    """One limit as it is now. `reset` is in how many seconds all of it is there again."""

    limit: int
    remaining: int
    reset: float


class CallLimitError(OverLimitError):
    """A limit is reached. `kind` is which, `name` is whose."""

    def __init__(self, message: str, retry_after: float, kind: CallLimitKind, name: str) -> None:
        super().__init__(message, retry_after)
        self.kind = kind
        self.name = name


def rules_of_key(user: CallRules, own: Mapping[str, int]) -> tuple[CallRules, CallRules]:
    """Return the limits of a user for a call with a key, and those of the key. `own` are the limits of the key; 0 is none.

    A limit of the key that is lower than the user's counts beside it. A higher one replaces it.
    """
    users: dict[str, int | None] = {}
    keys: dict[str, int | None] = {}
    for name in LIMIT_NAMES:
        limit: int | None = getattr(user, name)
        key = own.get(name)
        replaces = key is not None and (key == 0 or limit is None or key > limit)
        users[name] = None if replaces else limit
        keys[name] = key or None
    return CallRules(**users), CallRules(**keys)


def day_of(moment: float) -> int:
    """Return the number of the day of a moment, in UTC."""
    return int(moment // DAY_SECONDS)


class CallLimits:
    """Counts what each name uses. Every `enter` that does not raise is followed by one `leave`."""

    def __init__(self) -> None:
        self._requests: OrderedDict[str, RateLimiter] = OrderedDict()
        self._streams: Counter[str] = Counter()
        self._tokens: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def request(self, limited: Sequence[Limited], now: float) -> None:
        """Count one request for each name.

        :raises CallLimitError: there were too many. Then it is not counted.
        """
        limiters = [(name, limit, self._limiter(name, limit)) for name, limit in _per_minute(limited)]
        for name, limit, limiter in limiters:
            if wait := limiter.until(now):
                raise CallLimitError(
                    f"You sent too many requests: {limit} a minute are allowed. Wait a moment.",
                    wait,
                    "api_requests",
                    name,
                )
        for _, _, limiter in limiters:
            limiter.allows(now)

    def requests(self, limited: Sequence[Limited], now: float) -> LimitState | None:
        """Return the limit of requests of which the fewest are left, None without a limit."""
        states = [
            LimitState(limit, limiter.left(now), limiter.full_in(now))
            for name, limit in _per_minute(limited)
            for limiter in (self._limiter(name, limit),)
        ]
        return min(states, key=lambda each: (each.remaining, -each.reset), default=None)

    def enter(self, limited: Sequence[Limited]) -> None:
        """Count one stream more for each name.

        :raises CallLimitError: they have as many as they may. Then it is not counted.
        """
        for name, rules in limited:
            if rules.streams is not None and self._streams[name] >= rules.streams:
                raise CallLimitError(
                    f"{rules.streams} of your requests are being answered, which is as many as may be at once. "
                    "Wait for one to end.",
                    1.0,
                    "api_streams",
                    name,
                )
        self._streams.update(name for name, _ in limited)

    def leave(self, limited: Sequence[Limited]) -> None:
        """Count one stream less for each name."""
        for name, _ in limited:
            self._streams[name] -= 1
            if self._streams[name] <= 0:
                del self._streams[name]

    def knows_tokens(self, name: str, moment: float) -> bool:
        """Return whether the use of a name on this day was loaded."""
        day, _ = self._tokens.get(name, (-1, 0))
        return day == day_of(moment)

    def load_tokens(self, name: str, moment: float, tokens: int) -> None:
        """Set how many tokens a name has used on this day."""
        self._tokens[name] = (day_of(moment), tokens)
        self._tokens.move_to_end(name)
        if len(self._tokens) > REMEMBERED:
            self._tokens.popitem(last=False)

    def spend(self, name: str, moment: float, tokens: int) -> None:
        """Count tokens for a name whose use of this day was loaded. Others load it later."""
        if self.knows_tokens(name, moment):
            self.load_tokens(name, moment, self._tokens[name][1] + tokens)

    def check_tokens(self, limited: Sequence[Limited], moment: float) -> None:
        """Check that each name has tokens left on this day. A call that began with one left may use more than that.

        :raises CallLimitError: one has used as many as it may.
        """
        for name, limit in _per_day(limited):
            if self._used(name, moment) >= limit:
                raise CallLimitError(
                    f"You have used the {limit} tokens of this day. The next day begins at midnight UTC.",
                    _until_midnight(moment),
                    "api_tokens",
                    name,
                )

    def tokens(self, limited: Sequence[Limited], moment: float) -> LimitState | None:
        """Return the limit of tokens of which the fewest are left, None without a limit."""
        reset = _until_midnight(moment)
        states = [
            LimitState(limit, max(0, limit - self._used(name, moment)), reset)
            for name, limit in _per_day(limited)
        ]
        return min(states, key=lambda each: each.remaining, default=None)

    def _used(self, name: str, moment: float) -> int:
        return self._tokens[name][1] if self.knows_tokens(name, moment) else 0

    def _limiter(self, name: str, limit: int) -> RateLimiter:
        limiter = self._requests.get(name)
        if limiter is None or limiter.rate != limit / BURST_SECONDS:
            limiter = self._requests[name] = RateLimiter(limit / BURST_SECONDS, BURST_SECONDS)
            if len(self._requests) > REMEMBERED:
                self._requests.popitem(last=False)
        self._requests.move_to_end(name)
        return limiter


def _per_minute(limited: Sequence[Limited]) -> Iterator[tuple[str, int]]:
    return (
        (name, each.requests_per_minute) for name, each in limited if each.requests_per_minute is not None
    )


def _per_day(limited: Sequence[Limited]) -> Iterator[tuple[str, int]]:
    return ((name, each.tokens_per_day) for name, each in limited if each.tokens_per_day is not None)


def _until_midnight(moment: float) -> float:
    return (day_of(moment) + 1) * DAY_SECONDS - moment
