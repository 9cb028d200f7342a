"""How often it is told that a user types."""

from hypothesis import given
from hypothesis import strategies as st

from legato.chat import typing_limits
from legato.chat.typing_limits import BURST, RATE, TypingLimits


def test_the_same_is_told_once() -> None:
    limits = TypingLimits()
    assert limits.tell("c", "ada", False, 1) is None
    assert limits.tell("c", "ada", True, 1) == 0
    assert limits.tell("c", "ada", True, 2) is None
    assert limits.tell("c", "bob", True, 2) == 0
    assert limits.tell("d", "ada", True, 2) == 0


@given(st.lists(st.tuples(st.floats(0, 0.3), st.booleans()), max_size=200))
def test_changes_are_told_at_a_bounded_rate(changes: list[tuple[float, bool]]) -> None:
    limits, now, told = TypingLimits(), 100.0, []
    for later, typing in changes:
        now += later
        if (wait := limits.tell("c", "ada", typing, now)) == 0:
            told.append(typing)
        elif wait is not None:
            assert limits.tell("c", "ada", typing, now + wait + 0.001) == 0
            now, told = now + wait + 0.001, [*told, typing]
    assert len(told) <= BURST + RATE * (now - 100.0) + 1
    assert told == [n % 2 == 0 for n in range(len(told))]


def test_no_more_than_so_many_are_remembered() -> None:
    limits = TypingLimits()
    for n in range(typing_limits.REMEMBERED + 1):
        limits.tell("c", str(n), True, 1)
    assert len(limits._notices) == typing_limits.REMEMBERED
