"""Tools that the server runs, as `useChat` sees them: of an assistant, and of the assistant of a conversation."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.doubles.engines import replace_demo
from tests.gateway.server import calling, serving, settings_for

from legato.engines.base import ToolSpec
from legato.errors import ToolError
from legato.gateway import tool_factory
from legato.testing.engine import ScriptedEngine
from legato.tools.base import Context, Tool


class Weather:
    """Knows the weather of Ulm."""

    spec = ToolSpec("weather", "The weather of a city", {"type": "object", "properties": {"city": {}}})
    approval = False
    seconds = 5.0

    async def run(self, arguments: dict[str, Any], context: Context) -> str:
        if arguments["city"] != "Ulm":
            raise ToolError("Only Ulm is known.")
        return '{"sky":"blue"}'


class WeatherTools:
    name = "weather"

    @property
    def tools(self) -> Sequence[Tool]:
        return (Weather(),)

    async def open(self) -> None: ...

    async def close(self) -> None: ...


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    engine = ScriptedEngine("demo", models=())
    replace_demo(monkeypatch, engine)
    monkeypatch.setattr(tool_factory, "make_toolset", lambda name, section: WeatherTools())
    return engine


@pytest.fixture
async def http(engine: ScriptedEngine, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    assistant = {"engine": "demo", "model": "demo:echo", "tools": ["weather"]}
    settings = settings_for(tmp_path, assistants={"default": assistant}, tools={"weather": {"kind": "mcp"}})
    async with serving(settings) as server, calling(server) as http:
        yield http


@pytest.mark.parametrize("stored", [False, True])
async def test_the_tools_of_an_assistant_are_told_with_their_results(
    http: aiohttp.ClientSession, engine: ScriptedEngine, stored: bool
) -> None:
    headers = {}
    if stored:
        async with http.post("/api/conversations", json={}) as answer:
            headers["legato-conversation"] = (await answer.json())["id"]
    message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}

    async def ask() -> list[dict[str, Any]]:
        async with http.post("/ai/chat", json={"id": "c", "messages": [message]}, headers=headers) as answer:
            lines = (await answer.text()).split("\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]

    asking = asyncio.create_task(ask())
    run = await engine.asked()
    run.call("1", "weather", '{"city":"Ulm"}')
    run.call("2", "weather", '{"city":"Rome"}')
    run.finish("tool_calls")
    run = await engine.asked()
    run.say("Blue.")
    run.finish()
    told = [part for part in await asking if part["type"] not in ("tool-input-delta", "text-start")]
    here = {"providerExecuted": True, "dynamic": True}
    assert told[2:-2] == [
        {"type": "tool-input-start", "toolCallId": "1", "toolName": "weather", **here},
        {
            "type": "tool-input-available",
            "toolCallId": "1",
            "toolName": "weather",
            **here,
            "input": {"city": "Ulm"},
        },
        {"type": "tool-output-available", "toolCallId": "1", **here, "output": {"sky": "blue"}},
        {"type": "tool-input-start", "toolCallId": "2", "toolName": "weather", **here},
        {
            "type": "tool-input-available",
            "toolCallId": "2",
            "toolName": "weather",
            **here,
            "input": {"city": "Rome"},
        },
        {"type": "tool-output-error", "toolCallId": "2", **here, "errorText": "Only Ulm is known."},
        {"type": "finish-step"},
        {"type": "start-step"},
        {"type": "text-delta", "id": "1", "delta": told[-4]["delta"]},
        {"type": "text-end", "id": "1"},
    ]
    assert told[-4]["delta"].strip() == "Blue."


async def test_other_apis_tell_only_the_answer(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    async def ask() -> Any:
        body = {"model": "default", "messages": [{"role": "user", "content": "hi"}]}
        async with http.post("/v1/chat/completions", json=body) as answer:
            return (await answer.json())["choices"][0]

    asking = asyncio.create_task(ask())
    run = await engine.asked()
    run.call("1", "weather", '{"city":"Ulm"}')
    run.finish("tool_calls")
    run = await engine.asked()
    run.say("Blue.")
    run.finish()
    choice = await asking
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Blue.", "stop")
    assert "tool_calls" not in choice["message"]
