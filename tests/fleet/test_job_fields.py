"""Fields of a job that not every agent knows: who gets such a job, and what an older agent gets."""

import asyncio
import re
from typing import Any

import pytest

from legato.agent.protocol_v2 import request_of
from legato.domain.message import ImagePart, TextPart
from legato.engines.base import Request, TokenLogprob, ToolSpec, Turn
from legato.errors import ContextExceededError, EngineBrokeError, UnsupportedOptionError
from legato.fleet.job_fields import fields_of, needed_field
from legato.fleet.protocol import Job

TURNS = (Turn("user", (TextPart("Hello"),)),)
TOOL = ToolSpec("t", "d", {"type": "object"})
FIELDS: dict[str, Any] = {
    "format": {"type": "object"},
    "format_name": "answer",
    "format_description": "What it is.",
    "format_strict": False,
    "tool_choice": "required",
    "parallel_tools": False,
    "logprobs": 2,
    "raw": True,
    "suffix": "end",
    "strict": True,
}


async def test_a_job_goes_to_an_agent_that_knows_its_fields(fleet: Any) -> None:
    old, new = fleet.agent(slots=4), fleet.agent(slots=4, revision=1)
    task, out = await fleet.ask(**FIELDS)
    assert not old.of("job")
    sent = {re.sub("_(.)", lambda found: found[1].upper(), name): value for name, value in FIELDS.items()}
    assert {name: new.job[name] for name in sent} == sent
    new.write("x")
    new.end()
    await task
    assert out.said == "x"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        *[({name: FIELDS[name]}, name) for name in ("format", "tool_choice", "parallel_tools", "logprobs")],
        ({"raw": True}, "raw"),
        ({"suffix": "end"}, "suffix"),
        ({"strict": True, "tools": (TOOL,)}, "tools"),
    ],
)
async def test_without_such_an_agent_it_is_refused_by_name(
    fleet: Any, version: int, fields: dict[str, Any], named: str
) -> None:
    agent = fleet.agent(version=version)
    task, _ = await fleet.ask(**fields)
    with pytest.raises(UnsupportedOptionError, match="too old") as caught:
        await task
    assert caught.value.option == named
    assert not agent.of("job")


async def test_an_older_agent_gets_what_it_got_before(fleet: Any) -> None:
    agent = fleet.agent()
    task, _ = await fleet.ask(
        strict=True, tool_choice="auto", parallel_tools=True, format_name="", options={"seed": 1}
    )
    assert agent.job == {
        "type": "job",
        "jobId": agent.job["jobId"],
        "attempt": 1,
        "model": "m",
        "turns": [{"role": "user", "parts": [{"type": "text", "text": "Hello"}]}],
        "options": {"seed": 1},
    }
    task.cancel()


async def test_what_the_engine_of_an_agent_cannot_do_keeps_its_name(fleet: Any) -> None:
    agent = fleet.agent(revision=1)
    task, _ = await fleet.ask(format="json")
    tell(agent, {"type": "broke", "code": "unsupported_option", "message": "It cannot.", "option": "format"})
    with pytest.raises(UnsupportedOptionError, match="It cannot") as caught:
        await task
    assert caught.value.option == "format"


async def test_a_prompt_that_is_too_long_for_an_agent_is_told_in_numbers(fleet: Any) -> None:
    agent = fleet.agent(revision=1)
    task, _ = await fleet.ask()
    failure = {"code": "engine_refused", "message": "Cut.", "too_long": True, "limit": 512, "asked": 900}
    tell(agent, {"type": "broke", **failure})
    with pytest.raises(ContextExceededError) as caught:
        await task
    assert (caught.value.limit, caught.value.asked) == (512, 900)


async def test_log_probabilities_come_with_their_text(fleet: Any) -> None:
    agent = fleet.agent(revision=1)
    task, out = await fleet.ask(logprobs=1)
    tokens = [
        {"token": "a", "logprob": -0.5, "bytes": [97], "top": [{"token": "b", "logprob": -1.0}]},
        {"token": "c", "logprob": -1.5, "bytes": [1000]},
    ]
    tell(agent, {"type": "logprobs", "tokens": tokens}, {"type": "text", "text": "ac"})
    agent.end()
    await task
    told = (TokenLogprob("a", -0.5, (97,), (TokenLogprob("b", -1.0),)), TokenLogprob("c", -1.5))
    assert (out.said, out.tokens) == ("ac", told)


async def test_log_probabilities_that_were_not_asked_for_are_dropped(fleet: Any) -> None:
    agent = fleet.agent()
    task, out = await fleet.ask()
    tell(agent, {"type": "logprobs", "tokens": [{"token": "a", "logprob": -0.5}]})
    agent.end()
    await asyncio.wait([task])
    assert out.tokens == ()


def test_an_agent_makes_the_same_request_of_a_job() -> None:
    request = Request("m", TURNS, **FIELDS)
    assert request_of(Job("j", 1, "m", TURNS, **fields_of(request))) == request
    assert fields_of(Request("m", TURNS)) == {}


def test_a_strict_request_without_parts_needs_no_field() -> None:
    assert needed_field(Request("m", TURNS, strict=True)) is None
    picture = (Turn("user", (ImagePart("data:image/png;base64,aGk="),)),)
    assert needed_field(Request("m", picture, strict=True)) == "images"
    assert needed_field(Request("m", picture)) is None


async def test_texts_are_embedded_in_jobs(fleet: Any) -> None:
    old, agent = fleet.agent(), fleet.agent(revision=1)
    task = asyncio.create_task(fleet.engine.embed("m", [str(number) for number in range(33)], 2))
    await fleet.until(lambda: agent.of("job"))
    assert (agent.job["embed"], agent.job["dimensions"], agent.job["turns"]) == (
        [str(number) for number in range(32)],
        2,
        [],
    )
    tell(agent, *({"type": "embedding", "vector": [number, 1]} for number in range(32)), ended(64))
    await fleet.until(lambda: len(agent.of("job")) == 2)
    tell(agent, {"type": "embedding", "vector": [32, 1]}, ended(2))
    found = await task
    assert found.vectors == tuple((float(number), 1.0) for number in range(33))
    assert found.tokens == 66
    assert not old.of("job")


async def test_a_lost_agent_leaves_no_vector(fleet: Any) -> None:
    a, b = fleet.agent(revision=1), fleet.agent(revision=1)
    task = asyncio.create_task(fleet.engine.embed("m", ["x", "y"]))
    await fleet.until(lambda: a.of("job"))
    tell(a, {"type": "embedding", "vector": [9]})
    a.disconnect()
    await fleet.until(lambda: b.of("job"))
    tell(b, {"type": "embedding", "vector": [1]}, {"type": "embedding", "vector": [2]}, ended(None))
    assert (await task).vectors == ((1.0,), (2.0,))


@pytest.mark.parametrize(
    ("vectors", "error"), [([[1.0]], EngineBrokeError), ([[1.0], [2.0]], UnsupportedOptionError)]
)
async def test_vectors_of_an_agent_must_be_those_that_were_asked_for(
    fleet: Any, vectors: list[list[float]], error: type[Exception]
) -> None:
    agent = fleet.agent(revision=1)
    task = asyncio.create_task(fleet.engine.embed("m", ["x", "y"], 3))
    await fleet.until(lambda: agent.of("job"))
    tell(agent, *({"type": "embedding", "vector": vector} for vector in vectors), ended(1))
    with pytest.raises(error):
        await task


async def test_older_agents_embed_nothing(fleet: Any) -> None:
    fleet.agent()
    with pytest.raises(UnsupportedOptionError) as caught:
        await fleet.engine.embed("m", ["x"])
    assert caught.value.option == "input"


async def test_a_model_that_only_embeds_is_listed_so(fleet: Any) -> None:
    facts = [{"name": "numbers", "chats": False}, {"name": "m"}]
    fleet.agent().say("models", facts=facts)
    assert {model.name: model.chats for model in await fleet.engine.models()} == {"numbers": False, "m": True}


def ended(tokens: int | None) -> dict[str, Any]:
    return {"type": "ended", "reason": "stop", "model": "m", "usage": {"prompt_tokens": tokens}}


def tell(agent: Any, *events: dict[str, Any]) -> None:
    """Send events of the agent's last job."""
    job = agent.job
    begin = agent.connection.attempts[job["jobId"]].received
    agent.say("events", jobId=job["jobId"], attempt=job["attempt"], **{"from": begin}, events=list(events))


async def test_an_older_agent_gets_tools_if_its_model_can_use_them(fleet: Any) -> None:
    agent = fleet.agent()
    agent.say("models", facts=[{"name": "m", "can": {"tools": True}}])
    task, _ = await fleet.ask(strict=True, tools=(TOOL,))
    assert [tool["name"] for tool in agent.job["tools"]] == ["t"]
    assert "strict" not in agent.job
    task.cancel()
