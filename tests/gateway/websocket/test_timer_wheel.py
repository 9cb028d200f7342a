"""One timer for everything: each is looked at when it asked for, not before, and not much later."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.gateway.websocket.timer_wheel import TimerClock, TimerWheel


class Item:
    def __init__(self, wheel: TimerWheel, *answers: float) -> None:
        self.slot = 0
        self.wheel = wheel
        self.looks: list[float] = []
        self.answers = list(answers)

    def due(self) -> float:
        self.looks.append(self.wheel.now)
        return self.answers.pop(0) if self.answers else 0


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.1, 5), st.lists(st.floats(0, 1), max_size=50))
def test_nothing_is_looked_at_before_its_time_or_a_tick_after(
    times: list[float], tick: float, pace: list[float]
) -> None:
    wheel = TimerWheel(tick)
    items = []
    for part in pace:
        wheel.advance(part * tick)
    began = wheel.now
    for seconds in times:
        items.append((seconds, item := Item(wheel)))
        wheel.watch(item, seconds)
    while len(wheel):
        wheel.advance(tick / 2)
    for seconds, item in items:
        (look,) = item.looks
        assert began + seconds - 1e-9 <= look <= began + seconds + 1.5 * tick + 1e-9


def test_the_answer_says_when_to_look_again() -> None:
    wheel = TimerWheel(1.0)
    item = Item(wheel, 2.0, 3.0, 0.0)
    wheel.watch(item, 1.0)
    for _ in range(20):
        wheel.advance(1.0)
    assert item.looks == [1.0, 3.0, 6.0]
    assert not len(wheel)


def test_what_is_forgotten_is_not_looked_at() -> None:
    wheel = TimerWheel(1.0)
    first, second = Item(wheel), Item(wheel)
    wheel.watch(first, 1.0)
    wheel.watch(second, 1.0)
    wheel.forget(first)
    wheel.forget(first)
    wheel.advance(1.0)
    assert (first.looks, second.looks) == ([], [1.0])


def test_the_last_wish_counts() -> None:
    wheel = TimerWheel(1.0)
    item = Item(wheel)
    wheel.watch(item, 1.0)
    wheel.watch(item, 3.0)
    for _ in range(5):
        wheel.advance(1.0)
    assert item.looks == [3.0]


def test_one_may_forget_another_that_is_due_as_well() -> None:
    wheel = TimerWheel(1.0)
    items: list[Item] = []

    class Jealous(Item):
        def due(self) -> float:
            for other in items:
                if other is not self:
                    wheel.forget(other)
            return super().due()

    items += [Jealous(wheel), Jealous(wheel)]
    for item in items:
        wheel.watch(item, 1.0)
    wheel.advance(1.0)
    assert sum(len(item.looks) for item in items) == 1


def test_time_that_the_loop_slept_through_is_no_silence() -> None:
    wheel = TimerWheel(1.0)
    item = Item(wheel)
    wheel.watch(item, 30.0)
    wheel.advance(3600.0)
    assert not item.looks
    assert wheel.now == 2.0


def test_one_that_fails_is_logged_and_the_others_are_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    wheel = TimerWheel(1.0)

    class Broken(Item):
        def due(self) -> float:
            raise ValueError("out of order")

    broken, whole = Broken(wheel), Item(wheel)
    wheel.watch(broken, 1.0)
    wheel.watch(whole, 1.0)
    wheel.advance(1.0)
    assert whole.looks == [1.0]
    assert "out of order" in caplog.text


async def test_a_clock_turns_only_while_there_is_something_to_look_at() -> None:
    clock = TimerClock(0.001)
    for _ in range(2):
        seen = asyncio.Event()

        class Waiting(Item):
            def due(self, seen: asyncio.Event = seen) -> float:
                seen.set()
                return 0

        clock.watch(Waiting(clock), 0.002)
        assert clock.turning
        await seen.wait()
        while clock.turning:
            await asyncio.sleep(0)
