"""The breaker: who may try, and when."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from legato.engines.breaker import Breaker, Breakers, Permit


def admitted(breaker: Breaker, now: float) -> Permit:
    leave = breaker.admit(now)
    assert leave is not None
    return leave


def fail(breaker: Breaker, now: float, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(admitted(breaker, now), now, "no answer")


def test_it_opens_after_five_failures_in_a_row() -> None:
    breaker = Breaker()
    fail(breaker, 100, times=4)
    assert breaker.closed
    fail(breaker, 100)
    assert not breaker.closed
    assert breaker.admit(100) is None
    assert breaker.wait(101) == 4
    assert breaker.why == "no answer"


def test_a_success_in_between_begins_the_count_again() -> None:
    breaker = Breaker()
    for _ in range(10):
        fail(breaker, 0, times=4)
        breaker.succeeded(admitted(breaker, 0))
    assert breaker.closed


def test_it_tries_again_after_5_10_20_and_then_every_30_seconds() -> None:
    breaker, now, waits = Breaker(), 0.0, list[float]()
    fail(breaker, now, times=5)
    for _ in range(5):
        waits.append(breaker.wait(now))
        now += breaker.wait(now)
        fail(breaker, now)
    assert waits == [5, 10, 20, 30, 30]


def test_a_success_begins_the_waits_again() -> None:
    breaker = Breaker()
    fail(breaker, 0, times=5)
    fail(breaker, 5)
    assert breaker.wait(5) == 10
    breaker.succeeded(admitted(breaker, 15))
    fail(breaker, 15, times=5)
    assert breaker.wait(15) == 5


def test_only_one_is_on_trial() -> None:
    breaker = Breaker()
    fail(breaker, 0, times=5)
    assert breaker.admit(4.9) is None
    trial = admitted(breaker, 5)
    assert breaker.admit(5) is None
    assert breaker.wait(5) == 0
    breaker.succeeded(trial)
    assert breaker.closed
    fail(breaker, 6, times=4)
    assert breaker.closed


def test_a_trial_that_speaks_lets_the_others_in_on_probation() -> None:
    breaker = Breaker()
    fail(breaker, 0, times=5)
    trial = admitted(breaker, 5)
    breaker.spoke(trial)
    other = admitted(breaker, 6)
    breaker.failed(other, 7)
    assert breaker.wait(7) == 10
    breaker.succeeded(trial)
    assert not breaker.closed


def test_a_cancelled_trial_says_nothing() -> None:
    breaker = Breaker()
    fail(breaker, 0, times=5)
    breaker.released(admitted(breaker, 5))
    breaker.succeeded(admitted(breaker, 5))
    assert breaker.closed


def test_a_cancelled_attempt_counts_neither_way() -> None:
    breaker = Breaker()
    fail(breaker, 0, times=4)
    breaker.released(admitted(breaker, 0))
    fail(breaker, 0)
    assert not breaker.closed


def test_those_who_began_before_it_opened_do_not_move_it() -> None:
    breaker = Breaker()
    early, late = admitted(breaker, 0), admitted(breaker, 0)
    fail(breaker, 0, times=5)
    breaker.failed(early, 3)
    assert breaker.wait(3) == 2
    trial = admitted(breaker, 5)
    breaker.succeeded(late)
    breaker.spoke(late)
    breaker.released(late)
    assert breaker.admit(5) is None
    breaker.failed(trial, 6)
    assert breaker.wait(6) == 10


def test_a_first_word_of_an_ordinary_attempt_changes_nothing() -> None:
    breaker = Breaker()
    fail(breaker, 0, times=3)
    breaker.spoke(admitted(breaker, 0))
    fail(breaker, 0)
    assert breaker.closed
    fail(breaker, 0)
    assert not breaker.closed


def test_each_backend_has_its_own() -> None:
    breakers = Breakers(threshold=1)
    fail(breakers.of("ollama", "llama3"), 0)
    assert not breakers.of("ollama", "llama3").closed
    assert breakers.of("ollama", "phi3").closed
    assert breakers.of("openai", "llama3").closed


class Attempts(RuleBasedStateMachine):
    """Any number of attempts at once, ending in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(threshold=3, first=2, longest=8)
        self.now = 0.0
        self.running: list[tuple[Permit, bool]] = []

    def pick(self, data: st.DataObject) -> tuple[Permit, bool]:
        return self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))

    @property
    def trials(self) -> int:
        return sum(trial for _, trial in self.running)

    @rule(quarters=st.integers(0, 40))
    def time_passes(self, quarters: int) -> None:
        self.now += quarters / 4

    @rule()
    def ask(self) -> None:
        was_closed, wait = self.breaker.closed, self.breaker.wait(self.now)
        leave = self.breaker.admit(self.now)
        if was_closed:
            assert leave is not None
        elif leave is not None:
            assert wait == 0
            assert self.trials == 0
        if leave is not None:
            self.running.append((leave, not was_closed))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        leave, trial = self.pick(data)
        was_closed = self.breaker.closed
        self.breaker.failed(leave, self.now)
        if trial and not was_closed:
            assert 2 <= self.breaker.wait(self.now) <= 8
        if was_closed and not self.breaker.closed:
            assert 2 <= self.breaker.wait(self.now) <= 8

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        leave, trial = self.pick(data)
        self.breaker.succeeded(leave)
        if trial and self.trials == 0 and self.breaker.closed:
            assert self.breaker.admit(self.now) is not None

    @precondition(lambda self: self.trials)
    @rule()
    def trial_speaks(self) -> None:
        leave, _ = next(each for each in self.running if each[1])
        self.running = [each if each[0] != leave else (leave, False) for each in self.running]
        self.breaker.spoke(leave)
        assert self.breaker.closed

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        leave, trial = self.pick(data)
        was_closed = self.breaker.closed
        self.breaker.released(leave)
        assert self.breaker.closed == was_closed
        if trial:
            assert self.breaker.wait(self.now) == 0

    @invariant()
    def one_trial_at_a_time(self) -> None:
        assert self.trials <= 1
        if self.trials:
            assert not self.breaker.closed
            assert self.breaker.admit(self.now) is None

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        assert self.breaker.wait(self.now) <= 8
        if not self.breaker.closed and not self.trials:
            assert self.breaker.wait(self.now + 8) == 0


TestAttempts = Attempts.TestCase
