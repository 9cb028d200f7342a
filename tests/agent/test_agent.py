"""The agent over a real socket, against a gateway that says and checks what the protocol does."""

import asyncio
import http
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import pytest

from legato.agent import agent as shell
from legato.agent.agent import Agent, AgentDisconnected, AgentRegistered
from legato.agent.engine_pool import EnginePool, EngineSource
from legato.engines.base import Capabilities
from legato.engines.demo.engine import DemoEngine
from legato.errors import EngineBrokeError, ForbiddenError, UnauthenticatedError
from legato.fleet.protocol import (
    Drain,
    EventBatch,
    JobEnded,
    JobFailed,
    Load,
    ModelInfo,
    Models,
    Register,
    RegistrationRefused,
)
from legato.stream import Reasoning, State, Text
from legato.testing.engine import ScriptedEngine

from .conftest import Door

Running = Callable[..., Any]


async def test_it_registers_with_its_models_and_what_they_can_do(door: Door, running: Running) -> None:
    can = Capabilities(supports_prefill=True, context=4096)
    told: list[object] = []
    engine = ScriptedEngine(models=("one", "two"), capabilities=can)
    async with running(engine, slots=3, name="box", key="secret", listener=told.append):
        await door.registered()
        await door.until(lambda: told)
    [register] = [each for each in door.gateway.heard if isinstance(each, Register)]
    assert register.models == ["one", "two"]
    assert register.facts == [ModelInfo(name, context=4096, can=can) for name in ("one", "two")]
    assert (register.protocol, register.slots, register.name) == (2, 3, "box")
    assert door.requests[0].headers["Authorization"] == "Bearer secret"
    assert told[0] == AgentRegistered(door.url, ("one", "two"), 3, again=False)


async def test_a_reply_arrives_as_the_engine_writes_it(door: Door, running: Running) -> None:
    engine = ScriptedEngine()
    async with running(engine):
        await door.registered()
        key = door.gateway.push("j", "Hello", model="scripted", prefix="", conversation="c", user="ann")
        await door.say()
        run = await engine.asked()
        assert (run.request.conversation, run.request.user) == ("c", "ann")
        run.tell("reading", progress=0.5)
        run.think("hm")
        run.say("one ", "", "two")
        run.call("c1", "look")
        await door.until(lambda: len(door.gateway.taken[key]) == 5)
        assert door.gateway.taken[key][:4] == [
            State("reading", progress=0.5),
            Reasoning("hm"),
            Text("one "),
            Text("two"),
        ]
        assert len([each for each in door.gateway.heard if isinstance(each, EventBatch)]) == 1
        run.finish("tool_calls")
        await door.until(lambda: door.gateway.ended(key))
        assert door.gateway.taken[key][-1] == JobEnded("tool_calls", "scripted")


async def test_a_sign_of_life_is_sent_where_nothing_else_was_for_a_while(
    door: Door, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ScriptedEngine()
    async with running(engine):
        await door.registered()
        key = door.gateway.push("j", "Hello", model="scripted")
        await door.say()
        run = await engine.asked()
        run.say("", "one", "", "")
        monkeypatch.setattr(shell, "ALIVE_SECONDS", 0.0)
        run.say("")
        run.finish()
        await door.until(lambda: door.gateway.ended(key))
        assert door.gateway.taken[key][:-1] == [Text(""), Text("one"), Text("")]


@pytest.mark.parametrize("acknowledges", [True, False])
async def test_the_text_is_whole_after_a_cut_at_every_frame(
    door: Door, running: Running, acknowledges: bool
) -> None:
    words = [f"word{number} " for number in range(12)]
    engine = ScriptedEngine()
    door.gateway.acknowledges = acknowledges
    async with running(engine) as agent:
        for frame in range(len(words) + 1):
            await door.registered()
            connections = door.connections
            key = door.gateway.push(f"j{frame}", model="scripted")
            await door.say()
            run = await engine.asked()
            door.cut_after = frame
            for count, word in enumerate(words, 1):
                run.say(word)
                await door.until(lambda count=count, key=key: len(door.gateway.taken[key]) == count)
            run.finish()
            await door.until(lambda key=key: door.gateway.ended(key))
            assert door.gateway.text(key) == "".join(words)
            assert door.connections == connections + 1
            door.gateway.acknowledge(key)
            await door.say()
            await door.until(lambda: agent.protocol.idle)
    assert not door.gateway.lost


async def test_it_writes_on_while_the_gateway_is_away(door: Door, running: Running) -> None:
    engine = ScriptedEngine()
    async with running(engine):
        await door.registered()
        key = door.gateway.push("j", model="scripted")
        await door.say()
        run = await engine.asked()
        run.say("before ")
        await door.until(lambda: door.gateway.text(key))
        await door.stop()
        run.say("meanwhile ")
        run.finish()
        await run.left()
        await door.start()
        await door.until(lambda: door.gateway.ended(key))
        assert door.gateway.text(key) == "before meanwhile "


async def test_a_lease_that_ran_out_ends_the_engine(door: Door, running: Running) -> None:
    engine = ScriptedEngine()
    door.gateway.lease = 0.01
    async with running(engine):
        await door.registered()
        door.gateway.push("j", model="scripted")
        await door.say()
        run = await engine.asked()
        await door.stop()
        await run.left()
        assert run.cancelled
        await door.start()
        await door.registered()
        assert door.gateway.lost == {("j", 1)}


async def test_cancel_ends_the_engine_and_then_says_so(door: Door, running: Running) -> None:
    engine = ScriptedEngine()
    async with running(engine):
        await door.registered()
        key = door.gateway.push("j", model="scripted")
        await door.say()
        run = await engine.asked()
        run.hold()
        door.gateway.cancel(key)
        await door.say()
        await door.until(lambda: run.cancelled)
        assert not door.gateway.cancelled
        run.release()
        await door.until(lambda: door.gateway.cancelled == {key})


async def test_a_job_that_is_cancelled_before_its_first_step_frees_its_slot(
    door: Door, running: Running
) -> None:
    async with running(DemoEngine()) as agent:
        await door.until(lambda: agent.protocol.registered)
        key = door.gateway.push("j", "word " * 50)
        frames, door.gateway.out = door.gateway.out, []
        for frame in (*frames, b'{"type":"cancel","jobId":"j","attempt":1}'):
            agent._carry_out(agent.protocol.received(frame))
        door.gateway.cancelling.add(key)
        await door.until(lambda: key in door.gateway.cancelled)
        second = door.gateway.push("k", "whole")
        await door.say()
        await door.until(lambda: door.gateway.ended(second))
        assert door.gateway.text(second) == "whole"


@pytest.mark.parametrize(
    ("error", "code"), [(EngineBrokeError("It broke."), "engine_broke"), (ValueError("no"), "engine")]
)
async def test_an_engine_that_fails_is_told_with_its_sentence(
    door: Door, running: Running, error: Any, code: str
) -> None:
    engine = ScriptedEngine()
    async with running(engine):
        await door.registered()
        key = door.gateway.push("j", model="scripted")
        await door.say()
        run = await engine.asked()
        run.say("so far")
        run.fail(error)
        await door.until(lambda: door.gateway.ended(key))
        last = door.gateway.taken[key][-1]
        assert isinstance(last, JobFailed)
        assert last.code == code
        assert door.gateway.text(key) == "so far"


async def test_an_engine_that_writes_too_much_is_cancelled(door: Door, running: Running) -> None:
    engine = ScriptedEngine()
    door.gateway.acknowledges = False
    async with running(engine) as agent:
        agent.protocol._state.limit = 4096
        await door.registered()
        key = door.gateway.push("j", model="scripted")
        await door.say()
        run = await engine.asked()
        run.say(*["word"] * 200)
        await run.left()
        assert run.cancelled
        await door.until(lambda: door.gateway.ended(key))
        assert isinstance(door.gateway.taken[key][-1], JobFailed)


async def test_models_are_told_as_they_come_and_go(door: Door, running: Running) -> None:
    engine = ScriptedEngine()
    engine.down = True
    demo = EngineSource(DemoEngine(), ("demo:echo", "demo:none"))
    async with running(engine, demo):
        await door.registered()
        assert [each.models for each in door.gateway.heard if isinstance(each, Register)] == [["demo:echo"]]
        for down, names in ((False, ["scripted", "demo:echo"]), (True, ["demo:echo"])):
            engine.down = down
            await door.until(
                lambda names=names: (
                    [
                        [facts.name for facts in each.facts]
                        for each in door.gateway.heard
                        if isinstance(each, Models)
                    ][-1:]
                    == [names]
                )
            )
        key = door.gateway.push("j", model="scripted")
        await door.say()
        await door.until(lambda: door.gateway.ended(key))
        assert isinstance(door.gateway.taken[key][-1], JobFailed)
        assert door.gateway.taken[key][-1].code == "model_not_found"


async def test_it_loads_a_model_when_it_is_told_to(door: Door, running: Running) -> None:
    async with running(DemoEngine()):
        await door.registered()
        door.gateway.say(Load("demo:echo"))
        door.gateway.say(Load("nobody's"))
        await door.say()
        await door.until(lambda: sum(type(each).__name__ == "Loading" for each in door.gateway.heard) == 2)


async def test_it_gives_signs_of_life(door: Door, running: Running) -> None:
    door.gateway.heartbeat = 0.1
    async with running(DemoEngine()):
        await door.until(lambda: any(type(each).__name__ == "Heartbeat" for each in door.gateway.heard))


async def test_a_gateway_that_is_frozen_is_left(
    door: Door, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legato.agent.connect.PING", 0.05)
    monkeypatch.setattr("legato.agent.connect.PONG", 0.05)
    told: list[object] = []
    async with running(DemoEngine(), listener=told.append):
        await door.registered()
        assert door.socket is not None
        # It takes nothing more from the socket, so that no ping is answered.
        door.socket.transport.pause_reading()
        await door.until(lambda: door.connections == 2)
    assert any(isinstance(each, AgentDisconnected) for each in told)


async def test_one_that_never_registers_it_is_left(
    door: Door, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "HANDSHAKE_SECONDS", 0.05)
    door.greets = False
    told: list[Any] = []
    async with running(DemoEngine(), listener=told.append):
        await door.until(lambda: told)
    assert "takes no agents" in told[0].reason


async def test_pauses_grow_until_it_is_registered_again(door: Door, running: Running) -> None:
    told: list[Any] = []
    asked: list[int] = []

    def pauses() -> Iterator[float]:
        asked.append(0)
        for _ in repeat(0):
            asked[-1] += 1
            yield 0.0

    await door.stop()
    async with running(DemoEngine(), listener=told.append, pauses=pauses):
        await door.until(lambda: len(told) >= 4)
        assert len(asked) == 1
        await door.start()
        await door.registered()
        door.cut()
        await door.until(lambda: len(asked) == 2)
    assert "No server answers" in told[0].reason


@pytest.mark.parametrize("key", [None, "wrong"])
async def test_a_wrong_key_at_the_door_ends_it(door: Door, key: str | None) -> None:
    door.process_request = lambda connection, _: connection.respond(http.HTTPStatus.UNAUTHORIZED, "")  # type: ignore[method-assign]
    with pytest.raises(UnauthenticatedError, match="LEGATO_AGENT_KEY"):
        await Agent(door.url, EnginePool([EngineSource(DemoEngine())]), key=key).run()


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [(4001, UnauthenticatedError, "No."), (4001, UnauthenticatedError, None), (4003, ForbiddenError, None)],
)
async def test_a_wrong_key_in_words_ends_it(
    door: Door, code: int, kind: type[Exception], said: str | None
) -> None:
    async def refuse() -> None:
        await door.until(lambda: door.socket is not None)
        assert door.socket is not None
        if said:
            door.gateway.say(RegistrationRefused(said))
            await door.say()
        await door.socket.close(code)

    door.greets = False
    refusing = asyncio.create_task(refuse())
    with pytest.raises(kind, match=said):
        await Agent(door.url, EnginePool([EngineSource(DemoEngine())]), key="wrong").run()
    await refusing


@pytest.mark.parametrize("status", [403, 404, 502])
async def test_other_refusals(door: Door, running: Running, status: int) -> None:
    door.process_request = lambda connection, _: connection.respond(http.HTTPStatus(status), "")  # type: ignore[method-assign]
    if status == 403:
        with pytest.raises(ForbiddenError):
            await Agent(door.url, EnginePool([EngineSource(DemoEngine())])).run()
        return
    told: list[object] = []
    async with running(DemoEngine(), listener=told.append):
        await door.until(lambda: len(told) > 1)
        door.process_request = lambda *_: None  # type: ignore[method-assign]
        await door.registered()


class TestStopping:
    async def test_what_runs_is_written_to_its_end(self, door: Door, running: Running) -> None:
        engine = ScriptedEngine()
        async with running(engine, slots=2) as agent:
            await door.registered()
            key = door.gateway.push("j", model="scripted")
            await door.say()
            run = await engine.asked()
            agent.stop()
            late = door.gateway.push("k", model="scripted")
            await door.say()
            await door.until(lambda: late in door.gateway.refused)
            run.say("whole")
            run.finish()
            await door.until(lambda: engine.closed)
        assert door.gateway.text(key) == "whole"
        assert door.gateway.ended(key)
        assert any(isinstance(each, Drain) for each in door.gateway.heard)

    async def test_it_does_not_wait_for_ever(self, door: Door) -> None:
        engine = ScriptedEngine()
        agent = Agent(door.url, EnginePool([EngineSource(engine)]), drain_seconds=0.01)
        task = asyncio.create_task(agent.run())
        await door.registered()
        key = door.gateway.push("j", model="scripted")
        await door.say()
        run = await engine.asked()
        agent.stop()
        await task
        assert run.cancelled
        assert engine.closed
        assert key in door.gateway.refused, "what was not written to its end goes on elsewhere"
        assert not door.gateway.ended(key)

    async def test_the_second_call_ends_at_once(self, door: Door) -> None:
        engine = ScriptedEngine()
        agent = Agent(door.url, EnginePool([EngineSource(engine)]))
        task = asyncio.create_task(agent.run())
        await door.registered()
        key = door.gateway.push("j", model="scripted")
        await door.say()
        await engine.asked()
        agent.stop()
        agent.stop()
        await task
        assert key in door.gateway.refused

    async def test_the_third_call_waits_for_no_engine(self, door: Door) -> None:
        engine = ScriptedEngine()
        agent = Agent(door.url, EnginePool([EngineSource(engine)]))
        task = asyncio.create_task(agent.run())
        await door.registered()
        door.gateway.push("j", model="scripted")
        await door.say()
        run = await engine.asked()
        run.hold()
        for _ in range(3):
            agent.stop()
        await door.until(lambda: run.cancelled)
        await door.until(lambda: door.socket is None)
        run.release()
        await task

    async def test_a_job_whose_turn_came_too_late_disturbs_no_end(self, door: Door) -> None:
        engine = ScriptedEngine()
        agent = Agent(door.url, EnginePool([EngineSource(engine)]), pauses=lambda: repeat(60.0))
        task = asyncio.create_task(agent.run())
        await door.registered()
        key = door.gateway.push("j", model="scripted")
        await door.say()
        run = await engine.asked()
        run.hold()
        door.gateway.cancel(key)
        door.gateway.push("k", model="scripted")
        await door.say()
        await door.until(lambda: run.cancelled and agent.protocol.running)
        await door.stop()
        await door.until(lambda: agent.protocol.lease_end)
        for _ in range(3):
            agent.stop()
        await door.until(lambda: agent._ending)
        run.release()
        await task
        assert agent.protocol.lease_end is not None
        agent._expire(agent.protocol.lease_end)
        assert agent.protocol.lease_end is None

    async def test_where_nobody_is_there_to_be_told_it_ends(self) -> None:
        agent = Agent("ws://127.0.0.1:1/ws/agents", EnginePool([EngineSource(DemoEngine())]))
        task = asyncio.create_task(agent.run())
        agent.stop()
        await asyncio.wait_for(task, 10)


class TestTheFirstGeneration:
    async def test_an_old_server_gets_its_tokens(self, door: Door, running: Running) -> None:
        door.gateway.version = 1
        async with running(DemoEngine()):
            await door.registered()
            for job in ("one", "two"):
                door.gateway.prompt(job, f"Say {job} again", options={"tokens_per_second": 0})
                await door.say()
                await door.until(lambda job=job: job in door.gateway.over)
        assert door.gateway.tokens == {
            "one": ["Say ", "one ", "again"],
            "two": ["Say ", "two ", "again"],
        }
        assert set(door.gateway.over.values()) == {None}

    async def test_it_does_not_offer_any_model_where_it_has_none(self, door: Door, running: Running) -> None:
        door.gateway.version = 1
        engine = ScriptedEngine()
        engine.down = True
        told: list[Any] = []
        async with running(engine, listener=told.append):
            await door.until(lambda: told)
            assert "no model here yet" in told[0].reason
            engine.down = False
            await door.until(lambda: isinstance(told[-1], AgentRegistered))

    async def test_it_registers_anew_when_models_come(self, door: Door, running: Running) -> None:
        door.gateway.version = 1
        engine = ScriptedEngine()
        engine.down = True
        async with running(engine, DemoEngine()):
            await door.registered()
            engine.down = False
            await door.until(
                lambda: any(
                    isinstance(each, Register) and "scripted" in each.models for each in door.gateway.heard
                )
            )
