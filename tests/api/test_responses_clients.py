"""Frameworks that resume OpenAI's Responses by themselves: pydantic-ai and agent-framework, unmodified, over connections that are cut."""

import asyncio
from pathlib import Path

import openai
import pytest
from agent_framework import Message
from agent_framework_openai import OpenAIChatClient
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIResponsesModel, OpenAIResponsesModelSettings
from pydantic_ai.providers.openai import OpenAIProvider
from tests.api.event_cutter import EventCutter
from tests.gateway.server import serving, settings_for

from legato.testing.engine import ScriptedEngine

WORDS = ("one ", "two ", "three ", "four ", "five")
BACKGROUND = OpenAIResponsesModelSettings(openai_background=True)


def sdk_of(address: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def agent_of(sdk: openai.AsyncOpenAI) -> Agent[None, str]:
    model = OpenAIResponsesModel("default", provider=OpenAIProvider(openai_client=sdk))
    return Agent(model, model_settings=BACKGROUND)


@pytest.mark.parametrize("events", [7])
async def test_pydantic_ai_resumes_wherever_it_is_cut(
    engine: ScriptedEngine, tmp_path: Path, events: int
) -> None:
    async with (
        serving(settings_for(tmp_path)) as server,
        EventCutter(server.address, events, 1).running() as cutter,
        sdk_of(cutter.address) as sdk,
    ):

        async def ask() -> list[str]:
            async with agent_of(sdk).run_stream("count") as result:
                return [delta async for delta in result.stream_text(delta=True, debounce_by=None)]

        asking = asyncio.create_task(ask())
        run = await engine.asked()
        run.say(*WORDS)
        run.finish()
        assert "".join(await asking) == "".join(WORDS)
        first, resumed = cutter.requests
        assert first == "POST /v1/responses"
        assert resumed.endswith(f"?starting_after={events - 1}&stream=true")


async def test_pydantic_ai_uses_tools_over_connections_that_are_cut(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    async with (
        serving(settings_for(tmp_path)) as server,
        EventCutter(server.address, 8, 1).running() as cutter,
        sdk_of(cutter.address) as sdk,
    ):
        agent = agent_of(sdk)

        @agent.tool_plain
        def double(number: int) -> int:
            return number * 2

        async def ask() -> str:
            async with agent.run_stream("double 21") as result:
                return "".join([text async for text in result.stream_text(delta=True)])

        asking = asyncio.create_task(ask())
        run = await engine.asked()
        run.think("hm")
        run.call("c1", "double", '{"number": 21}')
        run.finish("tool_calls")
        run = await engine.asked()
        assert run.request.turns[-1].role == "tool"
        run.say("It is 42.")
        run.finish()
        assert await asking == "It is 42."


async def test_agent_framework_goes_on_after_a_cut_and_a_restart(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    token = None
    async with (
        serving(settings_for(tmp_path)) as server,
        EventCutter(server.address, 6, 1).running() as cutter,
        sdk_of(cutter.address) as sdk,
    ):
        client = OpenAIChatClient(model="default", async_client=sdk)
        asking = client.get_response([Message("user", ["count"])], stream=True, options={"background": True})
        reading = asyncio.ensure_future(anext(aiter(asking)))
        run = await engine.asked()
        run.say(*WORDS)
        run.finish()
        updates = [await reading, *[update async for update in asking]]
        token = next(update.continuation_token for update in updates if update.continuation_token)
        assert "".join(WORDS) != "".join(update.text for update in updates)
    async with serving(settings_for(tmp_path)) as server, sdk_of(server.address) as sdk:
        client = OpenAIChatClient(model="default", async_client=sdk)
        resumed = client.get_response([], stream=True, options={"continuation_token": token})
        assert (await resumed.get_final_response()).text == "".join(WORDS)
        polled = await client.get_response([], options={"continuation_token": token})
        assert polled.text == "".join(WORDS)
