"""The fleet as an engine: one text, whoever writes it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from legato.domain.message import TextPart
from legato.engines.base import Request, Turn
from legato.engines.fallback import Candidate, FallbackEngine, Timeouts
from legato.errors import (
    EngineBrokeError,
    EngineBusyError,
    EngineGaveUpError,
    EngineRefusedError,
    EngineUnavailableError,
    ModelNotFoundError,
)
from legato.stream import State
from legato.testing.engine import Recorder


async def test_a_job_is_there_as_soon_as_it_is_wanted(fleet: Any) -> None:
    agent = fleet.agent()
    task, out = await fleet.ask("Hello", options={"seed": 1}, user="ada", conversation="c")
    assert agent.job["turns"] == [{"role": "user", "parts": [{"type": "text", "text": "Hello"}]}]
    assert (agent.job["model"], agent.job["attempt"], agent.job["options"]) == ("m", 1, {"seed": 1})
    agent.write("Hi", " there")
    agent.end("length")
    outcome = await task
    assert (outcome.reason, outcome.model, out.words) == ("length", "m", ["Hi", " there"])
    assert out.states[0].agent == fleet.engine.view().agents[0].name


async def test_protocol_version_1_gets_a_prompt(fleet: Any) -> None:
    agent = fleet.agent(version=1)
    task, out = await fleet.ask("Hello")
    assert agent.job == {
        "type": "job",
        "jobId": agent.job["jobId"],
        "model": "m",
        "prompt": "Hello",
        "parameters": {},
    }
    agent.write("Hi", " there")
    agent.end()
    await task
    assert out.words == ["Hi", " there"]


async def test_protocol_version_1_gets_one_job_whatever_it_says(fleet: Any) -> None:
    fleet.agent(version=1, slots=9)
    assert [agent.slots for agent in fleet.engine.view().agents] == [1]


async def test_without_the_model_it_is_refused_at_once(fleet: Any) -> None:
    task, _ = await fleet.ask()
    with pytest.raises(ModelNotFoundError, match="No agent is connected"):
        await task
    fleet.agent("other")
    task, _ = await fleet.ask()
    with pytest.raises(ModelNotFoundError, match="has the model m"):
        await task


async def test_who_waits_is_told_the_place(fleet: Any) -> None:
    agent = fleet.agent()
    first, _ = await fleet.ask()
    second, out = await fleet.ask()
    assert [(state.phase, state.place) for state in out.states] == [("queued", 1)]
    agent.write("x")
    agent.end()
    agent.write("y")
    agent.end()
    await asyncio.gather(first, second)
    assert out.said == "y"


async def test_the_wait_ends_with_how_long_to_wait(build: Callable[..., Any]) -> None:
    fleet = build(queue_seconds=0.05)
    fleet.agent()
    first, _ = await fleet.ask()
    second, _ = await fleet.ask()
    with pytest.raises(EngineBusyError) as caught:
        await second
    assert caught.value.retry_after is not None
    first.cancel()


async def test_an_error_of_the_agent_is_the_engines(fleet: Any) -> None:
    agent = fleet.agent()
    task, _ = await fleet.ask()
    agent.fail("engine_refused", "num_ctx is no number")
    with pytest.raises(EngineRefusedError, match="num_ctx"):
        await task


async def test_a_lost_agents_text_goes_on_where_it_stands(fleet: Any) -> None:
    a, b = fleet.agent(name="a"), fleet.agent(name="b")
    task, out = await fleet.ask()
    a.write("one ", "two ")
    a.disconnect()
    await fleet.until(lambda: b.of("job"))
    assert (b.job["prefix"], b.job["attempt"]) == ("one two ", 2)
    b.write("three")
    b.end()
    await task
    assert out.words == ["one ", "two ", "three"]
    assert "a was lost after 8 characters; b goes on" in (out.states[-1].detail or "")


async def test_a_thawed_agent_is_not_heard(fleet: Any) -> None:
    a, b = fleet.agent(), fleet.agent()
    task, out = await fleet.ask()
    a.write("one ")
    beating = asyncio.get_running_loop()

    def beat() -> None:
        b.say("heartbeat")
        timers[0] = beating.call_later(0.05, beat)

    timers = [beating.call_later(0.05, beat)]
    await fleet.until(lambda: b.of("job"))
    timers[0].cancel()
    a.write("stale", "frames")
    assert a.of("cancel")
    a.say("cancelled", jobId=a.job["jobId"], attempt=1)
    a.write("more", begin=5)
    b.write("two")
    b.end()
    await task
    assert out.words == ["one ", "two"]
    assert a.connection.stale == 3


async def test_one_that_cannot_continue_tells_it_again_and_the_same_is_not_told_twice(fleet: Any) -> None:
    a, b = fleet.agent(version=1), fleet.agent(version=1)
    task, out = await fleet.ask(out=Recorder())
    a.write("one ", "two ")
    a.disconnect()
    b.write("on", "e t", "wo three")
    b.end()
    await task
    assert (out.words, out.rewinds) == (["one ", "two ", "three"], 0)


async def test_where_it_tells_it_otherwise_all_is_taken_back(fleet: Any) -> None:
    a, b = fleet.agent(continues=False), fleet.agent(continues=False)
    task, out = await fleet.ask()
    a.write("one ", "two ")
    a.disconnect()
    await fleet.until(lambda: b.of("job"))
    assert "prefix" not in b.job
    b.write("one t", "hree")
    b.end()
    await task
    assert (out.said, out.rewinds) == ("one three", 1)


async def test_where_it_ends_sooner_all_is_taken_back(fleet: Any) -> None:
    a, b = fleet.agent(version=1), fleet.agent(version=1)
    task, out = await fleet.ask()
    a.write("one ", "two ")
    a.disconnect()
    b.write("one")
    b.end()
    await task
    assert (out.said, out.rewinds) == ("one", 1)


async def test_who_cannot_unread_gets_an_error_and_never_a_splice(fleet: Any, unforgiving: Recorder) -> None:
    a, b = fleet.agent(version=1), fleet.agent(version=1)
    task, out = await fleet.ask(out=unforgiving)
    a.write("one ", "two ")
    a.disconnect()
    b.write("one t", "hree")
    with pytest.raises(EngineBrokeError, match="differently"):
        await task
    assert out.said == "one two "
    b.end()
    assert fleet.engine.counted().idle == 1


async def test_an_agent_that_comes_back_goes_on(fleet: Any) -> None:
    a = fleet.agent(instance="i")
    task, out = await fleet.ask()
    a.write("one ", "two ")
    secret = a.of("registered")[0]["secret"]
    a.disconnect()
    again = fleet.engine.dispatcher
    back = type(a)(fleet.engine)
    held = {"jobId": a.job["jobId"], "attempt": 1, "first": 1, "next": 4}
    back.register(instance="i", secret=secret, running=[held])
    assert back.of("registered")[0]["resume"] == [{"jobId": a.job["jobId"], "attempt": 1, "offset": 2}]
    back.heard.append(a.job)
    back.write("three ", "four")
    back.end()
    await task
    assert out.words == ["one ", "two ", "three ", "four"]
    assert len(again.connections) == 1


async def test_a_lost_agent_is_reported_at_once_until_it_is_back(fleet: Any) -> None:
    a = fleet.agent(instance="i")
    task, out = await fleet.ask()
    a.write("one ")
    a.disconnect()
    lost = out.states[-1]
    assert lost.phase == "loading"
    assert lost.agent is not None
    assert lost.detail is not None
    assert "was disconnected" in lost.detail
    back = type(a)(fleet.engine)
    held = {"jobId": a.job["jobId"], "attempt": 1, "first": 1, "next": 3}
    back.register(instance="i", secret=a.of("registered")[0]["secret"], running=[held])
    assert out.states[-1] == State("answering", model=lost.model, agent=lost.agent)
    back.heard.append(a.job)
    back.write("two")
    back.end()
    await task
    assert out.words == ["one ", "two"]


@pytest.mark.parametrize("lie", [{"attempt": 2}, {"first": 3}, {"next": 1}, {"jobId": "other"}])
async def test_one_that_comes_back_with_less_begins_anew(fleet: Any, lie: dict[str, Any]) -> None:
    a = fleet.agent(instance="i")
    task, out = await fleet.ask()
    a.write("one ", "two ")
    a.disconnect()
    held = {"jobId": a.job["jobId"], "attempt": 1, "first": 1, "next": 4, **lie}
    back = type(a)(fleet.engine).register(
        instance="i", secret=a.of("registered")[0]["secret"], running=[held]
    )
    assert "resume" not in back.of("registered")[0]
    assert (back.job["attempt"], back.job["prefix"]) == (2, "one two ")
    back.write("three")
    back.end()
    await task
    assert out.said == "one two three"


async def test_nobody_comes_back_as_another(fleet: Any) -> None:
    a = fleet.agent(instance="i")
    await fleet.ask()
    a.disconnect()
    held = {"jobId": a.job["jobId"], "attempt": 1, "first": 0, "next": 4}
    rogue = type(a)(fleet.engine).register(instance="i", secret="guess", running=[held])
    assert "resume" not in rogue.of("registered")[0]
    assert len(fleet.engine.dispatcher.connections) == 2


async def test_a_prompt_that_kills_agents_fails_in_the_end(fleet: Any) -> None:
    agents = [fleet.agent(version=1) for _ in range(5)]
    task, _ = await fleet.ask()
    for _ in range(3):
        next(agent for agent in agents if agent.of("job") and agent.connection.open).disconnect()
    with pytest.raises(EngineGaveUpError):
        await task
    assert sum(bool(agent.of("job")) for agent in agents) == 3


async def test_what_breaks_in_the_middle_goes_on_elsewhere(fleet: Any) -> None:
    a, b = fleet.agent(), fleet.agent()
    task, out = await fleet.ask()
    a.write("one ")
    a.fail("engine_broke", "the engine died")
    b.write("two")
    b.end()
    await task
    assert out.said == "one two"


async def test_two_that_call_themselves_alike_are_told_apart(fleet: Any) -> None:
    a, b = fleet.agent(name="vm", instance="i"), fleet.agent(name="vm", instance="j")
    assert [agent.name for agent in fleet.engine.view().agents] == ["vm", "vm-2"]
    task, out = await fleet.ask()
    a.write("one ")
    a.disconnect()
    await fleet.until(lambda: b.of("job"))
    b.write("two")
    b.end()
    await task
    assert out.states[-1].detail == "vm was lost after 4 characters; vm-2 goes on."
    assert [agent.name for agent in fleet.engine.view().agents if agent.status != "lost"] == ["vm-2"]


@pytest.mark.parametrize("code", ["engine_broke", "engine_unavailable", "engine_timeout", "model_not_found"])
async def test_what_breaks_before_the_first_word_begins_elsewhere(fleet: Any, code: str) -> None:
    a, b = fleet.agent(), fleet.agent()
    task, out = await fleet.ask()
    a.fail(code, "out of order")
    b.write("well")
    b.end()
    await task
    assert out.said == "well"
    # The one that failed is left alone for a while, though it is free and has been longer.
    task, out = await fleet.ask()
    b.write("again")
    b.end()
    await task
    assert (out.said, len(a.of("job"))) == ("again", 1)


async def test_what_every_agent_fails_at_is_told_as_the_last_of_them_says(fleet: Any) -> None:
    a, b = fleet.agent(), fleet.agent()
    task, _ = await fleet.ask()
    a.fail("engine_unavailable", "A is out of order.")
    b.fail("engine_unavailable", "B is out of order.")
    with pytest.raises(EngineGaveUpError, match="B is out of order"):
        await task
    alone = fleet.agent("n")
    task, _ = await fleet.ask(model="n")
    alone.fail("engine_unavailable", "N is out of order.")
    with pytest.raises(EngineUnavailableError, match="N is out of order"):
        await task


async def test_an_agent_whose_engine_hangs_is_not_asked_again_at_once(fleet: Any) -> None:
    a, b = fleet.agent(slots=4), fleet.agent(slots=4)
    patience = Timeouts(timeout=10.0, first_token_timeout=0.1, backoff=0.01)
    engine = FallbackEngine([Candidate(fleet.engine, "m")], timeouts=patience)
    out = Recorder()
    request = Request("m", (Turn("user", (TextPart("Hello"),)),), conversation="c")
    task = asyncio.create_task(engine.generate(request, out))
    await fleet.until(lambda: a.of("cancel"))
    a.say("cancelled", jobId=a.job["jobId"], attempt=1)
    await fleet.until(lambda: b.of("job"))
    b.write("well")
    b.end()
    await task
    assert out.said == "well"


async def test_a_cancelled_reply_is_stopped_at_its_agent(fleet: Any) -> None:
    agent = fleet.agent()
    task, out = await fleet.ask()
    agent.write("one")
    task.cancel()
    await fleet.until(lambda: agent.of("cancel"))
    assert not task.done()
    assert fleet.engine.counted().busy == 1
    agent.write("two")
    agent.say("cancelled", jobId=agent.job["jobId"], attempt=1)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert out.said == "one"
    assert fleet.engine.counted().idle == 1


async def test_a_job_that_an_agent_gives_up_by_itself_goes_elsewhere(fleet: Any) -> None:
    a, b = fleet.agent(), fleet.agent()
    task, out = await fleet.ask()
    a.write("one ")
    a.say("cancelled", jobId=a.job["jobId"], attempt=1)
    b.write("two")
    b.end()
    await task
    assert out.said == "one two"


async def test_protocol_version_1_is_hung_up_on_if_it_does_not_end(build: Callable[..., Any]) -> None:
    fleet = build(unwanted_seconds=0.05)
    agent = fleet.agent(version=1)
    task, _ = await fleet.ask()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert fleet.engine.counted().busy == 1
    await fleet.until(lambda: agent.closed)
    assert fleet.engine.counted().total == 0


@pytest.mark.parametrize(
    "lie",
    [
        {"type_": "events", "jobId": "other", "attempt": 1, "from": 0, "events": []},
        {"type_": "garbage", "no": "type"},
    ],
)
async def test_a_rogues_jobs_go_elsewhere_at_once(fleet: Any, lie: dict[str, Any]) -> None:
    rogue, honest = fleet.agent(), fleet.agent()
    task, out = await fleet.ask()
    if lie["type_"] == "events":
        rogue.say(**lie)
    else:
        fleet.engine.dispatcher.received(rogue.connection, b"\x00garbage")
    assert rogue.closed is not None
    honest.write("fine")
    honest.end()
    await task
    assert out.said == "fine"


async def test_what_it_can_is_what_its_agents_can(fleet: Any) -> None:
    fleet.agent("m", "n")
    fleet.agent("m", continues=False)
    assert (await fleet.engine.capabilities("m")).supports_prefill
    assert not (await fleet.engine.capabilities("other")).supports_prefill
    assert [model.name for model in await fleet.engine.models()] == ["m", "n"]
    assert (await fleet.engine.health()).ok


async def test_nothing_is_left_when_all_is_done(fleet: Any) -> None:
    agent = fleet.agent()
    for _ in range(3):
        task, _ = await fleet.ask()
        agent.write("x")
        agent.end()
        await task
    agent.disconnect()
    await fleet.until(lambda: not fleet.engine.dispatcher.connections)
    dispatcher, coordinator = fleet.engine.dispatcher, fleet.engine.dispatcher.coordination
    scheduler = coordinator.scheduler
    for left in (
        dispatcher._replies,
        dispatcher._stopping,
        coordinator._registry,
        scheduler.jobs,
        scheduler.agents,
        scheduler._disconnected,
        scheduler._unwanted,
        scheduler.queue,
    ):
        assert len(left) == 0


async def test_right_after_the_start_a_reply_waits_for_the_agents_of_the_server_before(
    build: Callable[..., Any],
) -> None:
    fleet = build(settled=False)
    known = asyncio.create_task(fleet.engine.capabilities("m"))
    task, out = await fleet.ask(prefix="one ")
    assert [state.place for state in out.states] == [1]
    agent = fleet.agent()
    assert (await known).supports_prefill
    assert agent.job["prefix"] == "one "
    agent.write("two")
    agent.end()
    await task
    assert out.said == "two"


ROGUES: dict[str, dict[str, Any]] = {
    "jumped offsets": {"from": 99},
    "another attempt": {"attempt": 2},
    "a foreign job": {"jobId": "1-0123456789abcdef"},
    "garbage": {"events": 7},
    "more than was asked for": {"events": [{"type": "text", "text": "poison "}] * 500},
    "words behind its end": {
        "events": [{"type": "ended", "reason": "stop", "model": "m"}, {"type": "text", "text": "poison "}]
    },
}


@pytest.mark.parametrize("deed", ROGUES)
async def test_what_a_rogue_wrote_is_taken_back_and_never_handed_on(fleet: Any, deed: str) -> None:
    rogue, honest = fleet.agent(name="rogue"), fleet.agent(name="honest")
    task, out = await fleet.ask(options={"num_predict": 20})
    rogue.write("poison ", "poison ")
    assert out.said == "poison poison "
    frame = {"jobId": rogue.job["jobId"], "attempt": 1, "from": 2, "events": [], **ROGUES[deed]}
    rogue.say("events", **frame)
    assert rogue.closed is not None
    assert rogue.closed[0] == 4000
    assert out.said == ""
    assert "prefix" not in honest.job
    honest.write("whole")
    honest.end()
    await task
    assert out.said == "whole"
    assert len(fleet.engine.view().agents) == 1


async def test_what_honest_agents_wrote_before_a_rogue_stays(fleet: Any) -> None:
    first, rogue = fleet.agent(name="first"), fleet.agent(name="rogue")
    task, out = await fleet.ask()
    first.write("one ", "two ")
    first.disconnect()
    await fleet.until(lambda: rogue.of("job"))
    assert rogue.job["prefix"] == "one two "
    rogue.write("poison ")
    rogue.write("poison ", begin=7)
    last = fleet.agent(name="last")
    assert (last.job["prefix"], out.said) == ("one two ", "one two ")
    last.write("three")
    last.end()
    await task
    assert out.said == "one two three"


async def test_of_a_rogue_of_protocol_version_1_nothing_stays(fleet: Any) -> None:
    rogue, honest = fleet.agent(version=1), fleet.agent(name="honest")
    task, out = await fleet.ask()
    rogue.write("poison ", "poison ")
    rogue.say("token", jobId=rogue.job["jobId"], token=7)
    assert (out.said, "prefix" in honest.job) == ("", False)
    honest.write("whole")
    honest.end()
    await task
    assert out.said == "whole"


async def test_who_cannot_unread_a_rogue_gets_an_error(fleet: Any, unforgiving: Recorder) -> None:
    rogue, honest = fleet.agent(), fleet.agent()
    task, _ = await fleet.ask(out=unforgiving)
    rogue.write("poison ")
    rogue.write("poison ", begin=7)
    with pytest.raises(EngineBrokeError, match="broke the rules"):
        await task
    assert honest.of("job") == []


async def test_llama3_and_its_latest_are_one_model(build: Callable[..., Any]) -> None:
    fleet = build(queue_seconds=0.0)
    agent = fleet.agent("llama3:latest", "phi:latest")
    for asked, name in (("llama3", "llama3:latest"), ("phi:latest", "phi:latest")):
        task, _ = await fleet.ask(model=asked)
        assert agent.job["model"] == name
        agent.write("Hi")
        agent.end()
        assert (await task).model == name
    other = fleet.agent("llama3", continues=True)
    agent.disconnect()
    task, _ = await fleet.ask(model="llama3:latest")
    assert other.job["model"] == "llama3"
    assert (await fleet.engine.capabilities("llama3:latest")).supports_prefill
    assert [model.name for model in await fleet.engine.models()] == ["llama3", "phi"]
    task.cancel()


async def test_where_no_model_is_named_it_is_one_that_chats(fleet: Any) -> None:
    agent = fleet.agent("nomic-embed-text", "m")
    assert [model.chats for model in await fleet.engine.models()] == [False, True]
    task, _ = await fleet.ask(model="")
    assert agent.job["model"] == "m"
    task.cancel()


async def test_an_agent_that_ended_is_gone_at_once(fleet: Any) -> None:
    agent = fleet.agent()
    agent.say("drain")
    assert fleet.engine.view().agents[0].status == "draining"
    agent.disconnect()
    assert fleet.engine.view().agents == []


async def test_one_that_is_about_to_end_and_is_cut_may_come_back_for_its_job(fleet: Any) -> None:
    agent = fleet.agent(instance="i")
    task, _ = await fleet.ask()
    agent.write("one")
    agent.say("drain")
    agent.disconnect()
    assert fleet.engine.view().agents[0].status == "lost"
    task.cancel()


async def test_an_agent_that_was_started_again_replaces_what_it_was(fleet: Any) -> None:
    old, other = fleet.agent(name="attic", instance="i"), fleet.agent(name="cellar", instance="j")
    task, out = await fleet.ask()
    old.write("one ")
    other.disconnect()
    old.disconnect()
    new = fleet.agent(name="attic", instance="k")
    assert [(each.name, each.status) for each in fleet.engine.view().agents] == [
        ("cellar", "lost"),
        ("attic", "busy"),
    ]
    assert (new.job["attempt"], new.job["prefix"]) == (2, "one ")
    new.write("two")
    new.end()
    await task
    assert out.states[-1].detail == "attic was lost after 4 characters. It is back, and goes on."


async def test_nobody_replaces_one_that_is_here_or_came_with_another_key(fleet: Any) -> None:
    fleet.agent(name="attic", instance="i")
    fleet.agent(name="attic", instance="j")
    cut = fleet.agent(name="barn", instance="k")
    cut.disconnect()
    stranger = type(cut)(fleet.engine, owner="another key")
    stranger.register(name="barn", instance="l")
    assert [each.name for each in fleet.engine.view().agents] == [
        "attic",
        "attic-2",
        "barn",
        "barn-2",
    ]


async def test_without_a_line_what_lost_its_agent_still_waits_for_another(
    build: Callable[..., Any],
) -> None:
    fleet = build(queue_seconds=0.0, lease=0.2)
    a, b = fleet.agent(name="a"), fleet.agent(name="b")
    first, out = await fleet.ask()
    second, _ = await fleet.ask()
    refused, _ = await fleet.ask()
    with pytest.raises(EngineBusyError):
        await refused
    a.write("one ")
    a.say("refused", jobId=a.job["jobId"], attempt=1, reason="The machine is switched off.")
    a.say("drain")
    a.disconnect()
    b.write("x")
    b.end()
    await second
    assert b.job["prefix"] == "one "
    b.write("two")
    b.end()
    await first
    assert out.said == "one two"


async def test_without_a_line_a_lost_lease_is_waited_out_and_then_gone_on_with(
    build: Callable[..., Any],
) -> None:
    fleet = build(queue_seconds=0.0, lease=0.2)
    a, b = fleet.agent(name="a", instance="i"), fleet.agent(name="b", instance="j")
    first, out = await fleet.ask()
    second, _ = await fleet.ask()
    a.write("one ")
    a.disconnect()
    await asyncio.sleep(0.1)
    b.say("heartbeat", timestamp=0)
    await fleet.until(lambda: len(fleet.engine.view().agents) == 1)
    b.write("x")
    b.end()
    await second
    b.write("two")
    b.end()
    await first
    assert out.said == "one two"


async def test_who_waits_for_a_model_to_load_is_told_so(fleet: Any) -> None:
    agent = fleet.agent(name="attic")
    agent.say("models", facts=[{"name": "m", "loaded": False}])
    task, out = await fleet.ask()
    assert out.states == [State("loading", model="m", agent="attic")]
    job = {"jobId": agent.job["jobId"], "attempt": 1}
    agent.say("events", **job, **{"from": 0}, events=[{"type": "state", "phase": "loading", "progress": 0.5}])
    agent.say("loading", model="m:latest", progress=0.7)
    agent.say("events", **job, **{"from": 1}, events=[{"type": "state", "phase": "reading"}])
    assert out.states[1:] == [
        State("loading", model="m", agent="attic", progress=0.5),
        State("loading", model="m", agent="attic", progress=0.7),
        State("reading", model="m", agent="attic"),
    ]
    assert agent.of("load") == []
    task.cancel()
