"""A circuit breaker: a backend that keeps failing is not used for a while. It does no I/O; times are seconds of any one clock."""

from typing import NewType

Permit = NewType("Permit", int)
"""Permission to try the backend once, to be passed on with the result. A permit from before a change of the breaker has no effect."""

_COUNTED = 2
"""Maximum failures of one user that count, if the request may be the reason."""

_ASKERS = 1000


class Breaker:
    """The state of one backend.

    *Closed*: everyone may try. After `threshold` failures in a row it *opens*: no one may try for `first` seconds. Then one
    request may try; if it fails, the breaker opens again for twice as long, up to `longest`. When this request gets its first
    text, others may try too, but the next failure opens the breaker at once, until a reply has been completed.

    The holder of a permit calls exactly one of `succeeded`, `failed` and `released` at the end.
    """

    __slots__ = (
        "_alone",
        "_by",
        "_delay",
        "_failures",
        "_first",
        "_longest",
        "_open_until",
        "_pass",
        "_threshold",
        "_trial",
        "why",
    )

    def __init__(self, threshold: int = 5, first: float = 5.0, longest: float = 30.0) -> None:
        self._threshold = threshold
        self._first = first
        self._longest = longest
        self._failures = 0
        self._delay = first
        self._open_until: float | None = None
        self._trial = False
        self._pass = Permit(0)
        self._by: dict[str, int] = {}
        self._alone = True
        self.why = ""
        """What the last failure said."""

    @property
    def closed(self) -> bool:
        """Whether everyone may try."""
        return self._open_until is None

    def admit(self, now: float) -> Permit | None:
        """Return a permit to try the backend now, or None."""
        if self._open_until is None:
            return self._pass
        if self._trial or now < self._open_until:
            return None
        self._trial = True
        self._pass = Permit(self._pass + 1)
        return self._pass

    def wait(self, now: float) -> float:
        """Return the seconds until a request may try again; 0 if one may, or is trying now."""
        if self._open_until is None or self._trial:
            return 0.0
        return max(0.0, self._open_until - now)

    def spoke(self, admitted: Permit) -> None:
        """Record that the first text arrived."""
        if admitted == self._pass and self._trial:
            self._trial = False
            self._open_until = None
            self._failures = self._threshold - 1

    def succeeded(self, admitted: Permit) -> None:
        """Record that the backend answered properly; a refusal counts as proper."""
        if admitted == self._pass:
            self._trial = False
            self._open_until = None
            self._failures = 0
            self._delay = self._first
            self._by.clear()
            self._alone = True

    def failed(self, admitted: Permit, now: float, why: str = "", by: str | None = None) -> None:
        """Record that the backend could not be reached, was silent, or broke.

        `by` is the user, if the request itself may be the reason. Failures of one user count at most twice, and do not open the
        breaker alone: a prompt that a backend cannot handle must not block the backend for all users.
        """
        if admitted != self._pass:
            return
        self.why = why
        if by is None:
            self._alone = False
        elif len(self._by) < _ASKERS:
            self._by[by] = self._by.get(by, 0) + 1
        if by is not None and (self._by.get(by, 0) > _COUNTED or (self._alone and len(self._by) < 2)):
            self._failures += self._by.get(by, 0) <= _COUNTED
            self.released(admitted)
            return
        self._failures += 1
        if self._trial or self._failures >= self._threshold:
            self._trial = False
            self._open_until = now + self._delay
            self._delay = min(self._delay * 2, self._longest)
            self._pass = Permit(self._pass + 1)

    def released(self, admitted: Permit) -> None:
        """Record that the result is unknown, because the attempt was cancelled. The next request may try instead."""
        if admitted == self._pass and self._trial:
            self._trial = False
            self._pass = Permit(self._pass + 1)


class Breakers:
    """The breakers of all backends, shared by all who use them. A backend is the name of an engine and of a model."""

    def __init__(self, threshold: int = 5, first: float = 5.0, longest: float = 30.0) -> None:
        self._settings = (threshold, first, longest)
        self._breakers: dict[tuple[str, str], Breaker] = {}

    def of(self, engine: str, model: str) -> Breaker:
        """Return the breaker of this backend, a closed one at first."""
        breaker = self._breakers.get((engine, model))
        if breaker is None:
            breaker = self._breakers[engine, model] = Breaker(*self._settings)
        return breaker
