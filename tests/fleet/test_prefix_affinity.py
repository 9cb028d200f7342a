"""Calls without a conversation go to the agent that has read the beginning of their prompt, and take turns by user and key."""

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from legato.domain.message import TextPart
from legato.engines.base import Request, Turn
from legato.fleet.decisions import Assign, SchedulerConfig
from legato.fleet.job_queue import FairQueue, JobSpec, QueuedJob
from legato.fleet.prompt_prefixes import PromptPrefix
from legato.fleet.protocol import ModelInfo
from legato.fleet.scheduler import Scheduler
from legato.fleet.scheduling import AgentSpec
from legato.testing.engine import Recorder


def turns(*texts: str) -> tuple[Turn, ...]:
    """Questions and answers in turn."""
    return tuple(Turn("assistant" if at % 2 else "user", (TextPart(text),)) for at, text in enumerate(texts))


async def ask(fleet: Any, *texts: str, **fields: Any) -> Any:
    """Ask as a client does that sends all of its messages. Return the agent that got the job."""
    before = {agent: len(agent.of("job")) for agent in fleet.agents}
    task = asyncio.create_task(
        fleet.engine.generate(Request("m", turns(*texts), **{"user": "ada", **fields}), Recorder())
    )
    await asyncio.sleep(0)
    (agent,) = [each for each in fleet.agents if len(each.of("job")) > before[each]]
    agent.task = task
    return agent


async def answer(agent: Any, *words: str) -> None:
    agent.write(*words)
    agent.end()
    await agent.task


def a_fleet(build: Callable[..., Any], agents: int = 3, slots: int = 4, **config: Any) -> Any:
    fleet = build(**config)
    fleet.agents = [fleet.agent(slots=slots) for _ in range(agents)]
    return fleet


async def test_a_next_turn_goes_to_the_agent_that_has_read_the_one_before(build: Callable[..., Any]) -> None:
    fleet = a_fleet(build)
    homes = {}
    for name in ("one", "two", "three"):
        homes[name] = await ask(fleet, name)
        await answer(homes[name], "Yes", ", ", name)
    assert len(set(homes.values())) == 3
    for name in ("two", "one", "three", "one"):
        agent = await ask(fleet, name, f"Yes, {name}", "Really?")
        assert agent is homes[name]
        await answer(agent, "Yes")


async def test_two_with_one_question_are_told_apart_by_their_answers(build: Callable[..., Any]) -> None:
    fleet = a_fleet(build)
    first, second = await ask(fleet, "Hello"), await ask(fleet, "Hello", cache_key="other")
    await answer(first, "Hi")
    await answer(second, "Good day")
    third = await ask(fleet, "Hello")
    await answer(third, "Salut")
    assert third is first
    assert await ask(fleet, "Hello", "Hi", "Who are you?") is first
    assert await ask(fleet, "Hello", "Good day", "Who are you?", cache_key="other") is second


async def test_a_cache_key_finds_the_agent_of_another_prompt(build: Callable[..., Any]) -> None:
    fleet = a_fleet(build)
    agent = await ask(fleet, "Hello", cache_key="k")
    await answer(agent, "Hi")
    await answer(await ask(fleet, "Something else"), "Hi")
    assert await ask(fleet, "Summary of what came before", cache_key="k") is agent


async def test_another_user_is_not_sent_there(build: Callable[..., Any]) -> None:
    fleet = a_fleet(build, agents=2)
    agent = await ask(fleet, "Hello", cache_key="k")
    await answer(agent, "Hi")
    assert await ask(fleet, "Hello", user="ben", cache_key="k") is not agent


async def test_of_an_agent_that_left_nothing_is_remembered(build: Callable[..., Any]) -> None:
    fleet = a_fleet(build, agents=2)
    agent = await ask(fleet, "Hello")
    await answer(agent, "Hi")
    agent.say("drain")
    agent.disconnect()
    other = await ask(fleet, "Hello", "Hi", "Who are you?")
    assert other is not agent
    affinity = fleet.engine.dispatcher.coordination.scheduler._choice.affinity
    assert set(affinity._prefixes.values()) == {other.connection.id}
    await answer(other, "Me")
    again = await ask(fleet, "Hello", "Hi", "Who are you?", "Me", "You?")
    assert again is other


async def test_load_spreads_although_all_begin_alike(build: Callable[..., Any]) -> None:
    fleet = a_fleet(build, agents=4)
    agents = [await ask(fleet, "Hello") for _ in range(16)]
    assert {agents.count(each) for each in fleet.agents} == {4}


async def test_a_withdrawn_call_is_cancelled_at_its_agent(build: Callable[..., Any]) -> None:
    fleet = a_fleet(build, agents=1)
    agent = await ask(fleet, "Hello")
    agent.task.cancel()
    await asyncio.sleep(0)
    assert [each["jobId"] for each in agent.of("cancel")] == [agent.job["jobId"]]


def scheduler(*names: str, **config: Any) -> Scheduler:
    found = Scheduler(SchedulerConfig(**config))
    for name in names:
        found.join(AgentSpec(name, 2, {"m": ModelInfo("m", loaded=True)}), 0)
    return found


def submit(found: Scheduler, job: str, *prefixes: PromptPrefix) -> str:
    (decision,) = found.submit(JobSpec(job, "m", prefixes=prefixes), 0)
    assert isinstance(decision, Assign)
    found.job_ended(decision.agent, job, decision.attempt, 0)
    return decision.agent


def test_a_short_system_prompt_is_no_reason_to_share_an_agent_and_a_long_one_is() -> None:
    found = scheduler("a", "b", affinity_size=2000)
    for size, agents in ((100, {"a", "b"}), (5000, {"a"})):
        system = PromptPrefix(b"system%d" % size, size, shared=True)
        given_to = [
            submit(found, f"{size}-{each}", system, PromptPrefix(b"%d %d" % (size, each), 9000))
            for each in range(4)
        ]
        assert set(given_to) == agents


def test_a_call_waits_for_what_it_has_said_and_not_for_a_shared_system_prompt() -> None:
    found = scheduler("a", "b")
    system, whole = PromptPrefix(b"s", 5000, shared=True), PromptPrefix(b"w", 6000)
    assert [each.agent for each in found.submit(JobSpec("1", "m", prefixes=(system, whole)), 0)] == ["a"]
    found.submit(JobSpec("2", "m"), 0)
    found.submit(JobSpec("3", "m"), 0)
    assert found.agents["a"].free == 0
    (assigned,) = found.submit(JobSpec("4", "m", prefixes=(system, PromptPrefix(b"x", 6000))), 0)
    assert assigned.agent == "b"
    assert found.submit(JobSpec("5", "m", prefixes=(system, whole)), 0) == []


def test_what_is_remembered_is_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr("legato.fleet.scheduling.REMEMBERED_PREFIXES", 3)
    found = scheduler("a", "b")
    for each in range(10):
        submit(found, str(each), PromptPrefix(b"%d" % each, 1))
    kept = found._choice.affinity._prefixes
    assert list(kept) == [(b"7", "m"), (b"8", "m"), (b"9", "m")]


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("kl"), st.booleans()), max_size=30))
def test_jobs_of_a_key_keep_their_order(jobs: list[tuple[str, str, bool]]) -> None:
    queue = FairQueue()
    waiting: dict[tuple[str, str], list[int]] = {}
    for number, (user, key, take) in enumerate(jobs):
        queue.put(QueuedJob(JobSpec(str(number), "m", user, key=key), number, 0, 0))
        waiting.setdefault((user, key), []).append(number)
        if take:
            first = queue.order()[0]
            queue.take(first)
            queue.started(first)
            assert waiting[first.spec.user, first.spec.key].pop(0) == first.number


@given(st.lists(st.sampled_from("klm"), max_size=20))
def test_keys_of_a_user_take_turns(keys: list[str]) -> None:
    queue = FairQueue()
    for number, key in enumerate(keys):
        queue.put(QueuedJob(JobSpec(str(number), "m", "ada", key=key), number, 0, 0))
    before = [job.spec.key for job in queue.order()]
    served = [before[:at].count(key) for at, key in enumerate(before)]
    assert served == sorted(served)


def test_a_key_with_many_jobs_does_not_keep_another_of_the_same_user_waiting() -> None:
    queue = FairQueue()
    for number, key in enumerate("aaaab", start=1):
        queue.put(QueuedJob(JobSpec(f"{key}{number}", "m", "ada", key=key), number, 0, 0))
    assert [job.spec.job for job in queue.order()] == ["a1", "b5", "a2", "a3", "a4"]
