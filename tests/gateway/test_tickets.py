from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.domain.user import User
from legato.errors import BusyError, UnauthenticatedError
from legato.gateway.tickets import Tickets, random_ticket

ANN, BOB = User("ann"), User("bob")


def numbered(**limits: int) -> Tickets:
    numbers = count()
    return Tickets(30.0, make=lambda: f"t{next(numbers)}", **limits)


def test_a_ticket_is_its_persons_once() -> None:
    tickets = numbered()
    ticket = tickets.issue(ANN, 100.0)
    assert tickets.take(ticket, 110.0) == ANN
    with pytest.raises(UnauthenticatedError):
        tickets.take(ticket, 110.0)


def test_a_ticket_ends_after_its_time() -> None:
    tickets = numbered()
    ticket = tickets.issue(ANN, 100.0)
    with pytest.raises(UnauthenticatedError, match="too old"):
        tickets.take(ticket, 130.0)


def test_an_invented_one_is_nobodys() -> None:
    with pytest.raises(UnauthenticatedError):
        numbered().take("t0", 0.0)


def test_a_person_who_asks_too_often_loses_their_own_oldest() -> None:
    tickets = numbered(each=2)
    theirs = tickets.issue(BOB, 0.0)
    first, second, third = (tickets.issue(ANN, 0.0) for _ in range(3))
    with pytest.raises(UnauthenticatedError):
        tickets.take(first, 1.0)
    assert tickets.take(second, 1.0) == tickets.take(third, 1.0) == ANN
    assert tickets.take(theirs, 1.0) == BOB


def test_there_is_room_again_when_old_ones_end() -> None:
    tickets = numbered(capacity=2)
    tickets.issue(ANN, 0.0)
    tickets.issue(BOB, 10.0)
    with pytest.raises(BusyError):
        tickets.issue(ANN, 20.0)
    assert tickets.take(tickets.issue(ANN, 30.0), 31.0) == ANN


def test_random_ones_hold_256_bits() -> None:
    assert len({random_ticket() for _ in range(100)}) == 100
    assert len(random_ticket()) >= 256 / 6


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["issue", "take"]), st.sampled_from("abc"), st.integers(0, 20), st.integers(0, 40)
        )
    )
)
def test_each_is_good_for_its_person_once_in_its_time_and_none_is_kept_for_long(
    steps: list[tuple[str, str, int, int]],
) -> None:
    tickets = numbered(each=3, capacity=7)
    given_out: dict[str, tuple[str, float]] = {}
    taken: set[str] = set()
    now = 0.0
    for step, who, passes, which in steps:
        now += passes
        if step == "issue":
            try:
                given_out[tickets.issue(User(who), now)] = (who, now + 30)
            except BusyError:
                assert len(tickets) == 7
            continue
        ticket = f"t{which}"
        try:
            person = tickets.take(ticket, now)
        except UnauthenticatedError:
            continue
        owner, ends = given_out[ticket]
        assert person.id == owner
        assert now < ends
        assert ticket not in taken
        taken.add(ticket)
    assert len(tickets) <= 7
