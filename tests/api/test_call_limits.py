"""The limits of callers, with virtual time: no stretch of time has more than a limit, and nothing is lost or counted twice."""

from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.api.call_limits import (
    DAY_SECONDS,
    REMEMBERED,
    CallLimitError,
    CallLimits,
    CallRules,
    Limited,
    rules_of_key,
)
from legato.gateway.rate_limit_headers import duration

NOW = 1_000_000.0
limits = st.none() | st.integers(1, 50)
steps = st.lists(st.floats(0, 30), max_size=100)


def takes(core: CallLimits, limited: list[Limited], now: float) -> bool:
    with suppress(CallLimitError):
        core.request(limited, now)
        return True
    return False


@given(limits, limits, steps)
def test_no_stretch_of_time_has_more_requests_than_its_limit_and_one_burst(
    user: int | None, key: int | None, waits: list[float]
) -> None:
    core, now, taken = CallLimits(), NOW, []
    limited = [("user", CallRules(user)), ("key", CallRules(key))]
    known = [each for each in (user, key) if each is not None]
    for wait in waits:
        now += wait
        state = core.requests(limited, now)
        assert (state is None) == (not known)
        if state is not None:
            assert takes(core, limited, now) == (state.remaining > 0)
            if state.remaining:
                taken.append(now)
                after = core.requests(limited, now)
                assert after is not None
                assert after.remaining == state.remaining - 1
        else:
            assert takes(core, limited, now)
    for first, start in enumerate(taken):
        assert len(taken) - first <= min(known) * (1 + (now - start) / 60) + 1e-6


@given(st.integers(1, 500))
def test_a_whole_minute_of_requests_may_come_at_once_and_then_one_at_a_time(limit: int) -> None:
    core, limited = CallLimits(), [("user", CallRules(limit))]
    assert all(takes(core, limited, NOW) for _ in range(limit))
    with pytest.raises(CallLimitError) as caught:
        core.request(limited, NOW)
    assert caught.value.retry_after == pytest.approx(60 / limit)
    assert takes(core, limited, NOW + caught.value.retry_after)
    assert not takes(core, limited, NOW + caught.value.retry_after)
    state = core.requests(limited, NOW + 1000)
    assert state is not None
    assert (state.limit, state.remaining, state.reset) == (limit, limit, 0)


def test_a_request_that_a_key_refuses_does_not_count_for_its_user() -> None:
    core = CallLimits()
    user, key = ("user", CallRules(2)), ("key", CallRules(1))
    assert takes(core, [user, key], NOW)
    assert not takes(core, [user, key], NOW)
    assert takes(core, [user], NOW)
    assert not takes(core, [user], NOW)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=80),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_no_more_streams_run_than_a_user_and_a_key_may_have(
    calls: list[tuple[str, bool]], user: int, key: int
) -> None:
    core, running = CallLimits(), Counter[str]()
    for name, begins in calls:
        limited = [("user", CallRules(streams=user)), (name, CallRules(streams=key))]
        if begins:
            room = running.total() < user and running[name] < key
            try:
                core.enter(limited)
            except CallLimitError:
                assert not room
            else:
                assert room
                running[name] += 1
        elif running[name]:
            core.leave(limited)
            running[name] -= 1
    assert not core._streams or running.total()


@given(
    st.lists(st.tuples(st.integers(0, 200), st.floats(0, DAY_SECONDS / 4)), max_size=40), st.integers(1, 300)
)
def test_the_tokens_of_a_day_are_its_own(calls: list[tuple[int, float]], limit: int) -> None:
    core, moment, used = CallLimits(), 0.0, Counter[int]()
    limited = [("user", CallRules(tokens_per_day=limit))]
    for tokens, wait in calls:
        moment += wait
        day = int(moment // DAY_SECONDS)
        if not core.knows_tokens("user", moment):
            core.load_tokens("user", moment, used[day])
        state = core.tokens(limited, moment)
        assert state is not None
        assert state.remaining == max(0, limit - used[day])
        assert moment + state.reset == pytest.approx((day + 1) * DAY_SECONDS)
        if used[day] >= limit:
            with pytest.raises(CallLimitError) as caught:
                core.check_tokens(limited, moment)
            assert caught.value.retry_after == state.reset
        else:
            core.check_tokens(limited, moment)
            core.spend("user", moment, tokens)
            used[day] += tokens


def test_the_names_that_are_remembered_are_bounded() -> None:
    core = CallLimits()
    for number in range(REMEMBERED + 10):
        limited = [(str(number), CallRules(5, 5, 5))]
        core.request(limited, NOW)
        core.load_tokens(str(number), NOW, 1)
    assert len(core._requests) == len(core._tokens) == REMEMBERED


@pytest.mark.parametrize(
    ("user", "own", "of_user", "of_key"),
    [
        (CallRules(10), {}, 10, None),
        (CallRules(10), {"requests_per_minute": 5}, 10, 5),
        (CallRules(10), {"requests_per_minute": 50}, None, 50),
        (CallRules(10), {"requests_per_minute": 0}, None, None),
        (CallRules(), {"requests_per_minute": 5}, None, 5),
    ],
)
def test_a_higher_limit_of_a_key_replaces_that_of_its_user(
    user: CallRules, own: dict[str, int], of_user: int | None, of_key: int | None
) -> None:
    found = rules_of_key(user, own)
    assert [each.requests_per_minute for each in found] == [of_user, of_key]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.1201, "121ms"), (1.5, "1.5s"), (60, "1m0s"), (360.2, "6m1s"), (48005, "13h20m5s")],
)
def test_times_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text
