"""One formula for every pause before something is tried again."""

import math

import pytest

from legato.backoff import exponential_delay


def test_each_failure_doubles_the_delay_up_to_the_longest():
    assert [exponential_delay(n, 0.5, 30.0) for n in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert exponential_delay(3, 0.25) == 2


@pytest.mark.parametrize(("shortened", "seconds"), [(0.0, 8.0), (0.5, 6.0), (1.0, 4.0)])
def test_chance_takes_up_to_a_half_of_it(shortened, seconds):
    assert exponential_delay(3, 1.0, shortened=shortened) == seconds


def test_any_number_of_failures_gives_a_delay():
    assert exponential_delay(1_000_000, 0.5, 30.0) == 30.0
    assert math.isfinite(exponential_delay(1_000_000, 0.5))
