"""Requests as coding agents send them: beta headers, system blocks, thirty tools, results of tools, titles, counts."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.doubles.engines import replace_demo
from tests.doubles.schema_engine import SchemaEngine
from tests.gateway.server import calling, serving, settings_for

from legato.domain.message import TextPart, ToolCallPart, ToolResultPart
from legato.engines.base import Turn

MODEL = "claude-sonnet-4-5-20250929"

HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
    "anthropic-dangerous-direct-browser-access": "true",
    "authorization": "Bearer none",
    "user-agent": "claude-cli/2.1.100 (external, cli)",
    "x-app": "cli",
    "x-stainless-lang": "js",
    "x-stainless-retry-count": "0",
    "x-stainless-timeout": "600",
}

CACHED = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


def tool(name: str, **properties: str) -> dict[str, Any]:
    """A tool whose description is as long as those of agents."""
    return {
        "name": name,
        "description": f"{name}. " + "Use it with care, and never twice for the same thing. " * 50,
        "input_schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {key: {"type": kind, "description": key} for key, kind in properties.items()},
            "required": list(properties),
            "additionalProperties": False,
        },
    }


TOOLS = [
    tool("Read", file_path="string", limit="number"),
    tool("Bash", command="string", run_in_background="boolean"),
    *(tool(f"mcp__server__tool_{number}", query="string") for number in range(27)),
    {**tool("Edit", file_path="string", old_string="string"), **CACHED, "eager_input_streaming": True},
]

REMINDER = "<system-reminder>Answer from the files alone.</system-reminder>"


def system(nonce: str) -> list[dict[str, Any]]:
    billing = f"x-anthropic-billing-header: cc_version=2.1.100.7b4; cc_entrypoint=cli; cch={nonce};"
    return [
        {"type": "text", "text": billing},
        {"type": "text", "text": "You are an agent for code.", **CACHED},
        {"type": "text", "text": "You are careful. " * 500, **CACHED},
    ]


def body(messages: list[dict[str, Any]], nonce: str, **fields: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "max_tokens": 32_000,
        "messages": messages,
        "system": system(nonce),
        "tools": TOOLS,
        "metadata": {"user_id": "user_0_account__session_1"},
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "medium"},
        "stream": True,
        **fields,
    }


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> SchemaEngine:
    engine = SchemaEngine(models=("demo:echo", "scripted"))
    replace_demo(monkeypatch, engine)
    return engine


@pytest.fixture
async def http(engine: SchemaEngine, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        serving(settings_for(tmp_path, aliases={MODEL: "scripted"})) as server,
        calling(server) as http,
    ):
        yield http


async def post(http: aiohttp.ClientSession, path: str, fields: dict[str, Any]) -> bytes:
    async with http.post(path, json=fields, headers=HEADERS) as response:
        told = await response.read()
        assert response.status == 200, told
        return told


def message_of(told: bytes) -> dict[str, Any]:
    """Return the message that a stream of events adds up to."""
    message: dict[str, Any] = {}
    texts: dict[int, str] = {}
    for line in told.decode().split("\n"):
        event = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
        match event.get("type"):
            case "message_start":
                message = event["message"]
            case "content_block_start":
                message["content"].append(event["content_block"])
                texts[event["index"]] = ""
            case "content_block_delta":
                delta = event["delta"]
                texts[event["index"]] += next(
                    (delta[key] for key in ("text", "partial_json", "thinking") if key in delta), ""
                )
            case "message_delta":
                message |= event["delta"]
            case "error":
                raise AssertionError(event)
    for index, block in enumerate(message["content"]):
        if block["type"] == "tool_use":
            block["input"] = json.loads(texts[index])
        else:
            block[block["type"]] = texts[index]
    return message


async def test_an_agent_reads_a_file_and_answers(http: aiohttp.ClientSession, engine: SchemaEngine) -> None:
    async with http.head("/") as response:
        assert response.status == 200
    asked = {"type": "text", "text": "Call Read on 'a.py'", **CACHED}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": REMINDER}, asked]}
    ]
    first = message_of(await post(http, "/v1/messages?beta=true", body(messages, "1")))
    assert (first["stop_reason"], first["model"]) == ("tool_use", MODEL)
    thought, use = first["content"]
    assert thought["type"] == "thinking"
    assert (use["name"], use["input"]["file_path"]) == ("Read", "a.py")

    result = {"type": "tool_result", "tool_use_id": use["id"], "content": "     1→import os", **CACHED}
    messages += [
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": [result, {"type": "text", "text": REMINDER}]},
    ]
    engine_tools = engine.requests[-1].tools
    second = message_of(
        await post(http, "/v1/messages?beta=true", body(messages, "2", tool_choice={"type": "none"}))
    )
    assert second["stop_reason"] == "end_turn"
    assert second["content"][-1]["text"].endswith("lazy dog.")

    before, after = engine.requests[-2:]
    assert len(engine_tools) == 30
    # The prompt of the second request begins with that of the first.
    assert after.turns[: len(before.turns)] == before.turns
    assert after.turns[0].parts == (TextPart("You are an agent for code.\n\n" + "You are careful. " * 500),)
    assert after.turns[2:] == (
        Turn(
            "assistant", (ToolCallPart(use["id"], "Read", json.dumps(use["input"], separators=(",", ":"))),)
        ),
        Turn("tool", (ToolResultPart(use["id"], "", "     1→import os", False),)),
        Turn("user", (TextPart(REMINDER),)),
    )


async def test_a_title_and_a_count(http: aiohttp.ClientSession) -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    messages = [{"role": "user", "content": "Name this: 'Fix the parser'"}]
    config = {"format": {"type": "json_schema", "schema": schema}}
    fields = body(messages, "3", tools=[], thinking={"type": "disabled"}, output_config=config, temperature=1)
    told = message_of(await post(http, "/v1/messages?beta=true", fields))
    assert json.loads(told["content"][0]["text"]) == {"title": "Fix the parser"}
    counted = {key: fields[key] for key in ("model", "messages", "system")}
    count = json.loads(await post(http, "/v1/messages/count_tokens?beta=true", {**counted, "tools": TOOLS}))
    assert count["input_tokens"] > 15_000


async def test_what_runs_at_anthropic_is_refused_by_name(http: aiohttp.ClientSession) -> None:
    fields = body(
        [{"role": "user", "content": "x"}], "4", tools=[{"type": "web_search_20250305", "name": "web_search"}]
    )
    async with http.post("/v1/messages?beta=true", json=fields, headers=HEADERS) as response:
        assert response.status == 400
        assert "web_search" in (await response.json())["error"]["message"]
