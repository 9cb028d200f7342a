"""Ollama's API, held against recordings of a real Ollama: the same shape of responses, line by line."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.doubles.engines import replace_demo
from tests.doubles.recordings import Exchange, exchange
from tests.gateway.server import calling, serving, settings_for

from legato.errors import EngineBrokeError
from legato.stream import Timings, Usage
from legato.testing.engine import ScriptedEngine, ScriptedGeneration


def lines_of(recorded: Exchange) -> list[Any]:
    return [json.loads(line) for line in recorded.body.splitlines()]


def media_type_of(recorded: Exchange) -> str:
    return recorded.headers["content-type"].partition(";")[0]


def shape(value: Any) -> Any:
    """Return a value without what differs from run to run: texts, numbers and times."""
    match value:
        case dict():
            return {
                key: each if key in ("role", "done", "done_reason", "name", "index") else shape(each)
                for key, each in value.items()
            }
        case list():
            return [shape(each) for each in value[:1]]
    return type(value).__name__


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    engine = ScriptedEngine("demo", models=("plain:latest", "think", "tool", "loop"), continues=True)
    replace_demo(monkeypatch, engine)
    return engine


@pytest.fixture
async def http(engine: ScriptedEngine, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(settings_for(tmp_path)) as server, calling(server) as http:
        yield http


def recite(run: ScriptedGeneration, lines: list[Any]) -> None:
    """Write what a recording has."""
    for line in lines:
        message = line.get("message", {})
        run.think(*filter(None, [message.get("thinking") or line.get("thinking")]))
        run.say(*filter(None, [message.get("content") or line.get("response")]))
        for call in message.get("tool_calls", ()):
            run.call(call["id"], call["function"]["name"], json.dumps(call["function"]["arguments"]))
    last = lines[-1]
    if "error" in last:
        run.fail(EngineBrokeError(last["error"]))
    else:
        run.finish(
            "length" if last["done_reason"] == "length" else "stop",
            usage=Usage(last["prompt_eval_count"], last["eval_count"]),
            timings=Timings(
                load_ms=last["load_duration"] / 1e6,
                first_token_ms=(last["load_duration"] + last["prompt_eval_duration"]) / 1e6,
                total_ms=last["total_duration"] / 1e6,
                tokens_per_second=last["eval_count"] / last["eval_duration"] * 1e9,
            ),
        )


STREAMS = [
    "chat-stream", "chat-continue", "chat-format-json", "chat-length", "chat-stop", "chat-think", "chat-tools", "chat-once",
    "chat-tools-once", "chat-runner-killed", "generate-stream", "generate-once", "generate-raw", "generate-runner-killed",
]  # fmt: skip


async def test_replies_are_as_ollamas(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    for name in STREAMS:
        await compare(name, http, engine)


async def compare(name: str, http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    recorded = exchange(name)

    real_lines = lines_of(recorded)

    async def ask() -> list[Any]:
        async with http.post(recorded.path, data=recorded.request) as response:
            assert (response.status, response.content_type) == (recorded.status, media_type_of(recorded))
            assert response.headers["legato-stream"]
            return [json.loads(line) for line in (await response.read()).splitlines()]

    asking = asyncio.create_task(ask())
    recite(await engine.asked(), real_lines)
    lines = await asking
    assert [shape(line) for line in lines] == [shape(line) for line in real_lines]
    assert [list(line) for line in lines] == [list(line) for line in real_lines]
    for line, real in zip(lines, real_lines, strict=True):
        for key in line.keys() - {"created_at", "context", "error"}:
            if key.endswith("_duration"):
                assert line[key] == pytest.approx(real[key], abs=1)
            else:
                assert line[key] == real[key]


async def test_requests_without_a_prompt(http: aiohttp.ClientSession) -> None:
    for name in ("chat-load", "chat-unload", "generate-load"):
        recorded = exchange(name)
        async with http.post(recorded.path, data=recorded.request) as response:
            assert (response.status, response.content_type) == (200, "application/json")
            assert shape(await response.json()) == shape(lines_of(recorded)[0])


async def test_errors_are_as_ollamas(http: aiohttp.ClientSession) -> None:
    for name in (
        "err-unknown-model", "err-unknown-model-generate", "show-unknown", "err-bad-json", "err-no-body", "err-wrong-type",
    ):  # fmt: skip
        recorded = exchange(name)
        async with http.request(recorded.method, recorded.path, data=recorded.request) as response:
            assert response.status == recorded.status
            body, real = await response.json(), lines_of(recorded)[0]
        assert shape(body) == shape(real)
        if recorded.status == 404:
            assert body["error"].startswith(real["error"])


async def test_a_wrong_option_and_a_wrong_method(http: aiohttp.ClientSession) -> None:
    recorded = exchange("err-bad-option")
    async with http.post(recorded.path, data=recorded.request) as response:
        assert response.status == 400
        assert "num_ctx" in (await response.json())["error"]
    async with http.get("/api/chat") as response:
        assert response.status == 405
        assert list(await response.json()) == ["error"]


async def test_the_lists_of_models(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    for name in ("tags", "version"):
        recorded = exchange(name)
        async with http.get(recorded.path) as response:
            mine, real = await response.json(), lines_of(recorded)[0]
        assert shape(mine).keys() == shape(real).keys()
        for model in mine.get("models", ()):
            assert model.keys() == real["models"][0].keys()
            assert model["details"].keys() - {"legato"} == real["models"][0]["details"].keys()
    real = lines_of(exchange("show"))[0]
    async with http.post("/api/show", data=b'{"model": "plain"}') as response:
        shown = await response.json()
    assert real.keys() - shown.keys() == {"tensors"}
    assert {"completion", "tools", "vision", "thinking"} == set(shown["capabilities"])
    async with http.get("/") as response:
        assert (response.status, await response.text()) == (200, exchange("root").body.decode().strip())
