"""E: `/ws/agents` by an agent of the first generation, and the old browsers' door, written from the notes alone."""

import json
from typing import Any

import pytest

from .browser import Browser
from .conftest import MEDICAL, Start
from .exchange import Exchange, Frame
from .people import Person

FLEET = f"""
[fleet]
queue_seconds = 20
unwanted_seconds = 0.5
[assistants.fleet]
engine = "fleet"
model = "llama2"
disclaimer = "{MEDICAL}"
"""


@pytest.fixture(scope="session")
def fleet(start: Start) -> str:
    return start(FLEET)


@pytest.fixture(scope="session")
def busy_fleet(start: Start) -> str:
    """Where all are busy, a request is refused at once, as the first generation did."""
    return start(FLEET.replace("queue_seconds = 20", "queue_seconds = 0"))


def prompt(model: str, content: str = "Hello") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], "model": model}


class Agent(Person):
    """The agent that exists: one job at a time, a prompt, no numbers, no `done`, deaf to all but jobs."""

    async def registers(self, *models: str) -> "Agent":
        await self.connects("/ws/agents")
        await self.hears("welcome")
        await self.says({"type": "register", "models": list(models)})
        await self.hears("registered")
        return self

    async def gets_job(self) -> Frame:
        job = await self.hears("job")
        await self.says({"type": "status", "status": "busy"})
        return job

    async def tells(self, job: Frame, *tokens: str) -> None:
        for token in tokens:
            await self.says({"type": "token", "jobId": job["jobId"], "token": token, "done": False})

    async def completes(self, job: Frame, *, idle_first: bool = False) -> None:
        complete = {"type": "job_complete", "jobId": job["jobId"]}
        idle = {"type": "status", "status": "idle"}
        for frame in (idle, complete) if idle_first else (complete, idle):
            await self.says(frame)


@pytest.mark.parametrize("idle_first", [False, True])
async def test_conversation(exchange: Exchange, fleet: str, idle_first: bool) -> None:
    model = f"talk-{idle_first}"
    async with Agent(exchange, fleet, "agent") as agent, Browser(exchange, fleet, "browser") as browser:
        await agent.registers(model, "mistral")
        await agent.says({"type": "heartbeat", "timestamp": 1755187200000})
        await browser.gets("/api/agents/status")
        await browser.asks(prompt(model))
        job = await agent.gets_job()
        assert job["prompt"] == "Hello"
        assert job["parameters"] == {}
        await agent.tells(job, "Hel", "lo ", "you")
        await browser.hears("Hello you")
        await browser.gets("/api/agents/status")
        await agent.completes(job, idle_first=idle_first)
        await browser.hears()
        assert browser.lines[-1] == "data: [DONE]\n"
        await browser.gets("/api/agents/status")
        await browser.asks(prompt(model, "Once more") | {"parameters": {"temperature": 0.5}})
        job = await agent.gets_job()
        assert job["parameters"] == {"temperature": 0.5}
        await agent.tells(job, "Again")
        await agent.says({"type": "token", "jobId": job["jobId"], "token": "", "done": True})
        await agent.completes(job)
        await browser.hears()


@pytest.mark.parametrize("parameters", ["none", "null"])
async def test_parameters(exchange: Exchange, fleet: str, parameters: str) -> None:
    model = f"parameters-{parameters}"
    async with Agent(exchange, fleet, "agent") as agent, Browser(exchange, fleet, "browser") as browser:
        await agent.registers(model)
        await browser.asks(prompt(model) | ({"parameters": None} if parameters == "null" else {}))
        assert (await agent.gets_job())["parameters"] == {}


async def test_history(exchange: Exchange, fleet: str) -> None:
    async with Agent(exchange, fleet, "agent") as agent, Browser(exchange, fleet, "browser") as browser:
        await agent.registers("history")
        said = [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi."), ("user", "Who are you?")]
        messages = [{"role": role, "content": content} for role, content in said]
        await browser.asks({"messages": messages, "model": "history"})
        job = await agent.gets_job()
        await agent.tells(job, "Nobody.")
        await agent.completes(job)
        await browser.hears()


async def test_error(exchange: Exchange, fleet: str) -> None:
    async with Agent(exchange, fleet, "agent") as agent, Browser(exchange, fleet, "browser") as browser:
        await browser.asks(prompt("nobody-has-it"))
        await browser.hears()
        assert [json.loads(line[6:]) for line in browser.lines] == [{"error": "No available agents"}]
        await agent.registers("errors")
        await agent.says({"type": "dance"})
        await browser.asks(prompt("errors"))
        job = await agent.gets_job()
        await agent.says({"type": "job_error", "jobId": job["jobId"], "error": "CUDA out of memory"})
        await agent.says({"type": "status", "status": "idle"})
        await browser.hears()
        assert "CUDA out of memory" in browser.lines[-1]
        await browser.asks(prompt("errors"))
        job = await agent.gets_job()
        await agent.completes(job)
        await browser.hears()
        assert "error" in browser.lines[-1]
        await agent.says("no JSON")
        await browser.asks(prompt("errors"))
        job = await agent.gets_job()
        for _ in range(60):
            await agent.says("no JSON")
        assert await agent.is_closed() == 4000


async def test_busy(exchange: Exchange, busy_fleet: str) -> None:
    async with Agent(exchange, busy_fleet, "agent") as agent:
        await agent.registers()
        async with (
            Browser(exchange, busy_fleet, "first") as first,
            Browser(exchange, busy_fleet, "second") as second,
        ):
            await first.asks(prompt("any-model"))
            job = await agent.gets_job()
            await second.asks(prompt("any-model"))
            await second.hears()
            await agent.tells(job, "Done.")
            await agent.completes(job)
            await first.hears()


async def test_second_participant(exchange: Exchange, fleet: str) -> None:
    """Two ask one agent: one after the other. A second agent makes it two at once."""
    async with (
        Agent(exchange, fleet, "agent") as agent,
        Browser(exchange, fleet, "first") as first,
        Browser(exchange, fleet, "second") as second,
    ):
        await agent.registers("two")
        await first.asks(prompt("two", "I am first"))
        job = await agent.gets_job()
        await second.asks(prompt("two", "I am second"))
        await agent.tells(job, "One.")
        await agent.completes(job)
        await first.hears()
        job = await agent.gets_job()
        await agent.tells(job, "Two.")
        async with Agent(exchange, fleet, "other") as other:
            await other.registers("two")
            await first.asks(prompt("two", "I am third"))
            third = await other.gets_job()
            await other.tells(third, "Three.")
            await other.completes(third)
            await first.hears()
        await agent.completes(job)
        await second.hears()


async def test_cut(exchange: Exchange, fleet: str) -> None:
    """An agent dies; the next one gets the prompt again, and what was shown is not shown twice."""
    async with Agent(exchange, fleet, "agent") as agent, Browser(exchange, fleet, "browser") as browser:
        await agent.registers("cut")
        await browser.asks(prompt("cut"))
        job = await agent.gets_job()
        await agent.tells(job, "one ", "two ")
        await browser.hears("one two ")
        await agent.is_cut()
        async with Agent(exchange, fleet, "next") as following:
            await following.registers("cut")
            again = await following.gets_job()
            assert again["prompt"] == "Hello"
            await following.tells(job, "of its old job ")
            await following.tells(again, "one ", "two ")
            await following.says({"type": "job_complete", "jobId": job["jobId"]})
            await following.tells(again, "three")
            await following.completes(again)
            await browser.hears()
            assert browser.lines[-1] == "data: [DONE]\n"


async def test_cut_and_other_words(exchange: Exchange, fleet: str) -> None:
    async with Agent(exchange, fleet, "agent") as agent, Browser(exchange, fleet, "browser") as browser:
        await agent.registers("other")
        await browser.asks(prompt("other"))
        job = await agent.gets_job()
        await agent.tells(job, "one ", "two ")
        await browser.hears("one two ")
        await agent.is_cut()
        async with Agent(exchange, fleet, "next") as following:
            await following.registers("other")
            again = await following.gets_job()
            await following.tells(again, "one ", "three ")
            await browser.hears()
            assert "error" in browser.lines[-1]


async def test_stop(exchange: Exchange, fleet: str) -> None:
    """A browser goes away: nothing is sent to the agent, and what it still says is dropped; too long, and it is closed."""
    async with Agent(exchange, fleet, "agent") as agent:
        await agent.registers("stop")
        async with Browser(exchange, fleet, "browser") as browser:
            await browser.asks(prompt("stop"))
            job = await agent.gets_job()
            await agent.tells(job, "one ")
            await browser.hears("one ")
            browser.goes_away()
        await agent.is_closed()
        await agent.registers("stop")
        await agent.tells(job, "two ")
        async with Browser(exchange, fleet, "other") as other:
            await other.asks(prompt("stop"))
            following = await agent.gets_job()
            await agent.tells(following, "Fine.")
            await agent.completes(following)
            await other.hears()


async def test_disclaimer(exchange: Exchange, fleet: str) -> None:
    """The fleet behind a conversation: the server appends it, whatever the agent says."""
    async with (
        Agent(exchange, fleet, "agent") as agent,
        await Person(exchange, fleet, "anna").connects(
            "/ws/conversations/agents-disclaimer?assistant=fleet"
        ) as anna,
    ):
        await agent.registers("llama2")
        await anna.says({"type": "message", "text": "Is it bad?"})
        job = await agent.gets_job()
        await agent.tells(job, "It ", "is not.")
        await agent.completes(job)
        await anna.hears("done")


async def test_key(exchange: Exchange, start: Start) -> None:
    server = start('[fleet]\nagent_keys = ["right"]\n')
    for headers, query in (({}, ""), ({"Authorization": "Bearer wrong"}, ""), ({}, "?key=wrong")):
        stranger = Agent(exchange, server, "stranger")
        await stranger.connects(f"/ws/agents{query}", **headers)
        assert await stranger.is_closed() == 4001
    for headers, query in (({"Authorization": "Bearer right"}, ""), ({}, "?key=right")):
        async with await Agent(exchange, server, "agent").connects(f"/ws/agents{query}", **headers) as agent:
            await agent.hears("welcome")
