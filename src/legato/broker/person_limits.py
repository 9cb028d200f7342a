"""What one person may hold at once, and how often they may ask. No I/O, no clock: times come in as arguments.

A person is an authenticated user. A server without authentication has one person, who is not limited: it listens to its own
machine only.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from msgspec import Struct

from legato.broker.rate_limit import RateLimiter
from legato.errors import OverLimitError

LimitKind = Literal[
    "sockets",
    "event_streams",
    "replies",
    "uploads",
    "requests",
    "searches",
    "connections",
    "api_requests",
    "api_streams",
    "api_tokens",
]

LOG_SECONDS = 60.0
"""How often the log tells of the refusals of one kind to one person."""

TOLD = 10_000
"""How many persons and kinds are remembered for that."""

REQUEST_BURST_SECONDS = 10.0
"""How many seconds of requests a person may send at once."""


class PersonRules(Struct, frozen=True):
    """The limits for one person; None: no limit. `requests` is a minute, all others are at once.

    `replies` are those that run or wait, in all conversations. `event_streams` are responses that stream.
    """

    sockets: int | None = 200
    event_streams: int | None = 100
    replies: int | None = 100
    uploads: int | None = 8
    requests: int | None = 6000


class LimitRefusals:
    """Counts refusals, and says when one is to be logged: the first, then once a minute with their number."""

    def __init__(self) -> None:
        self.total: Counter[LimitKind] = Counter()
        self._told: dict[tuple[LimitKind, str], tuple[float, int]] = {}

    def add(self, kind: LimitKind, person: str, now: float) -> int:
        """Count a refusal at `now`, in seconds. Return how many to log now; 0: none."""
        self.total[kind] += 1
        since, silent = self._told.get((kind, person), (float("-inf"), 0))
        if now < since + LOG_SECONDS:
            self._told[kind, person] = (since, silent + 1)
            return 0
        if len(self._told) >= TOLD:
            self._told.clear()
        self._told[kind, person] = (now, 0)
        return silent + 1


class PersonLimits:
    """Counts what each person holds. Every `enter` that does not raise is followed by one `leave`.

    `clock` is in seconds. `log` is told of refusals: the kind, the person, and how many there were since the last time.
    """

    def __init__(
        self, rules: PersonRules, clock: Callable[[], float], log: Callable[[LimitKind, str, int], None]
    ) -> None:
        self.rules = rules
        self.refusals = LimitRefusals()
        self._clock = clock
        self._log = log
        self._held: dict[LimitKind, Counter[str]] = {}
        self._rates: dict[str, RateLimiter] = {}

    def enter(self, kind: LimitKind, person: str) -> None:
        """Count one more thing that a person holds.

        :raises OverLimitError: they hold as many as they may.
        """
        limit = self._limit(kind)
        held = self._held.setdefault(kind, Counter())
        if limit is not None and held[person] >= limit:
            raise self.refusal(kind, person, limit, 1.0)
        held[person] += 1

    def leave(self, kind: LimitKind, person: str) -> None:
        """Count one thing less."""
        held = self._held[kind]
        held[person] -= 1
        if held[person] <= 0:
            del held[person]

    @contextmanager
    def hold(self, kind: LimitKind, person: str) -> Iterator[None]:
        """Hold one thing while the block runs.

        :raises OverLimitError: they hold as many as they may.
        """
        self.enter(kind, person)
        try:
            yield
        finally:
            self.leave(kind, person)

    def check(self, kind: LimitKind, person: str, held: int) -> None:
        """Check that a person who holds `held` things may have one more.

        :raises OverLimitError: they may not.
        """
        limit = self._limit(kind)
        if limit is not None and held >= limit:
            raise self.refusal(kind, person, limit, 5.0)

    def request(self, person: str) -> None:
        """Count one request.

        :raises OverLimitError: there were too many within the last seconds.
        """
        limit = self.rules.requests
        if limit is None:
            return
        now = self._clock()
        limiter = self._rates.get(person)
        if limiter is None:
            if len(self._rates) >= TOLD:
                self._rates.clear()
            limiter = self._rates[person] = RateLimiter(limit / 60, REQUEST_BURST_SECONDS)
        if wait := limiter.wait(now):
            raise self.refusal("requests", person, limit, wait)

    def refusal(self, kind: LimitKind, person: str, limit: int, retry_after: float) -> OverLimitError:
        """Count and log a refusal, and return its error."""
        self.count_refusal(kind, person)
        return OverLimitError(_SENTENCES[kind].format(limit=limit), retry_after)

    def count_refusal(self, kind: LimitKind, person: str) -> None:
        """Count and log a refusal. The person of a connection is its address."""
        if count := self.refusals.add(kind, person, self._clock()):
            self._log(kind, person, count)

    def _limit(self, kind: LimitKind) -> int | None:
        limit: int | None = getattr(self.rules, kind)
        return limit


def unlimited() -> PersonLimits:
    """Return limits that nobody meets: those of a server without authentication."""
    return PersonLimits(
        PersonRules(None, None, None, None, None), lambda: 0.0, lambda kind, person, count: None
    )


_SENTENCES: dict[LimitKind, str] = {
    "searches": "{limit} of your searches wait. Wait until one is done.",
    "connections": "The server has {limit} connections, which is as many as it can hold. Try again in a moment.",
    "sockets": "You have {limit} connections open, which is as many as one person may. Close some first.",
    "event_streams": "You have {limit} streams open, which is as many as one person may. Close some first.",
    "replies": "{limit} replies to you run or wait, which is as many as one person may have. Wait for one to end.",
    "uploads": "{limit} of your files are being uploaded, which is as many as one person may at once. Wait for one to end.",
    "requests": "You sent too many requests: {limit} a minute are allowed. Wait a moment.",
}
