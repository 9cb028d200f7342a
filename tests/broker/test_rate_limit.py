"""A rate is kept over every stretch of time, and a burst is what it says."""

from hypothesis import given
from hypothesis import strategies as st

from legato.broker.rate_limit import RateLimiter


@given(st.floats(1, 1000), st.floats(0.1, 5), st.lists(st.floats(0, 0.5), max_size=300))
def test_no_stretch_of_time_has_more_than_its_rate_and_one_burst(
    rate: float, burst: float, steps: list[float]
) -> None:
    pace, now, allowed = RateLimiter(rate, burst), 0.0, []
    for step in steps:
        now += step
        while pace.allows(now):
            allowed.append(now)
    for start in range(0, len(allowed), 50):
        stretch = now - allowed[start]
        assert len(allowed) - start <= rate * (stretch + burst) + 1


@given(st.integers(1, 500), st.integers(1, 4))
def test_a_burst_is_allowed_at_once_and_no_more(rate: int, burst: int) -> None:
    pace = RateLimiter(rate, burst + 0.5 / rate)
    assert [pace.allows(7.0) for _ in range(rate * burst + 1)] == [True] * rate * burst + [False]


def test_one_that_keeps_to_the_rate_is_never_refused() -> None:
    pace = RateLimiter(10, 0.2)
    assert all(pace.allows(n / 10) for n in range(1000))


def test_rate_zero_is_no_rate() -> None:
    pace = RateLimiter(0, 1)
    assert all(pace.allows(0.0) for _ in range(1000))


@given(st.floats(0.1, 1000), st.floats(0.1, 5), st.lists(st.floats(0, 0.5), max_size=100))
def test_whoever_waits_as_long_as_it_says_is_allowed(rate: float, burst: float, steps: list[float]) -> None:
    limiter, now = RateLimiter(rate, burst + 1 / rate), 0.0
    for step in steps:
        now += step
        seconds = limiter.wait(now)
        assert seconds >= 0.0
        if seconds:
            assert limiter.wait(now + seconds + 1e-6) == 0.0
            now += seconds + 1e-6
