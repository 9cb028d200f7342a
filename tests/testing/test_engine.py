"""The scripted engine does what a test says, and tells the test what became of it."""

import asyncio

import pytest

from legato.domain.message import TextPart
from legato.engines.base import Capabilities, Engine, Outcome, Request, ToolCall, Turn
from legato.errors import EngineBrokeError, EngineRefusedError, EngineUnavailableError, ModelNotFoundError
from legato.stream import Reasoning, State, Text, ToolStarted, Usage
from legato.testing.engine import Recorder, ScriptedEngine


def request(text: str = "hello", *, model: str = "scripted", prefix: str = "") -> Request:
    return Request(model, (Turn("user", (TextPart(text),)),), prefix=prefix)


async def test_the_test_says_what_the_engine_says() -> None:
    engine: Engine = ScriptedEngine()
    assert isinstance(engine, ScriptedEngine)
    out = Recorder()
    task = asyncio.create_task(engine.generate(request(), out))
    run = await engine.asked()
    assert run.request == request()
    run.tell("loading", progress=0.5)
    run.think("hm")
    run.say("one ", "two")
    run.call("1", "clock")
    run.finish("tool_calls", usage=Usage(1, 2))
    assert await task == Outcome("tool_calls", "scripted", Usage(1, 2))
    assert out.events == [
        State("loading", progress=0.5),
        Reasoning("hm"),
        Text("one "),
        Text("two"),
        ToolStarted("1", "clock", "{}"),
    ]
    assert (out.said, out.thought, out.words) == ("one two", "hm", ["one ", "two"])
    assert out.states == [State("loading", progress=0.5)]
    assert out.calls == [ToolCall("1", "clock", "{}")]
    with pytest.raises(RuntimeError, match="finished"):
        run.say("three")


async def test_a_reply_fails_as_the_test_wants() -> None:
    engine = ScriptedEngine()
    task = asyncio.create_task(engine.generate(request(), Recorder()))
    (await engine.asked()).fail(EngineBrokeError("It broke."))
    with pytest.raises(EngineBrokeError, match="It broke"):
        await task


async def test_a_cancelled_reply_is_seen_and_may_take_its_time() -> None:
    engine = ScriptedEngine()
    task = asyncio.create_task(engine.generate(request(), Recorder()))
    run = await engine.asked()
    run.hold()
    task.cancel()
    while not run.cancelled:
        await asyncio.sleep(0)
    assert not task.done()
    run.release()
    await run.left()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert run.cancelled


async def test_with_a_reply_it_answers_by_itself_and_continues_after_a_prefix() -> None:
    engine = ScriptedEngine(reply=["one ", "two ", "three"], continues=True)
    out = Recorder()
    await engine.generate(request(), out)
    assert out.words == ["one ", "two ", "three"]
    out = Recorder()
    await engine.generate(request(prefix="one t"), out)
    assert out.words == ["wo ", "three"]


async def test_it_refuses_what_an_engine_refuses() -> None:
    engine = ScriptedEngine(models=["a"])
    with pytest.raises(ModelNotFoundError):
        await engine.generate(request(model="b"), Recorder())
    with pytest.raises(EngineRefusedError):
        await engine.generate(request(model="a", prefix="one"), Recorder())
    engine.down = True
    with pytest.raises(EngineUnavailableError):
        await engine.generate(request(model="a"), Recorder())
    with pytest.raises(EngineUnavailableError):
        await engine.models()
    assert not (await engine.health()).ok
    assert len(engine.requests) == 3
    assert engine.runs == []


async def test_it_tells_what_it_can_do() -> None:
    engine = ScriptedEngine(models=["a", "b"], capabilities=Capabilities(context=7))
    assert [model.name for model in await engine.models()] == ["a", "b"]
    assert await engine.capabilities("a") == Capabilities(context=7)
    assert (await engine.health()).ok
    await engine.close()
    assert engine.closed
