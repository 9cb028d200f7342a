"""Ollama's API: the official SDK on a real port, what other clients send, and an engine with a script."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import ollama
import pytest
from tests.doubles.engines import replace_demo
from tests.gateway.server import calling, serving, settings_for

from legato.api import generation
from legato.domain.message import ImagePart, TextPart, ToolCallPart, ToolResultPart
from legato.engines.base import Capabilities, Model, Turn
from legato.errors import ContextExceededError, EngineBrokeError, EngineRefusedError, UnsupportedOptionError
from legato.gateway.server import Server
from legato.stream import Timings, Usage
from legato.testing.engine import ScriptedEngine

HI = [{"role": "user", "content": "hi"}]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


def weather(city: str) -> str:
    """Tell the weather.

    Args:
      city: where
    """
    return city


class Listing(ScriptedEngine):
    """A scripted engine whose models have sizes."""

    async def models(self) -> tuple[Model, ...]:
        return (
            Model("plain:latest", self.name, loaded=True, size=7, context=4096, detail="8.2B Q4_K_M"),
            Model("embed", self.name, loaded=False, chats=False),
        )


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    engine = Listing("demo", models=(), continues=True)
    replace_demo(monkeypatch, engine)
    return engine


@pytest.fixture
async def server(engine: ScriptedEngine, tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(settings_for(tmp_path, aliases={"gpt": "plain:latest"})) as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(host=server.address) as client:
        yield client


@pytest.fixture
async def http(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with calling(server) as http:
        yield http


async def test_a_streamed_chat_with_thoughts_and_tools(
    client: ollama.AsyncClient, engine: ScriptedEngine
) -> None:
    async def ask() -> list[ollama.ChatResponse]:
        stream = await client.chat("plain", HI, tools=[weather], think=True, stream=True)
        return [chunk async for chunk in stream]

    asking = asyncio.create_task(ask())
    run = await engine.asked()
    run.think("Hm", "m.")
    run.say("It is ", "süß\u2028\u2029\x85\x0b ok")
    run.call("a", "weather", '{"city":"Ulm"}')
    run.call("b", "weather", "no object")
    run.finish("tool_calls", usage=Usage(7, 5), timings=Timings(total_ms=4, first_token_ms=1))
    chunks = await asking
    assert "".join(chunk.message.thinking or "" for chunk in chunks) == "Hmm."
    assert "".join(chunk.message.content or "" for chunk in chunks) == "It is süß\u2028\u2029\x85\x0b ok"
    calls = [call.function for chunk in chunks for call in chunk.message.tool_calls or ()]
    assert [dict(call.arguments) for call in calls] == [{"city": "Ulm"}, {"arguments": "no object"}]
    last = chunks[-1]
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert (last.model, last.done_reason) == ("plain", "stop")
    assert (last.prompt_eval_count, last.eval_count) == (7, 5)
    assert (last.total_duration, last.prompt_eval_duration, last.eval_duration) == (
        4_000_000,
        1_000_000,
        3_000_000,
    )
    assert run.request.think is True
    assert run.request.model == "plain:latest"
    assert run.request.tools[0].name == "weather"


async def test_the_synchronous_client(server: Server, engine: ScriptedEngine) -> None:
    def ask() -> tuple[str, str, list[str | None]]:
        with ollama.Client(host=server.address) as client:
            whole = client.chat("default", HI).message.content
            streamed = "".join(part.response for part in client.generate("gpt", "hi", stream=True))
            return whole or "", streamed, [model.model for model in client.list().models]

    asking = asyncio.create_task(asyncio.to_thread(ask))
    for _ in range(2):
        run = await engine.asked()
        run.say("one", " two")
        run.finish()
    whole, streamed, names = await asking
    assert whole == streamed == "one two"
    assert names == ["default", "gpt", "plain:latest", "embed"]


async def test_what_the_engine_does_not_tell_is_counted_and_marked(
    http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    asking = asyncio.create_task(post(http, "/api/chat", model="plain", messages=HI, stream=False))
    run = await engine.asked()
    run.say("one", " two")
    run.finish()
    _, body = await asking
    assert (body["eval_count"], body["legato_counted"], body["legato_measured"]) == (2, True, True)
    assert body["total_duration"] > 0
    assert body["eval_duration"] > 0
    assert body["prompt_eval_count"] > 0


async def test_thoughts_that_are_not_wanted_are_left_out(
    client: ollama.AsyncClient, engine: ScriptedEngine
) -> None:
    asking = asyncio.create_task(client.chat("plain", HI, think=False))
    run = await engine.asked()
    run.think("hidden")
    run.say("Hello")
    run.finish("length")
    done = await asking
    assert (done.message.thinking, done.message.content, done.done_reason) == (None, "Hello", "length")
    assert run.request.think is False


async def test_every_field_of_a_chat_reaches_the_engine(
    client: ollama.AsyncClient, engine: ScriptedEngine
) -> None:
    schema: Any = {"type": "object", "properties": {"a": {"type": "integer"}}}
    history: list[Any] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "See", "images": [base64.b64decode(PNG)]},
        {
            "role": "assistant",
            "tool_calls": [
                {"function": {"name": "weather", "arguments": {"city": "Ulm"}}},
                {"function": {"name": "time", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "noon", "tool_name": "time"},
        {"role": "tool", "content": "sun", "tool_name": "weather"},
        {"role": "assistant", "content": "It is"},
    ]
    asking = asyncio.create_task(
        client.chat(
            "plain",
            history,
            format=schema,
            options={"num_predict": 5, "temperature": 0, "stop": ["END"], "num_ctx": 4096},
            keep_alive="5m",
            think="low",
        )
    )
    run = await engine.asked()
    run.finish()
    await asking
    asked = run.request
    assert asked.turns == (
        Turn("system", (TextPart("Be kind."),)),
        Turn("user", (TextPart("See"), ImagePart(f"data:image/png;base64,{PNG}"))),
        Turn(
            "assistant",
            (ToolCallPart("call_2_0", "weather", '{"city":"Ulm"}'), ToolCallPart("call_2_1", "time", "{}")),
        ),
        Turn("tool", (ToolResultPart("call_2_1", "time", "noon"),)),
        Turn("tool", (ToolResultPart("call_2_0", "weather", "sun"),)),
    )
    assert (asked.prefix, asked.format, asked.keep_alive, asked.think) == ("It is", schema, "5m", "low")
    assert asked.options == {"num_predict": 5, "temperature": 0, "stop": ["END"], "num_ctx": 4096}


async def test_a_model_that_cannot_go_on_behind_a_text_gets_it_as_a_message(
    client: ollama.AsyncClient, engine: ScriptedEngine
) -> None:
    engine.can = Capabilities()
    asking = asyncio.create_task(client.chat("plain", [*HI, {"role": "assistant", "content": "It is"}]))
    run = await engine.asked()
    run.finish()
    await asking
    assert run.request.prefix == ""
    assert run.request.turns[-1] == Turn("assistant", (TextPart("It is"),))


async def test_a_generation_remembers_by_its_context(
    client: ollama.AsyncClient, engine: ScriptedEngine
) -> None:
    asking = asyncio.create_task(client.generate("plain", "My name is Åsa.", system="Be kind."))
    run = await engine.asked()
    run.say("Hello", " Åsa")
    run.finish()
    first = await asking
    assert first.response == "Hello Åsa"
    assert run.request.turns == (
        Turn("system", (TextPart("Be kind."),)),
        Turn("user", (TextPart("My name is Åsa."),)),
    )
    asking = asyncio.create_task(client.generate("plain", "And?", context=first.context))
    run = await engine.asked()
    run.finish()
    await asking
    assert [turn.role for turn in run.request.turns] == ["system", "user", "assistant", "user"]
    assert run.request.turns[2] == Turn("assistant", (TextPart("Hello Åsa"),))


async def test_raw_and_suffix(client: ollama.AsyncClient, engine: ScriptedEngine) -> None:
    for fields in ({"raw": True}, {"suffix": "end"}):
        asking = asyncio.create_task(client.generate("plain", "def f(", **fields))  # type: ignore[call-overload]
        run = await engine.asked()
        assert (run.request.raw, run.request.suffix) == (fields.get("raw", False), fields.get("suffix", ""))
        run.fail(UnsupportedOptionError("It cannot do that.", next(iter(fields))))
        with pytest.raises(ollama.ResponseError, match=f"`{next(iter(fields))}`") as caught:
            await asking
        assert caught.value.status_code == 400
        with pytest.raises(ollama.ResponseError, match="assistant"):
            await client.generate("default", "def f(", **fields)  # type: ignore[call-overload]


async def test_a_model_is_loaded_and_unloaded_without_a_prompt(
    client: ollama.AsyncClient, engine: ScriptedEngine
) -> None:
    assert (await client.generate("plain")).done_reason == "load"
    assert (await client.generate("plain", "", keep_alive="0s")).done_reason == "unload"
    assert (await client.chat("plain", keep_alive=0)).done_reason == "unload"
    assert (await client.chat("plain", [], keep_alive=-1)).done_reason == "load"
    with pytest.raises(ollama.ResponseError, match="not found"):
        await client.generate("none")
    assert not engine.runs


async def test_the_lists_of_models(client: ollama.AsyncClient) -> None:
    listed = {model.model: model for model in (await client.list()).models}
    plain = listed["plain:latest"]
    assert plain.details is not None
    assert (plain.size, plain.details.parameter_size, plain.details.quantization_level) == (
        7,
        "8.2B",
        "Q4_K_M",
    )
    assert all(len(model.digest or "") == 64 for model in listed.values())
    assert listed["gpt"].details is not None
    assert listed["gpt"].details.parent_model == "plain:latest"
    (loaded,) = (await client.ps()).models
    assert (loaded.name, loaded.context_length) == ("plain:latest", 4096)
    shown = await client.show("plain")
    assert shown.modelinfo is not None
    assert shown.modelinfo[f"{shown.modelinfo['general.architecture']}.context_length"] == 4096
    assert set(shown.capabilities or ()) == {"completion", "tools", "vision", "thinking"}
    assert (await client.show("embed")).capabilities == ["embedding"]


async def test_models_are_managed_elsewhere(client: ollama.AsyncClient, http: aiohttp.ClientSession) -> None:
    refused: list[Callable[[], Any]] = [
        lambda: client.pull("plain"),
        lambda: client.push("plain"),
        lambda: client.create("mine", from_="plain"),
        lambda: client.copy("plain", "other"),
        lambda: client.delete("plain"),
    ]
    for manage in refused:
        with pytest.raises(ollama.ResponseError, match="managed beside the engines") as caught:
            await manage()
        assert caught.value.status_code == 400
    async with http.post("/api/blobs/sha256:0", data=b"x") as response:
        assert (response.status, list(await response.json())) == (400, ["error"])
    async with http.head("/api/blobs/sha256:0") as response:
        assert response.status == 404


async def test_embeddings_are_refused_plainly(client: ollama.AsyncClient) -> None:
    for ask in (client.embed, client.embeddings):
        with pytest.raises(ollama.ResponseError, match="embeds") as caught:
            await ask("plain", "hi")
        assert caught.value.status_code == 400
        with pytest.raises(ollama.ResponseError, match="not found"):
            await ask("none", "hi")


async def test_a_broken_reply_is_an_error_and_never_done(
    client: ollama.AsyncClient, http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    asking = asyncio.create_task(post(http, "/api/chat", model="plain", messages=HI))
    run = await engine.asked()
    run.say("Half")
    run.fail(EngineBrokeError("It broke. Try again."))
    status, text = await asking
    *_, last = [json.loads(line) for line in text.splitlines()]
    assert (status, last) == (200, {"error": "It broke. Try again."})
    assert '"done":true' not in text
    whole = asyncio.create_task(client.chat("plain", HI))
    run = await engine.asked()
    run.say("Half")
    run.fail(EngineBrokeError("It broke. Try again."))
    with pytest.raises(ollama.ResponseError, match="It broke") as caught:
        await whole
    assert caught.value.status_code == 502


async def test_a_failure_before_the_first_word_has_a_status(
    client: ollama.AsyncClient, engine: ScriptedEngine
) -> None:
    async def ask() -> None:
        async for _ in await client.chat("plain", HI, stream=True):
            pass

    asking = asyncio.create_task(ask())
    (await engine.asked()).fail(ContextExceededError("The prompt is too long.", 10, 20))
    with pytest.raises(ollama.ResponseError, match="too long") as caught:
        await asking
    assert caught.value.status_code == 400


async def test_a_caller_that_leaves_ends_the_generation(
    http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    asking = asyncio.create_task(http.post("/api/chat", json={"model": "plain", "messages": HI}))
    run = await engine.asked()
    run.say("one")
    response = await asking
    await response.content.readline()
    response.close()
    await run.left()
    assert run.cancelled


async def post(http: aiohttp.ClientSession, path: str, **body: Any) -> tuple[int, Any]:
    async with http.post(path, json=body) as response:
        return response.status, await (
            response.json() if response.content_type == "application/json" else response.text()
        )


TOLERATED: list[dict[str, Any]] = [
    {"options": None, "tools": [], "format": "", "keep_alive": None, "think": None, "stream": False},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}], "images": []}]},
    {"messages": [{"role": "user", "content": "hi", "images": None}], "options": {"num_ctx": None}},
    {"tool_choice": "auto", "options": {"top_k": 4.0}, "keep_alive": "-1"},
    {"model": "", "name": "plain", "shift": False, "truncate": False},
    {"unknown": 1, "logprobs": False, "top_logprobs": 0},
]


async def test_what_clients_send_is_tolerated(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    async def ask(body: dict[str, Any], headers: dict[str, str]) -> int:
        async with http.post(
            "/api/chat", data=json.dumps(body), headers=headers, skip_auto_headers=["content-type"]
        ) as response:
            await response.read()
            return response.status

    for fields in TOLERATED:
        for headers in ({}, {"content-type": "application/x-www-form-urlencoded"}):
            asking = asyncio.create_task(ask({"model": "plain", "messages": HI, **fields}, headers))
            run = await engine.asked()
            assert run.request.turns == (Turn("user", (TextPart("hi"),)),)
            run.say("x")
            run.finish()
            assert await asking == 200


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("chat", {"model": ""}, "model"),
    ("chat", {"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ("chat", {"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    ("chat", {"messages": [{"role": "user", "images": "x"}]}, "messages[0].images"),
    ("chat", {"messages": [{"role": "user", "images": ["!"]}]}, "messages[0].images[0]"),
    ("chat", {"messages": [{"role": "user", "images": ["eHg="]}]}, "messages[0].images[0]"),
    ("chat", {"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
    ("chat", {"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0]"),
    ("chat", {"tools": [{"type": "function"}]}, "tools[0]"),
    ("chat", {"tool_choice": "sometimes"}, "tool_choice"),
    ("chat", {"think": "deeply"}, "think"),
    ("chat", {"format": "xml"}, "format"),
    ("chat", {"keep_alive": "soon"}, "keep_alive"),
    ("chat", {"options": {"temperature": "hot"}}, "options.temperature"),
    ("chat", {"options": {"num_predict": 1.5}}, "options.num_predict"),
    ("chat", {"options": {"use_mmap": 1}}, "options.use_mmap"),
    ("chat", {"options": {"stop": 3}}, "options.stop"),
    ("chat", {"options": {"messages": []}}, "options.messages"),
    ("chat", {"top_logprobs": 3}, "top_logprobs"),
    ("generate", {"template": "{{ .Prompt }}"}, "template"),
    ("generate", {"raw": True, "system": "x"}, "system"),
    ("generate", {"context": [1, 2, 3]}, "context"),
    ("generate", {"images": ["!"]}, "images[0]"),
    ("show", {"model": None}, "model"),
]


async def test_a_wrong_field_is_named(http: aiohttp.ClientSession) -> None:
    for path, fields, name in WRONG:
        body = {"model": "plain", "messages": HI, "prompt": "hi", **fields}
        status, answered = await post(http, f"/api/{path}", **body)
        assert (status, list(answered)) == (400, ["error"]), fields
        assert f"`{name}`" in answered["error"], fields


async def test_only_ollamas_paths_have_its_errors(http: aiohttp.ClientSession) -> None:
    for path in ("/api/chat/completions", "/api/tickets"):
        async with http.delete(path) as response:
            assert (await response.json())["error"]["code"] == "method_not_allowed"
    async with http.get("/api/models") as response:
        assert "problems" in await response.json()


async def test_the_root_says_what_clients_expect(http: aiohttp.ClientSession) -> None:
    async with http.get("/") as response:
        assert (response.content_type, await response.text()) == ("text/plain", "Ollama is running")
    async with http.head("/") as response:
        assert (response.status, response.content_type) == (200, "text/plain")
    for path in ("/api/tags", "/api/version"):
        async with http.head(path) as response:
            assert (response.status, await response.read()) == (200, b"")
    async with http.get("/", headers={"accept": "text/html,*/*"}) as response:
        assert "Ollama is running" not in await response.text()


async def test_a_key_is_asked_for_where_the_server_asks_for_tokens(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, auth={"jwt_secret": "s" * 64})
    async with serving(settings) as server, calling(server) as http:
        for path in ("/api/tags", "/api/version"):
            async with http.get(path) as response:
                assert (response.status, list(await response.json())) == (401, ["error"])
        async with http.head("/") as response:
            assert response.status == 200


async def test_an_unknown_model_is_named_to_users_of_a_server_with_authentication(tmp_path: Path) -> None:
    secret = "s" * 64
    token = jwt.encode({"sub": "ann", "exp": 2**33}, secret)
    settings = settings_for(tmp_path, auth={"jwt_secret": secret})
    async with (
        serving(settings) as server,
        calling(server, token) as http,
        http.post("/api/show", json={"model": "none"}) as response,
    ):
        told = await response.json()
    assert told == {"error": "model 'none' not found: the list of models names all that there are"}


async def test_a_sign_of_life_before_an_error_makes_no_whole_reply(
    http: aiohttp.ClientSession, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "WAITING_SECONDS", 0.01)
    body = {"model": "default", "max_tokens": 5, "messages": HI, "stream": True}
    async with http.post("/v1/messages", json=body) as response:
        run = await engine.asked()
        await response.content.readuntil(b"ping")
        run.fail(EngineRefusedError("It refused."))
        assert b"event: error" in await response.read()
