"""A circuit breaker: a backend that keeps failing is left alone for a while. Pure; times are seconds of any one clock."""

from typing import NewType

Permit = NewType("Permit", int)
"""Leave to try the backend once. What came of it is told with the pass; a pass from before the breaker moved counts no more."""

_COUNTED = 2
"""Failures of one asker that count, at most, if the request may be why."""

_ASKERS = 1000


class Breaker:
    """The state of one backend.

    *Closed*, everyone may try. After `threshold` failures in a row it *opens*: nobody may, for `first` seconds. Then
    one may, on trial; if that fails it opens again for twice as long, up to `longest`. When the trial speaks its first
    word the others may try too, but the next failure opens it at once, until a reply has come to its end.

    Whoever was admitted tells exactly one of `succeeded`, `failed` and `released` in the end.
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
        """Leave to try the backend now, or None."""
        if self._open_until is None:
            return self._pass
        if self._trial or now < self._open_until:
            return None
        self._trial = True
        self._pass = Permit(self._pass + 1)
        return self._pass

    def wait(self, now: float) -> float:
        """Seconds until somebody may try again; 0 where somebody may, or does so right now."""
        if self._open_until is None or self._trial:
            return 0.0
        return max(0.0, self._open_until - now)

    def spoke(self, admitted: Permit) -> None:
        """The first word came."""
        if admitted == self._pass and self._trial:
            self._trial = False
            self._open_until = None
            self._failures = self._threshold - 1

    def succeeded(self, admitted: Permit) -> None:
        """The backend answered as it should, be it by a refusal."""
        if admitted == self._pass:
            self._trial = False
            self._open_until = None
            self._failures = 0
            self._delay = self._first
            self._by.clear()
            self._alone = True

    def failed(self, admitted: Permit, now: float, why: str = "", by: str | None = None) -> None:
        """Note that the backend could not be reached, was silent, or broke.

        `by` names who asked, if the request itself may be why. Failures of one asker count twice at most, and do not open
        the breaker alone: a prompt that a backend cannot take must not close it to everybody.
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
        """It was not found out: the attempt was cancelled. The next one may try instead."""
        if admitted == self._pass and self._trial:
            self._trial = False
            self._pass = Permit(self._pass + 1)


class Breakers:
    """The breakers of all backends, shared by everything that tries them. A backend is an engine's name and a model's."""

    def __init__(self, threshold: int = 5, first: float = 5.0, longest: float = 30.0) -> None:
        self._settings = (threshold, first, longest)
        self._breakers: dict[tuple[str, str], Breaker] = {}

    def of(self, engine: str, model: str) -> Breaker:
        """The breaker of this backend, closed where there was none."""
        breaker = self._breakers.get((engine, model))
        if breaker is None:
            breaker = self._breakers[engine, model] = Breaker(*self._settings)
        return breaker
