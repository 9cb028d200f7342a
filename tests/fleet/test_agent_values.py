"""Whatever a rogue agent says of itself and its jobs, people are shown it within limits, in both versions of the protocol."""

from typing import Any

import msgspec
import pytest
from tests.fleet.test_agent_connection import Wire, text

from legato.domain.validation import is_visible
from legato.engines.base import Capabilities, ToolCall
from legato.fleet import job_attempt
from legato.fleet.agent_connection import REFUSAL_LENGTH
from legato.fleet.agent_values import (
    DETAIL_LENGTH,
    ERROR_LENGTH,
    HELD_JOBS,
    KEY_LENGTH,
    VERSION_LENGTH,
    clean_end,
    clean_held,
    clean_models,
    clean_progress,
    clean_state,
    clean_version,
)
from legato.fleet.protocol import HeldJob, JobEnded, JobFailed, ModelInfo
from legato.stream import State, Timings, Usage

ROGUE = "\x1b[2J\u202egpj\u200b.exe\n\0" + "x" * 100_000


@pytest.mark.parametrize("protocol", [1, 2])
def test_a_version_and_models_of_any_kind(protocol: int) -> None:
    wire = Wire(
        protocol,
        version=ROGUE,
        facts=[
            {
                "name": "m",
                "size": -1,
                "context": 10**30,
                "can": {"context": -5, "image_types": [ROGUE] * 1000},
            },
            {"name": "evil\u202e"},
            {"name": " "},
        ],
    )
    assert wire.closed is None
    assert wire.registered_models == ["m"]
    wire.hear({"type": "models", "facts": [{"name": "n"}, {"name": "\x1b[31m"}]})
    assert wire.handler.calls == [("models", ["n"])]


def test_the_version_is_one_short_line() -> None:
    version = clean_version(ROGUE)
    assert version is not None
    assert len(version) <= VERSION_LENGTH
    assert is_visible(version)
    assert (clean_version(None), clean_version("\u202e"), clean_version("0.1.0")) == (None, None, "0.1.0")


def test_numbers_of_a_model_are_those_that_can_be_true() -> None:
    can = Capabilities(context=0, image_types=("image/png", ROGUE))
    [model] = clean_models([ModelInfo("m", size=2**80, context=-1, can=can)])
    assert model == ModelInfo("m", can=Capabilities(image_types=("image/png",)))
    known = ModelInfo("m", size=5, context=4096, can=Capabilities(context=4096, tools=True))
    assert clean_models([known]) == [known]


@pytest.mark.parametrize("field", ["instance", "secret"])
def test_a_long_key_is_refused(field: str) -> None:
    wire = Wire(0)
    wire.hear({"type": "register", "models": ["m"], "protocol": 2, field: "x" * (KEY_LENGTH + 1)})
    assert f"{KEY_LENGTH} characters" in wire.refusal


def test_jobs_that_it_brings_back_are_counted() -> None:
    held = [HeldJob(f"j{each}", 1, 0, 1) for each in range(HELD_JOBS + 1)]
    assert len(clean_held(held)) == HELD_JOBS
    assert clean_held([HeldJob("x" * 1000, 1, 0, 1)]) == []


@pytest.mark.parametrize(
    ("progress", "shown"), [(None, None), (-3, 0.0), (0.5, 0.5), (1e300, 1.0), (float("nan"), None)]
)
def test_a_state_has_a_share_and_a_short_line(progress: float | None, shown: float | None) -> None:
    assert clean_progress(progress) == shown
    state = clean_state(State("loading", progress=progress, detail=ROGUE))
    assert state.progress == shown
    assert state.detail is not None
    assert len(state.detail) <= DETAIL_LENGTH
    assert is_visible(state.detail)


def test_states_without_end_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_attempt, "MAX_STATES", 3)
    wire = Wire()
    wire.job()
    wire.events(0, *({"type": "state", "phase": "reading"} for _ in range(10)))
    wire.hear(*({"type": "loading", "model": "m", "progress": 5} for _ in range(10)))
    assert len(wire.out.states) == 3
    wire.events(10, text("So."))
    assert "".join(wire.out.words) == "So."


@pytest.mark.parametrize("protocol", [1, 2])
def test_an_error_is_one_short_line(protocol: int) -> None:
    wire = Wire(protocol)
    wire.job()
    if protocol == 1:
        wire.hear({"type": "job_error", "jobId": "j", "error": ROGUE})
    else:
        wire.events(0, {"type": "broke", "code": ROGUE, "message": ROGUE})
    [(_, end)] = wire.handler.calls
    assert isinstance(end, JobFailed)
    assert len(end.message) <= ERROR_LENGTH
    assert is_visible(end.message)


def test_an_empty_error_says_that_nothing_is_known() -> None:
    end = clean_end(JobFailed("engine_broke", "\n"))
    assert isinstance(end, JobFailed)
    assert "does not say why" in end.message


def test_counts_and_times_of_an_end_can_be_true() -> None:
    usage, timings = Usage(-1, 2**80, at_limit=True), Timings(1.5, -1.0, 1e300, None, 3.0)
    end = clean_end(JobEnded("stop", "m", usage, timings))
    assert end == JobEnded("stop", "m", Usage(at_limit=True), Timings(1.5, tokens_per_second=3.0))


def test_tool_calls_are_counted_and_have_short_names() -> None:
    wire = Wire()
    wire.job()
    wire.events(0, {"type": "called", "call": {"call": ROGUE, "name": ROGUE, "arguments": "{}"}})
    [call] = wire.out.calls
    assert isinstance(call, ToolCall)
    assert max(len(call.call), len(call.name)) <= KEY_LENGTH
    assert is_visible(call.name)
    endless: dict[str, Any] = {"call": "1", "name": "n", "arguments": "x" * 500_000}
    for number in range(1, 10):
        if wire.closed is None:
            wire.events(number, {"type": "called", "call": endless})
    assert "more than it was asked for" in wire.refusal


@pytest.mark.parametrize("protocol", [1, 2])
def test_a_refusal_repeats_little_of_what_was_sent(protocol: int) -> None:
    wire = Wire(protocol)
    wire.hear({"type": "token" if protocol == 1 else "events", ROGUE: 1, "jobId": ["x" * 100_000]})
    assert len(wire.refusal) <= REFUSAL_LENGTH
    assert wire.closed is not None
    assert len(msgspec.json.encode(wire.closed)) < 2 * REFUSAL_LENGTH
