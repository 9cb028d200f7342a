from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.broker.memory import MemoryOneTimeValues
from legato.domain.user import User
from legato.errors import BusyError, UnauthenticatedError
from legato.gateway.tickets import Tickets, random_ticket

ANN, BOB = User("ann"), User("bob")


class Desk:
    """Tickets with numbers for names, and a clock that a test moves."""

    def __init__(self, *, per_user: int = 16, capacity: int = 10_000) -> None:
        numbers = count()
        self.now = 0.0
        self.values = MemoryOneTimeValues(lambda: self.now, capacity)
        self.tickets = Tickets(self.values, ttl=30.0, per_user=per_user, make=lambda: f"t{next(numbers)}")

    async def issue(self, user: User, now: float) -> str:
        self.now = now
        return await self.tickets.issue(user)

    async def take(self, ticket: str, now: float) -> User:
        self.now = now
        return await self.tickets.take(ticket)


async def test_a_ticket_is_its_users_once() -> None:
    desk = Desk()
    ticket = await desk.issue(ANN, 100.0)
    assert await desk.take(ticket, 110.0) == ANN
    with pytest.raises(UnauthenticatedError):
        await desk.take(ticket, 110.0)


async def test_it_gives_back_all_that_is_known_of_the_user() -> None:
    desk = Desk()
    user = User("ann", "Ann", frozenset({"chat"}), 4102444800.0)
    assert await desk.take(await desk.issue(user, 0.0), 1.0) == user


async def test_a_ticket_ends_after_its_time() -> None:
    desk = Desk()
    ticket = await desk.issue(ANN, 100.0)
    with pytest.raises(UnauthenticatedError, match="too old"):
        await desk.take(ticket, 130.0)


async def test_a_ticket_that_was_never_issued_is_refused() -> None:
    with pytest.raises(UnauthenticatedError):
        await Desk().take("t0", 0.0)


async def test_a_user_who_asks_too_often_loses_their_own_oldest() -> None:
    desk = Desk(per_user=2)
    theirs = await desk.issue(BOB, 0.0)
    first, second, third = [await desk.issue(ANN, 0.0) for _ in range(3)]
    with pytest.raises(UnauthenticatedError):
        await desk.take(first, 1.0)
    assert await desk.take(second, 1.0) == await desk.take(third, 1.0) == ANN
    assert await desk.take(theirs, 1.0) == BOB


async def test_there_is_room_again_when_old_ones_end() -> None:
    desk = Desk(capacity=2)
    await desk.issue(ANN, 0.0)
    await desk.issue(BOB, 10.0)
    with pytest.raises(BusyError):
        await desk.issue(ANN, 20.0)
    assert await desk.take(await desk.issue(ANN, 30.0), 31.0) == ANN


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
async def test_each_is_good_for_its_user_once_in_its_time_and_none_is_kept_for_long(
    steps: list[tuple[str, str, int, int]],
) -> None:
    desk = Desk(per_user=3, capacity=7)
    given_out: dict[str, tuple[str, float]] = {}
    taken: set[str] = set()
    now = 0.0
    for step, who, passes, which in steps:
        now += passes
        if step == "issue":
            try:
                given_out[await desk.issue(User(who), now)] = (who, now + 30)
            except BusyError:
                assert len(desk.values) == 7
            continue
        ticket = f"t{which}"
        try:
            user = await desk.take(ticket, now)
        except UnauthenticatedError:
            continue
        owner, ends = given_out[ticket]
        assert user.id == owner
        assert now < ends
        assert ticket not in taken
        taken.add(ticket)
    assert len(desk.values) <= 7
