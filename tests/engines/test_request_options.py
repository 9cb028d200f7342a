"""Options that not every engine can do: each engine passes them on or refuses them by name."""

import json
from collections.abc import Collection
from typing import Any

import pytest
from msgspec.structs import replace

from legato.domain.message import TextPart
from legato.engines.base import Engine, Request, ToolSpec, Turn
from legato.engines.demo.engine import DemoEngine
from legato.engines.ollama.codec import chat
from legato.engines.ollama.engine import OllamaEngine
from legato.engines.openai.engine import OpenAIEngine
from legato.engines.openai.learned_refusals import RequestLimits
from legato.engines.openai.request import completion_fields
from legato.errors import UnsupportedOptionError
from legato.testing.engine import Recorder

HI = Request("m", (Turn("user", (TextPart("hi"),)),), tools=(ToolSpec("t", "d", {"type": "object"}),))
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
OPTIONS: dict[str, Any] = {
    "format": "json",
    "tool_choice": "required",
    "parallel_tools": False,
    "logprobs": 0,
    "raw": True,
    "suffix": "end",
}
CAN: dict[str, Collection[str]] = {
    "demo": {"raw"},
    "ollama": {"format", "logprobs", "raw", "suffix"},
    "openai": OPTIONS.keys(),
}


def made(name: str) -> Engine:
    engines: dict[str, Any] = {
        "demo": DemoEngine,
        "ollama": lambda: OllamaEngine("http://127.0.0.1:9"),
        "openai": lambda: OpenAIEngine("http://127.0.0.1:9"),
    }
    engine: Engine = engines[name]()
    return engine


@pytest.mark.parametrize("name", CAN)
async def test_what_an_engine_cannot_do_is_refused_by_name(name: str) -> None:
    engine = made(name)
    for option in OPTIONS.keys() - CAN[name]:
        with pytest.raises(UnsupportedOptionError) as caught:
            await engine.generate(replace(HI, **{option: OPTIONS[option]}), Recorder())
        assert caught.value.option == option
    await engine.close()


def test_an_openai_server_gets_them_as_its_own_fields() -> None:
    def fields(**options: Any) -> dict[str, Any]:
        return completion_fields(replace(HI, **options), {}, RequestLimits())

    assert fields(format="json")["response_format"] == {"type": "json_object"}
    schema = fields(format=SCHEMA)["response_format"]["json_schema"]
    assert (schema["name"], schema["schema"], schema["strict"]) == ("answer", SCHEMA, True)
    named = fields(format=SCHEMA, format_name="n", format_description="d", format_strict=False)
    assert named["response_format"]["json_schema"] == {
        "name": "n", "description": "d", "schema": SCHEMA, "strict": False,
    }  # fmt: skip
    assert "strict" not in fields(format=SCHEMA, format_name="n")["response_format"]["json_schema"]
    assert fields(tool_choice="required")["tool_choice"] == "required"
    assert fields(tool_choice="function:t")["tool_choice"] == {"type": "function", "function": {"name": "t"}}
    assert fields(parallel_tools=False)["parallel_tool_calls"] is False
    assert not {"response_format", "tool_choice", "parallel_tool_calls"} & fields().keys()


def test_ollama_gets_the_format() -> None:
    assert json.loads(chat(replace(HI, format=SCHEMA)))["format"] == SCHEMA
    assert "format" not in json.loads(chat(HI))
