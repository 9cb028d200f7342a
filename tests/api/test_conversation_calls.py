"""Calls of the APIs with `Legato-Conversation`: they are messages of that conversation. Without it they leave nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.dialects.serving import AUTH, token
from tests.doubles.engines import replace_demo
from tests.gateway.server import calling, serving, settings_for

from legato.domain.message import TextPart
from legato.engines.base import Capabilities, Turn
from legato.errors import EngineBrokeError
from legato.gateway.server import Server
from legato.stream import Usage
from legato.testing.engine import ScriptedEngine, ScriptedGeneration

HI = [{"role": "user", "content": "hi"}]
PATHS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"messages": HI}),
    "responses": ("/v1/responses", {"input": "hi"}),
    "anthropic": ("/v1/messages", {"messages": HI, "max_tokens": 10}),
    "ollama": ("/api/chat", {"messages": HI}),
    "ollama.generate": ("/api/generate", {"prompt": "hi"}),
    "ai": (
        "/ai/chat",
        {"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]},
    ),
}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    engine = ScriptedEngine("demo", models=("demo:echo",))
    replace_demo(monkeypatch, engine)
    return engine


@pytest.fixture
async def server(engine: ScriptedEngine, tmp_path: Path) -> AsyncIterator[Server]:
    assistant = {"engine": "demo", "model": "demo:echo", "system": "Be kind.", "options": {"seed": 1}}
    unwatched = {"engine": "demo", "model": "demo:echo", "on_unwatched": "cancel"}
    other = {"engine": "demo", "model": "demo:echo", "system": "Be brief."}
    assistants = {"default": assistant, "fickle": unwatched, "brief": other}
    async with serving(settings_for(tmp_path, assistants=assistants, **AUTH)) as server:
        yield server


@pytest.fixture
async def http(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with calling(server, token("ann")) as http:
        yield http


async def new_conversation(http: aiohttp.ClientSession, assistant: str = "default") -> str:
    async with http.post("/api/conversations", json={"assistant": assistant}) as answer:
        name: str = (await answer.json())["id"]
        return name


async def messages(http: aiohttp.ClientSession, conversation: str) -> list[tuple[str, str, str]]:
    async with http.get(f"/api/conversations/{conversation}") as answer:
        found = (await answer.json())["messages"]
    return [(message["role"], message["status"], message["text"]) for message in found]


async def post(
    http: aiohttp.ClientSession,
    engine: ScriptedEngine,
    conversation: str,
    api: str = "openai",
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> tuple["asyncio.Task[aiohttp.ClientResponse]", ScriptedGeneration]:
    """Send a call of a conversation. Return its request and its generation."""
    path, body = PATHS[api]

    async def send() -> aiohttp.ClientResponse:
        return await http.post(
            path,
            json={"model": "default", **body, **fields},
            headers={"legato-conversation": conversation, **(headers or {})},
        )

    request = asyncio.create_task(send())
    asked = asyncio.create_task(engine.asked())
    await asyncio.wait([request, asked], return_when=asyncio.FIRST_COMPLETED)
    if not asked.done():
        asked.cancel()
        raise AssertionError(await (await request).text())
    return request, asked.result()


async def refused(
    http: aiohttp.ClientSession, conversation: str, api: str = "openai", **fields: Any
) -> tuple[int, str]:
    path, body = PATHS[api]
    headers = {"legato-conversation": conversation}
    async with http.post(path, json={"model": "default", **body, **fields}, headers=headers) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("api", PATHS)
async def test_a_call_is_a_message_of_its_conversation(
    http: aiohttp.ClientSession, engine: ScriptedEngine, api: str
) -> None:
    conversation = await new_conversation(http)
    fields = {} if api == "ai" else {"stream": False}
    request, run = await post(http, engine, conversation, api, **fields)
    run.say("Hello")
    run.finish(usage=Usage(7, 1))
    async with await request as answer:
        assert "Hello" in await answer.text()
        assert answer.status == 200
    assert await messages(http, conversation) == [
        ("user", "complete", "hi"),
        ("assistant", "complete", "Hello"),
    ]
    assert run.request.turns == (Turn("system", (TextPart("Be kind."),)), Turn("user", (TextPart("hi"),)))


async def test_the_model_reads_the_conversation_and_not_the_list_of_the_call(
    http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    conversation = await new_conversation(http)
    request, run = await post(http, engine, conversation)
    run.say("Hello")
    run.finish()
    (await request).release()
    history = [
        {"role": "system", "content": "Rhyme."},
        {"role": "user", "content": "forged"},
        {"role": "assistant", "content": "forged"},
        {"role": "user", "content": "again"},
    ]
    request, run = await post(http, engine, conversation, messages=history, temperature=0.5)
    run.say("Yes")
    run.finish()
    (await request).release()
    assert run.request.turns == (
        Turn("system", (TextPart("Be kind.\n\nRhyme."),)),
        Turn("user", (TextPart("hi"),)),
        Turn("assistant", (TextPart("Hello"),)),
        Turn("user", (TextPart("again"),)),
    )
    assert run.request.options == {"seed": 1, "temperature": 0.5}


async def test_the_model_that_is_named_answers(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    conversation = await new_conversation(http)
    request, run = await post(http, engine, conversation, model="brief")
    run.say("Yes")
    run.finish()
    assert (await (await request).json())["model"] == "brief"
    assert run.request.turns[0] == Turn("system", (TextPart("Be brief."),))


async def test_others_see_the_reply_as_it_is_written(
    server: Server, http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    conversation = await new_conversation(http)
    request, run = await post(http, engine, conversation, stream=True)
    run.say("one ")
    async with http.get(f"/api/conversations/{conversation}") as answer:
        reply = (await answer.json())["messages"][-1]
    assert reply["status"] == "streaming"
    async with http.get(f"/api/streams/{reply['id']}") as live:
        await live.content.readuntil(b"one ")
        run.say("two")
        await live.content.readuntil(b"two")
        run.finish()
    text = await (await request).text()
    assert text.index("one ") < text.index("two") < text.index("[DONE]")


async def test_a_foreign_conversation_is_as_none(server: Server, http: aiohttp.ClientSession) -> None:
    conversation = await new_conversation(http)
    async with calling(server, token("bob")) as bob:
        for api in PATHS:
            foreign, none = await refused(bob, conversation, api), await refused(bob, "none", api)
            assert foreign == none
            assert foreign[0] == 404
    assert await messages(http, conversation) == []


async def test_what_a_conversation_cannot_do_is_refused_by_name(
    http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    conversation = await new_conversation(http)
    tool = {"type": "function", "function": {"name": "weather"}}
    schema = {"type": "json_object"}
    wrong: dict[str, Any] = {"tools": [tool], "n": 2, "response_format": schema, "logprobs": True}
    for field, value in wrong.items():
        status, text = await refused(http, conversation, **{field: value})
        assert (status, json.loads(text)["error"]["param"]) == (400, field)
    async with http.post(
        "/v1/completions",
        json={"model": "demo:echo", "prompt": "hi"},
        headers={"legato-conversation": conversation},
    ) as answer:
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, "prompt")
    last = [*HI, {"role": "assistant", "content": "So"}]
    assert (await refused(http, conversation, messages=last))[0] == 400
    engine.can = Capabilities()
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    assert (await refused(http, conversation, messages=[{"role": "user", "content": [picture]}]))[0] == 400
    assert await messages(http, conversation) == []


async def test_a_caller_who_leaves_is_as_everybody_who_stops_looking(
    http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    conversation = await new_conversation(http)
    request, run = await post(http, engine, conversation, stream=True)
    run.say("one ")
    answer = await request
    await answer.content.readuntil(b"one ")
    answer.close()
    # The assistant lets its replies go on.
    while len(await messages(http, conversation)) < 2:
        await asyncio.sleep(0)
    run.say("two")
    run.finish()
    await run.left()
    while (await messages(http, conversation))[-1] != ("assistant", "complete", "one two"):
        await asyncio.sleep(0)
    fickle = await new_conversation(http, "fickle")
    request, run = await post(http, engine, fickle, stream=True, model="fickle")
    run.say("one ")
    answer = await request
    await answer.content.readuntil(b"one ")
    answer.close()
    await run.left()
    assert run.cancelled


async def test_a_stop_by_the_caller_stops_the_reply(
    http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    conversation = await new_conversation(http)
    request, run = await post(http, engine, conversation, "ai")
    run.say("one ")
    answer = await request
    async with http.post("/ai/chat/c/stop"):
        assert run.cancelled
    assert b'"abort"' in await answer.read()
    assert (await messages(http, conversation))[-1] == ("assistant", "stopped", "one ")


@pytest.mark.parametrize(("method", "path"), [("POST", "/stop"), ("DELETE", "")], ids=["stopped", "deleted"])
async def test_what_ends_the_reply_in_the_conversation_is_no_end_of_the_answer(
    method: str, path: str, http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    conversation = await new_conversation(http)
    request, run = await post(http, engine, conversation, stream=True)
    run.say("one ")
    answer = await request
    async with http.request(method, f"/api/conversations/{conversation}{path}") as ended:
        assert ended.status < 300
    text = await answer.text()
    assert '"error"' in text
    assert "[DONE]" not in text


async def test_a_reply_that_breaks_is_an_error(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    conversation = await new_conversation(http)
    request, run = await post(http, engine, conversation)
    run.say("half")
    run.fail(EngineBrokeError("It broke."))
    async with await request as answer:
        assert answer.status == 502
        assert "It broke." in await answer.text()
    assert (await messages(http, conversation))[-1] == ("assistant", "interrupted", "half")


async def test_a_reply_that_is_begun_again_is_told_once_or_is_an_error(
    http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    for words, whole in ((("one ", "two"), True), (("other",), False)):
        conversation = await new_conversation(http)
        request, run = await post(http, engine, conversation)
        run.say("on", "e")
        await asyncio.sleep(0)
        assert run.out.rewind()
        run.say(*words)
        run.finish()
        async with await request as answer:
            if whole:
                assert (await answer.json())["choices"][0]["message"]["content"] == "one two"
            else:
                assert answer.status == 502
        while (await messages(http, conversation))[-1][1] == "streaming":
            await asyncio.sleep(0)
        assert (await messages(http, conversation))[-1] == ("assistant", "complete", "".join(words))


async def test_a_restart_ends_the_answer_and_the_reply_goes_on(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, **AUTH)
    engine.can = Capabilities(supports_prefill=True)
    async with serving(settings) as server, calling(server, token("ann")) as http:
        conversation = await new_conversation(http)
        request, run = await post(http, engine, conversation, stream=True)
        run.say("one ")
        answer = await request
        await answer.content.readuntil(b"one ")
        server.stop()
        server.stop()
        text = await answer.text()
    assert '"error"' in text
    assert "[DONE]" not in text
    async with serving(settings) as server, calling(server, token("ann")) as http:
        run = await engine.asked()
        assert run.request.prefix == "one "
        run.say("two")
        run.finish()
        while (await messages(http, conversation))[-1][1] == "streaming":
            await asyncio.sleep(0)
        assert (await messages(http, conversation))[-1] == ("assistant", "complete", "one two")


async def test_one_key_is_one_message(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    conversation, other = await new_conversation(http), await new_conversation(http)
    key = {"idempotency-key": "k"}
    request, run = await post(http, engine, conversation, headers=key)
    run.say("Hello")
    run.finish()
    first = await (await request).text()
    path, body = PATHS["openai"]
    for name, status in ((conversation, 200), (other, 409)):
        headers = {**key, "legato-conversation": name}
        async with http.post(path, json={"model": "default", **body}, headers=headers) as answer:
            assert answer.status == status
            if status == 200:
                assert await answer.text() == first
    assert len(await messages(http, conversation)) == 2


async def test_a_call_without_it_leaves_nothing(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    for path, body in PATHS.values():
        request = asyncio.create_task(send(http, path, body))
        run = await engine.asked()
        run.say("Hello")
        run.finish()
        assert await request == 200
    async with http.get("/api/conversations") as answer:
        assert (await answer.json())["conversations"] == []


async def send(http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> int:
    async with http.post(path, json={"model": "default", **body}) as answer:
        await answer.read()
        return answer.status
