"""Anthropic's Messages: the official SDK on a real port, and an engine with a script."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import pytest
from tests.gateway.server import serving, settings_for

from legato.api import generation
from legato.api.anthropic.errors import error_object
from legato.api.anthropic.models import list_object
from legato.api.catalog_model import CatalogModel
from legato.api.request_fields import InvalidFieldError
from legato.domain.message import ImagePart, TextPart, ToolCallPart, ToolResultPart
from legato.engines.base import Turn
from legato.errors import EngineBrokeError, UnsupportedOptionError
from legato.stream import Usage
from legato.testing.engine import ScriptedEngine

MODEL = "default"
HI: Any = [{"role": "user", "content": "hi"}]
TOOL: Any = {"name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {}}}


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client waits for the head of a stream, which comes with the first word or sign of life."""
    monkeypatch.setattr(generation, "WAITING_SECONDS", 0.02)


@pytest.fixture
async def client(engine: ScriptedEngine, tmp_path: Path) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with (
        serving(settings_for(tmp_path)) as server,
        anthropic.AsyncAnthropic(base_url=server.address, api_key="none", max_retries=0) as client,
    ):
        yield client


async def test_a_streamed_message_with_thoughts_and_a_tool(
    client: anthropic.AsyncAnthropic, engine: ScriptedEngine
) -> None:
    async with client.messages.stream(
        model=MODEL,
        max_tokens=2000,
        messages=HI,
        tools=[TOOL],
        thinking={"type": "enabled", "budget_tokens": 1024},
    ) as stream:
        run = await engine.asked()
        run.think("Hm", "m.")
        run.say("It is ", "süß\n\ndata: x")
        run.call("call_1", "weather", '{"city":"Ulm"}')
        run.finish("tool_calls", usage=Usage(7, 5))
        message = await stream.get_final_message()
    thought, text, call = message.content
    assert (thought.type, text.type, call.type) == ("thinking", "text", "tool_use")
    assert getattr(thought, "thinking", "") == "Hmm."
    assert getattr(text, "text", "") == "It is süß\n\ndata: x"
    assert (
        call.to_dict() | {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Ulm"}}
        == call.to_dict()
    )
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 5)
    assert run.request.think is True
    assert run.request.options["num_predict"] == 2000


async def test_a_whole_message(client: anthropic.AsyncAnthropic, engine: ScriptedEngine) -> None:
    asking = asyncio.create_task(client.messages.create(model=MODEL, max_tokens=5, messages=HI))
    run = await engine.asked()
    run.think("hidden")
    run.say("Hello")
    run.finish("length")
    message = await asking
    (block,) = message.content
    assert getattr(block, "text", "") == "Hello"
    assert message.stop_reason == "max_tokens"


async def test_the_history_reaches_the_engine(
    client: anthropic.AsyncAnthropic, engine: ScriptedEngine
) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    history: Any = [
        {"role": "user", "content": [{"type": "text", "text": "See"}, picture]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c", "name": "weather", "input": {"a": 1}}],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c",
                    "content": [{"type": "text", "text": "sun"}],
                    "is_error": True,
                },
                {"type": "text", "text": "And?"},
            ],
        },
    ]
    async with client.messages.stream(
        model=MODEL,
        max_tokens=5,
        messages=history,
        system=[{"type": "text", "text": "Be kind."}],
        tools=[TOOL],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        stop_sequences=["END"],
        extra_body={"top_k": 4},
    ) as stream:
        run = await engine.asked()
        run.say("x")
        run.finish()
        await stream.until_done()
    assert run.request.turns == (
        Turn("system", (TextPart("Be kind."),)),
        Turn("user", (TextPart("See"), ImagePart("data:image/png;base64,aGk="))),
        Turn("assistant", (ToolCallPart("c", "weather", '{"a":1}'),)),
        Turn("tool", (ToolResultPart("c", "", "sun", failed=True),)),
        Turn("user", (TextPart("And?"),)),
    )
    assert (run.request.tool_choice, run.request.parallel_tools) == ("required", False)
    assert run.request.options == {"top_k": 4, "num_predict": 5, "stop": ["END"]}


async def test_a_broken_stream_is_an_error_and_no_message(
    client: anthropic.AsyncAnthropic, engine: ScriptedEngine
) -> None:
    async with client.messages.stream(model=MODEL, max_tokens=5, messages=HI) as stream:
        run = await engine.asked()
        run.say("Half")
        run.fail(EngineBrokeError("It broke. Try again."))
        with pytest.raises(anthropic.APIStatusError, match="It broke"):
            await stream.until_done()


WRONG: list[dict[str, Any]] = [
    {"max_tokens": 0},
    {"temperature": 7},
    {"messages": []},
    {"messages": [{"role": "robot", "content": "x"}]},
    {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
    {"tools": [{"type": "bash_20250124", "name": "bash"}]},
    {"tool_choice": {"type": "sometimes"}},
    {"tool_choice": {"type": "any"}},
    {"tool_choice": {"type": "tool", "name": "none"}, "tools": [TOOL]},
    {"thinking": {"type": "maybe"}},
    {"stop_sequences": [""]},
]


async def test_a_wrong_field_is_named(client: anthropic.AsyncAnthropic) -> None:
    for fields in WRONG:
        with pytest.raises(anthropic.BadRequestError, match=next(iter(fields)).rstrip("s")):
            await client.messages.create(model=MODEL, max_tokens=5, messages=HI, extra_body=fields)


async def test_an_unknown_model_is_not_found(client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        await client.messages.create(model="none", max_tokens=5, messages=HI)
    with pytest.raises(anthropic.NotFoundError) as caught:
        await client.models.retrieve("none")
    assert caught.value.body == {
        "type": "error",
        "error": {
            "type": "not_found_error",
            "message": "There is no model 'none' here. The list of models names all that there are.",
        },
    }


async def test_tokens_are_counted(client: anthropic.AsyncAnthropic) -> None:
    few = await client.messages.count_tokens(model=MODEL, messages=HI)
    many = await client.messages.count_tokens(model=MODEL, messages=HI, tools=[TOOL], system="word " * 50)
    assert 0 < few.input_tokens < many.input_tokens


async def test_the_models_are_listed(client: anthropic.AsyncAnthropic) -> None:
    assert "default" in [model.id async for model in client.models.list()]
    assert (await client.models.retrieve("default")).type == "model"


def test_pages_of_models() -> None:
    found = [CatalogModel(name, "model", "demo") for name in "abcde"]
    pages = [
        ({}, "abcde", False),
        ({"limit": 2}, "ab", True),
        ({"limit": 2, "after": "b"}, "cd", True),
        ({"limit": 2, "after": "c"}, "de", False),
        ({"after": "e"}, "", False),
        ({"limit": 2, "before": "d"}, "bc", True),
        ({"limit": 5, "before": "b"}, "a", False),
        ({"limit": 5, "before": "a"}, "", False),
    ]
    for asked, names, more in pages:
        page = list_object(found, **asked)
        assert ("".join(each["id"] for each in page["data"]), page["has_more"]) == (names, more)
    with pytest.raises(InvalidFieldError, match="after_id"):
        list_object(found, after="z")


def test_the_body_of_an_error_is_anthropics() -> None:
    from legato.gateway.api_errors import error_answer

    body = msgspec.json.decode(error_answer("anthropic", EngineBrokeError("x")).body)
    assert body == {"type": "error", "error": {"type": "api_error", "message": "x"}}


@pytest.mark.parametrize(
    ("option", "field"),
    [
        ("format", "output_format"),
        ("images", "messages"),
        ("tool_choice", "tool_choice"),
        ("parallel_tools", "tool_choice.disable_parallel_tool_use"),
        ("think", "thinking"),
    ],
)
def test_what_an_engine_refuses_is_named_as_the_request_names_it(option: str, field: str) -> None:
    told = error_object(UnsupportedOptionError("The engine cannot.", option), 400)["error"]["message"]
    assert told == f"`{field}`: The engine cannot."
