import random
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from legato.client.heartbeat import HeartbeatTimer, backoff


def test_the_delays_double_up_to_half_a_minute() -> None:
    assert list(islice(backoff(lambda: 0.0), 7)) == [1, 2, 4, 8, 16, 30, 30]


def test_jitter_shortens_the_delays_by_up_to_a_half() -> None:
    assert list(islice(backoff(lambda: 1.0), 3)) == [0.5, 1, 2]
    many = list(islice(backoff(random.Random(1).random), 200))
    assert len(set(many)) == 200
    assert max(many) <= 30


def test_silence_is_one_ping_and_then_death() -> None:
    timer = HeartbeatTimer(100.0, 20.0)
    assert (timer.action(119.0), timer.seconds_until_action(119.0)) == (None, 1.0)
    assert (timer.action(120.0), timer.seconds_until_action(120.0)) == ("ping", 10.0)
    assert (timer.action(129.0), timer.seconds_until_action(129.0)) == (None, 1.0)
    assert timer.action(130.0) == "dead"


def test_any_frame_is_a_sign_of_life() -> None:
    timer = HeartbeatTimer(100.0, 20.0)
    assert timer.action(120.0) == "ping"
    timer.received(125.0)
    assert (timer.action(144.0), timer.action(145.0)) == (None, "ping")


@given(st.floats(0.01, 1e3), st.lists(st.tuples(st.booleans(), st.floats(0, 1e3)), max_size=50))
def test_an_action_is_due_after_the_seconds_until_it(quiet: float, steps: list[tuple[bool, float]]) -> None:
    now = 0.0
    timer = HeartbeatTimer(now, quiet)
    for heard, passes in steps:
        now += passes
        if heard:
            timer.received(now)
        now += timer.seconds_until_action(now)
        # Adding seconds up rounds.
        assert timer.action(now + 1e-6) in ("ping", "dead")
