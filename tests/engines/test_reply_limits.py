"""What one reply may cost, and one person's prompt, with every engine."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from legato.engines import attempt
from legato.engines.base import Outcome, ReplyWriter, Request, ToolCall
from legato.engines.breaker import Breaker, Breakers
from legato.engines.fallback import Candidate, FallbackEngine, Timeouts
from legato.engines.ollama.engine import OllamaEngine
from legato.engines.openai.engine import OpenAIEngine
from legato.errors import EngineError, EngineTimeoutError, EngineUnavailableError, ReplyTooLongError
from legato.stream import State
from legato.testing.clock import virtual_time
from legato.testing.engine import Recorder, ScriptedEngine
from legato.testing.odd_engine import (
    DONE,
    HI,
    OddEngine,
    OddRequest,
    Step,
    chunk,
    event,
    head,
    line,
    plain,
    sse,
)

Write = Callable[[ReplyWriter], None]


class EndlessEngine(ScriptedEngine):
    """Writes the same piece for ever."""

    def __init__(self, write: Write) -> None:
        super().__init__()
        self._write = write

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        while True:
            for _ in range(1000):
                self._write(out)
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "write",
    [
        lambda out: out.text("x" * 1000),
        lambda out: out.reasoning("x" * 1000),
        lambda out: out.tool_call(ToolCall("c", "f", "x" * 1000)),
        lambda out: out.text(""),
        lambda out: out.state(State("loading")),
    ],
    ids=["text", "thinking", "arguments", "events", "states"],
)
async def test_an_endless_reply_ends_at_its_limit_and_says_so(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "CHARACTERS", 50_500)
    monkeypatch.setattr(attempt, "EVENTS", 20_000)
    out = Recorder()
    with pytest.raises(ReplyTooLongError, match="as long as one may be"):
        await FallbackEngine([Candidate(EndlessEngine(write))]).generate(Request("scripted", ()), out)
    assert len(out.said) + len(out.thought) in (0, 50_500)
    assert sum(len(call.arguments) for call in out.calls) <= 50_500
    assert len(out.events) <= 20_000


def test_the_limit_of_a_reply_is_sixteen_mebicharacters() -> None:
    assert attempt.CHARACTERS == 16 * 1024 * 1024


async def test_a_reply_that_came_to_its_limit_is_never_complete() -> None:
    class WholeEngine(ScriptedEngine):
        async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
            out.text("x" * (attempt.CHARACTERS + 1))
            return Outcome("stop", "m")

    fallback = FallbackEngine([Candidate(WholeEngine())])
    with pytest.raises(ReplyTooLongError):
        await fallback.generate(Request("scripted", ()), Recorder())
    await asyncio.sleep(0)


@virtual_time
async def test_keep_alives_are_signs_of_life_but_not_for_ever() -> None:
    engine = ScriptedEngine()
    out = Recorder()
    patience = Timeouts(timeout=60, first_token_timeout=10)
    task = asyncio.ensure_future(
        FallbackEngine([Candidate(engine)], timeouts=patience).generate(Request("scripted", ()), out)
    )
    run = await engine.asked()
    loop = asyncio.get_running_loop()
    for _ in range(20):
        run.tell("reading")
        await asyncio.sleep(9)
    run.say("one")
    run.finish()
    await task
    assert loop.time() == 180
    assert out.states == [State("reading")]

    task = asyncio.ensure_future(
        FallbackEngine([Candidate(engine)], timeouts=patience).generate(Request("scripted", ()), Recorder())
    )
    run = await engine.asked()
    began = loop.time()
    while run.state == "running" and loop.time() < began + 1000:
        run.tell("reading")
        await asyncio.sleep(9)
    assert loop.time() - began < 320
    task.cancel()
    with pytest.raises((asyncio.CancelledError, EngineTimeoutError)):
        await task


def fail(breaker: Breaker, by: str | None, times: int) -> None:
    for _ in range(times):
        permit = breaker.admit(0)
        assert permit is not None
        breaker.failed(permit, 0, "500", by)


def test_one_asker_alone_does_not_open_the_breaker() -> None:
    breaker = Breaker()
    fail(breaker, "ann", 100)
    assert breaker.closed
    fail(breaker, "ben", 2)
    assert breaker.closed


def test_several_askers_open_the_breaker() -> None:
    breaker = Breaker()
    for asker in ("ann", "ben", "cem", "dan"):
        fail(breaker, asker, 1)
    assert breaker.closed
    fail(breaker, "eva", 1)
    assert not breaker.closed


def test_a_trial_that_its_own_prompt_fails_is_left_to_the_next() -> None:
    breaker = Breaker()
    fail(breaker, "ann", 2)
    fail(breaker, None, 3)
    trial = breaker.admit(5)
    assert trial is not None
    assert breaker.admit(5) is None
    breaker.failed(trial, 5, "500", "ann")
    assert breaker.admit(5) is not None


async def many_times(engine: FallbackEngine, request: Request, times: int) -> list[EngineError]:
    errors: list[EngineError] = []
    for _ in range(times):
        with pytest.raises(EngineError) as caught:
            await engine.generate(request, Recorder())
        errors.append(caught.value)
    return errors


def poisoned(request: OddRequest) -> list[Step] | None:
    if b"poison" not in request.body:
        return None
    return plain({"error": {"message": "the runner crashed"}}, "500 Internal Server Error")


@pytest.mark.parametrize("kind", [OpenAIEngine, OllamaEngine])
async def test_a_poisoned_prompt_of_one_person_blocks_no_other_person(kind: Any) -> None:
    poison = Request("m", HI.turns, options={"stop": ["poison"]}, user="ann")
    async with OddEngine(
        sse(chunk("one", "stop"), DONE) if kind is OpenAIEngine else plain(line("one", done=True))
    ) as odd:
        odd.on_request = poisoned
        engine = kind(odd.url)
        fallback = FallbackEngine([Candidate(engine)], timeouts=Timeouts(backoff=0.001), breakers=Breakers())
        errors = await many_times(fallback, poison, 4)
        assert all("the runner crashed" in error.message for error in errors)
        assert len(odd.asked) == 12
        out = Recorder()
        await fallback.generate(Request("m", HI.turns, user="ben"), out)
        assert out.said == "one"
        await engine.close()


async def test_a_backend_that_is_not_there_is_everybodys_matter() -> None:
    engine = OpenAIEngine("http://127.0.0.1:9")
    fallback = FallbackEngine([Candidate(engine)], timeouts=Timeouts(backoff=0.001))
    errors = await many_times(fallback, Request("m", HI.turns, user="ann"), 3)
    await engine.close()
    assert all(isinstance(error, EngineUnavailableError) for error in errors)
    assert "Please try again in" in errors[-1].message


async def test_an_endless_stream_is_given_up_and_its_connection_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempt, "CHARACTERS", 1_000_000)
    piece = event(chunk("x" * 10_000))
    async with OddEngine([head(Content_Type="text/event-stream"), *[piece] * 1000]) as odd:
        engine = OpenAIEngine(odd.url)
        out = Recorder()
        with pytest.raises(ReplyTooLongError):
            await FallbackEngine([Candidate(engine)]).generate(HI, out)
        assert len(out.said) == 1_000_000
        await engine.close()
