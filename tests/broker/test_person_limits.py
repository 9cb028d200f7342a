"""What one person may hold and ask for."""

import pytest

from legato.broker.person_limits import LOG_SECONDS, LimitKind, PersonLimits, PersonRules
from legato.errors import OverLimitError

Logged = list[tuple[LimitKind, str, int]]


def limits(rules: PersonRules, now: list[float] | None = None) -> tuple[PersonLimits, Logged]:
    logged: Logged = []
    return PersonLimits(rules, lambda: (now or [0.0])[0], lambda *line: logged.append(line)), logged


def test_one_person_meets_the_limit_and_another_does_not() -> None:
    held, logged = limits(PersonRules(sockets=2))
    held.enter("sockets", "ann")
    held.enter("sockets", "ann")
    with pytest.raises(OverLimitError, match="2 connections open"):
        held.enter("sockets", "ann")
    held.enter("sockets", "bob")
    held.leave("sockets", "ann")
    held.enter("sockets", "ann")
    assert logged == [("sockets", "ann", 1)]


def test_what_is_held_in_a_block_is_given_back_after_an_error() -> None:
    held, _ = limits(PersonRules(uploads=1))
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), held.hold("uploads", "ann"):
            raise ValueError("x")
    with held.hold("uploads", "ann"), pytest.raises(OverLimitError), held.hold("uploads", "ann"):
        pass


def test_requests_have_a_rate_and_a_burst() -> None:
    now = [0.0]
    held, _ = limits(PersonRules(requests=60), now)
    for _ in range(10):
        held.request("ann")
    with pytest.raises(OverLimitError) as caught:
        held.request("ann")
    assert caught.value.retry_after == pytest.approx(1.0)
    held.request("bob")
    now[0] = 1.0
    held.request("ann")


def test_the_log_tells_once_a_minute_how_many_were_refused() -> None:
    now = [0.0]
    held, logged = limits(PersonRules(replies=0), now)
    for _ in range(5):
        with pytest.raises(OverLimitError):
            held.check("replies", "ann", 3)
    now[0] = LOG_SECONDS
    with pytest.raises(OverLimitError):
        held.check("replies", "ann", 3)
    assert logged == [("replies", "ann", 1), ("replies", "ann", 5)]
    assert held.refusals.total["replies"] == 6


def test_none_is_no_limit() -> None:
    held, logged = limits(PersonRules(None, None, None, None, None))
    for _ in range(500):
        held.enter("sockets", "ann")
        held.request("ann")
    held.check("replies", "ann", 10_000)
    assert logged == []
