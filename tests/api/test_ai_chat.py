"""The Vercel AI SDK's door on a real port, with an engine that has a script."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.dialects.serving import AUTH, token
from tests.gateway.server import calling, serving, settings_for

from legato.domain.message import AudioPart, ImagePart, TextPart, ToolCallPart, ToolResultPart
from legato.engines.base import Turn
from legato.errors import EngineBrokeError, EngineRefusedError
from legato.gateway.server import Server
from legato.stream import Usage
from legato.testing.engine import ScriptedEngine, ScriptedGeneration

Parts = list[dict[str, Any]]


@pytest.fixture
async def server(engine: ScriptedEngine, tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(settings_for(tmp_path, **AUTH)) as server:
        yield server


@pytest.fixture
async def http(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with calling(server, token("ann")) as http:
        yield http


def user(text: str, name: str = "m1") -> dict[str, Any]:
    return {"id": name, "role": "user", "parts": [{"type": "text", "text": text}]}


def body(chat: str = "c", **fields: Any) -> dict[str, Any]:
    return {"id": chat, "trigger": "submit-message", "messages": [user("hi")], **fields}


def parts_of(raw: bytes) -> Parts:
    """Return the parts of a whole stream. It ends with `[DONE]`."""
    lines = [line for line in raw.decode().split("\n") if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def text_of(parts: Parts) -> str:
    return "".join(part["delta"] for part in parts if part["type"] == "text-delta")


class Asking:
    """A request to `/ai/chat`, and the generation that it started."""

    def __init__(self, task: asyncio.Task[aiohttp.ClientResponse], run: ScriptedGeneration) -> None:
        self._task = task
        self.run = run

    async def answer(self) -> aiohttp.ClientResponse:
        return await self._task

    async def parts(self) -> Parts:
        return parts_of(await (await self._task).read())


async def ask(
    http: aiohttp.ClientSession,
    engine: ScriptedEngine,
    sent: dict[str, Any],
    headers: dict[str, str] | None = None,
) -> Asking:
    """Send a request, and return when its generation has started."""

    async def post() -> aiohttp.ClientResponse:
        return await http.post("/ai/chat", json=sent, headers=headers)

    task = asyncio.create_task(post())
    asked = asyncio.create_task(engine.asked())
    await asyncio.wait([task, asked], return_when=asyncio.FIRST_COMPLETED)
    if not asked.done():
        asked.cancel()
        raise AssertionError(await (await task).text())
    return Asking(task, asked.result())


async def test_a_reply_with_thoughts_and_a_tool(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    tools = {"weather": {"description": "d", "inputSchema": {"type": "object"}}}
    asking = await ask(http, engine, body(tools=tools, reasoning="low", temperature=0.5))
    run = asking.run
    run.think("Hm", "m.")
    run.say("süß\n\ndata: x", " y")
    run.call("call_1", "weather", '{"city":"Ulm"}')
    run.call("call_2", "weather", "{no")
    run.finish("tool_calls", usage=Usage(7, 5))
    async with await asking.answer() as answer:
        assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
        assert answer.content_type == "text/event-stream"
        stream = answer.headers["legato-stream"]
        parts = parts_of(await answer.read())
    call = {"toolCallId": "call_1", "toolName": "weather"}
    wrong = {"toolCallId": "call_2", "toolName": "weather"}
    assert parts == [
        {"type": "start", "messageId": f"msg_{stream}"},
        {"type": "start-step"},
        {"type": "reasoning-start", "id": "1"},
        {"type": "reasoning-delta", "id": "1", "delta": "Hm"},
        {"type": "reasoning-delta", "id": "1", "delta": "m."},
        {"type": "reasoning-end", "id": "1"},
        {"type": "text-start", "id": "2"},
        {"type": "text-delta", "id": "2", "delta": "süß\n\ndata: x"},
        {"type": "text-delta", "id": "2", "delta": " y"},
        {"type": "text-end", "id": "2"},
        {"type": "tool-input-start", **call},
        {"type": "tool-input-delta", "toolCallId": "call_1", "inputTextDelta": '{"city":"Ulm"}'},
        {"type": "tool-input-available", **call, "input": {"city": "Ulm"}},
        {"type": "tool-input-start", **wrong},
        {"type": "tool-input-delta", "toolCallId": "call_2", "inputTextDelta": "{no"},
        {
            "type": "tool-input-error",
            **wrong,
            "input": "{no",
            "errorText": "The model wrote arguments that are not JSON.",
        },
        {"type": "finish-step"},
        {
            "type": "finish",
            "finishReason": "tool-calls",
            "messageMetadata": {
                "model": "default",
                "usage": {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12},
            },
        },
    ]
    assert run.request.think == "low"
    assert run.request.options == {"temperature": 0.5}
    assert [tool.name for tool in run.request.tools] == ["weather"]


async def test_the_history_reaches_the_engine(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    files = [
        {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,aGk="},
        {"type": "file", "mediaType": "audio/wav", "url": "data:audio/wav;base64,aGk="},
        {"type": "file", "mediaType": "text/plain", "filename": "a.txt", "url": "data:text/plain,h%69"},
    ]
    used = {"state": "output-available", "input": {"a": 1}, "output": {"sun": True}}
    denied = {
        "state": "output-denied",
        "input": {},
        "approval": {"id": "x", "approved": False, "reason": "No."},
    }
    reply = [
        {"type": "step-start"},
        {"type": "reasoning", "text": "Hm."},
        {"type": "text", "text": "Let me see."},
        {"type": "tool-weather", "toolCallId": "1", **used},
        {"type": "dynamic-tool", "toolName": "clock", "toolCallId": "2", **denied},
        {"type": "tool-weather", "toolCallId": "3", "state": "input-available", "input": {}},
        {"type": "step-start"},
        {"type": "text", "text": "Sun."},
        {"type": "data-chart", "data": [1]},
    ]
    messages = [
        {"id": "s", "role": "system", "parts": [{"type": "text", "text": "Be kind."}]},
        {"id": "u", "role": "user", "parts": [*files, {"type": "text", "text": "See"}]},
        {"id": "a", "role": "assistant", "parts": reply},
        {"id": "e", "role": "assistant", "parts": []},
        user("And?"),
    ]
    asking = await ask(http, engine, body(messages=messages))
    run = asking.run
    run.finish()
    (await asking.answer()).release()
    assert run.request.turns == (
        Turn("system", (TextPart("Be kind."),)),
        Turn(
            "user",
            (
                ImagePart("data:image/png;base64,aGk="),
                AudioPart("data:audio/wav;base64,aGk="),
                TextPart("The file a.txt:\n\n```\nhi\n```\n"),
                TextPart("See"),
            ),
        ),
        Turn(
            "assistant",
            (
                TextPart("Let me see."),
                ToolCallPart("1", "weather", '{"a":1}'),
                ToolCallPart("2", "clock", "{}"),
            ),
        ),
        Turn("tool", (ToolResultPart("1", "weather", '{"sun":true}'),)),
        Turn("tool", (ToolResultPart("2", "clock", "No.", failed=True),)),
        Turn("assistant", (TextPart("Sun."),)),
        Turn("user", (TextPart("And?"),)),
    )


async def test_a_reply_goes_on_without_its_page_and_is_told_from_its_beginning(
    http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    asking = await ask(http, engine, body("a/b c"))
    run = asking.run
    run.say("one ")
    answer = await asking.answer()
    await answer.content.readuntil(b"one ")
    answer.close()
    run.say("two ")
    async with http.get("/ai/chat/a%2Fb%20c/stream") as resumed:
        assert resumed.headers["x-vercel-ai-ui-message-stream"] == "v1"
        assert resumed.headers["legato-stream"] == answer.headers["legato-stream"]
        await resumed.content.readuntil(b"two ")
    run.say("three")
    run.finish()
    async with http.get("/ai/chat/a%2Fb%20c/stream") as resumed:
        parts = parts_of(await resumed.read())
    assert text_of(parts) == "one two three"
    assert parts[-1]["finishReason"] == "stop"
    # Its end was told, so nothing is left to be told.
    async with http.get("/ai/chat/a%2Fb%20c/stream") as resumed:
        assert resumed.status == 204


async def test_a_chat_of_another_owner_is_as_none(
    server: Server, http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    asking = await ask(http, engine, body())
    run = asking.run
    run.say("secret")
    answer = await asking.answer()
    async with calling(server, token("bob")) as other:
        for method, path in (("GET", "stream"), ("POST", "stop")):
            told = []
            for chat in ("c", "none"):
                async with other.request(method, f"/ai/chat/{chat}/{path}") as refused:
                    told.append((refused.status, await refused.read()))
            assert told == [(204, b"")] * 2
    assert not run.cancelled
    run.finish()
    assert text_of(parts_of(await answer.read())) == "secret"


async def test_a_stop_ends_it_down_to_the_engine(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    asking = await ask(http, engine, body())
    run = asking.run
    run.say("one")
    answer = await asking.answer()
    async with http.post("/ai/chat/c/stop") as stopped:
        assert stopped.status == 204
    assert run.cancelled
    parts = parts_of(await answer.read())
    assert [part["type"] for part in parts[-2:]] == ["text-end", "abort"]
    async with http.get("/ai/chat/c/stream") as resumed:
        assert resumed.status == 204


async def test_a_new_message_ends_the_reply_to_the_one_before(
    http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    asking = await ask(http, engine, body())
    first = asking.run
    first.say("one")
    answer = await asking.answer()
    again = await ask(http, engine, body(messages=[user("hi"), user("again", "m2")]))
    assert first.cancelled
    assert parts_of(await answer.read())[-1]["type"] == "abort"
    again.run.say("two")
    again.run.finish()
    assert text_of(await again.parts()) == "two"


async def test_one_key_is_one_generation(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    first = await ask(http, engine, body(), {"idempotency-key": "k"})
    first.run.say("one")
    async with http.post("/ai/chat", json=body(), headers={"idempotency-key": "k"}) as second:
        first.run.finish()
        assert parts_of(await second.read()) == await first.parts()
    assert len(engine.runs) == 1


async def test_regenerating_asks_without_the_old_reply(
    http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    old = {"id": "old", "role": "assistant", "parts": [{"type": "text", "text": "No."}]}
    for fields in (
        {"messages": [user("hi")], "messageId": "old"},
        {"messages": [user("hi"), old], "messageId": "old"},
        {"messages": [user("hi"), old]},
        {"messages": [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}, {**old, "id": None}]},
        {"messages": [user("hi"), old, user("more", "m2")], "messageId": "m1"},
    ):
        asking = await ask(http, engine, body(trigger="regenerate-message", **fields))
        run = asking.run
        run.finish()
        parts = await asking.parts()
        assert run.request.turns == (Turn("user", (TextPart("hi"),)),)
        assert parts[0]["messageId"] != "old"


async def test_results_of_tools_continue_their_message(
    http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    used = {"toolCallId": "1", "state": "output-available", "input": {}, "output": "noon"}
    reply = {"id": "a", "role": "assistant", "parts": [{"type": "tool-clock", **used}]}
    asking = await ask(http, engine, body(messages=[user("hi"), reply], messageId="a"))
    run = asking.run
    run.say("It is noon.")
    run.finish()
    assert (await asking.parts())[0] == {"type": "start", "messageId": "a"}
    assert run.request.turns[-1] == Turn("tool", (ToolResultPart("1", "clock", "noon"),))


async def test_a_replayed_message_keeps_what_it_had(
    http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    done = {
        "toolCallId": "1",
        "state": "output-available",
        "input": {"a": 1},
        "output": "noon",
        "title": "Clock",
    }
    failed = {"toolCallId": "2", "state": "output-error", "errorText": "No."}
    had = [
        {"type": "step-start"},
        {"type": "text", "text": "Let me see."},
        {"type": "tool-clock", **done},
        {"type": "dynamic-tool", "toolName": "dial", "providerExecuted": True, **failed},
        {"type": "data-x", "data": 1},
    ]
    reply = {"id": "a", "role": "assistant", "metadata": {"n": 1}, "parts": had}
    asking = await ask(http, engine, body(messages=[user("hi"), reply]))
    asking.run.say("Noon.")
    (await asking.answer()).close()
    async with http.get("/ai/chat/c/stream") as resumed:
        await resumed.content.readuntil(b"\n\n")
        asking.run.finish()
        told = parts_of(b"data: {}\n\n" + await resumed.read())[1:]
    assert told[:12] == [
        {"type": "start-step"},
        {"type": "text-start", "id": "0.1"},
        {"type": "text-delta", "id": "0.1", "delta": "Let me see."},
        {"type": "text-end", "id": "0.1"},
        {"type": "tool-input-start", "toolCallId": "1", "toolName": "clock", "title": "Clock"},
        {"type": "tool-input-delta", "toolCallId": "1", "inputTextDelta": '{"a":1}'},
        {"type": "tool-output-available", "toolCallId": "1", "output": "noon"},
        {
            "type": "tool-input-start",
            "toolCallId": "2",
            "toolName": "dial",
            "providerExecuted": True,
            "dynamic": True,
        },
        {"type": "tool-input-delta", "toolCallId": "2", "inputTextDelta": "{}"},
        {"type": "tool-output-error", "toolCallId": "2", "errorText": "No."},
        {"type": "data-x", "data": 1},
        {"type": "start", "messageId": "a"},
    ]
    assert text_of(told[12:]) == "Noon."


async def test_a_broken_reply_is_an_error_and_never_finished(
    http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    asking = await ask(http, engine, body())
    asking.run.fail(EngineRefusedError("No."))
    async with await asking.answer() as answer:
        assert (answer.status, answer.content_type) == (400, "text/plain")
        assert await answer.text() == "No."
    asking = await ask(http, engine, body())
    run = asking.run
    run.say("half")
    answer = await asking.answer()
    run.fail(EngineBrokeError("It broke."))
    parts = parts_of(await answer.read())
    assert parts[-1] == {"type": "error", "errorText": "It broke."}
    assert "finish" not in [part["type"] for part in parts]


async def test_a_wrong_field_is_named(http: aiohttp.ClientSession) -> None:
    picture = {"type": "file", "mediaType": "image/png", "url": "https://example.org/a.png"}
    wrong: dict[str, dict[str, Any]] = {
        "id": {"id": ""},
        "messages": {"messages": []},
        "messages[0].role": {"messages": [{"role": "bot", "parts": []}]},
        "messages[0].parts": {"messages": [{"role": "user", "content": "hi"}]},
        "messages[0].parts[0].url": {"messages": [{"role": "user", "parts": [picture]}]},
        "messages[0].parts[0]": {"messages": [{"role": "user", "parts": [{"type": "smell"}]}]},
        "trigger": {"trigger": "resume"},
        "tools.a": {"tools": {"a": {"inputSchema": "x"}}},
        "toolChoice": {"toolChoice": "perhaps"},
        "`toolChoice`": {"toolChoice": "required"},
        "maxOutputTokens": {"maxOutputTokens": 0},
        "topP": {"topP": 2},
        "stopSequences": {"stopSequences": [""]},
        "reasoning": {"reasoning": "endless"},
        "temperature": {"temperature": "warm"},
    }
    for field, fields in wrong.items():
        async with http.post("/ai/chat", json=body(**fields)) as answer:
            assert (answer.status, answer.content_type) == (400, "text/plain"), field
            assert field in await answer.text()


async def test_every_refusal_is_a_sentence(server: Server, http: aiohttp.ClientSession) -> None:
    async with http.post("/ai/chat", json=body(model="none")) as answer:
        assert answer.status == 404
        assert "'none'" in await answer.text()
    async with http.post("/ai/chat", data=b"{") as answer:
        assert (answer.status, answer.content_type) == (400, "text/plain")
    async with http.get("/ai/nothing") as answer:
        assert (answer.status, answer.content_type) == (404, "text/plain")
    async with calling(server) as nobody, nobody.post("/ai/chat", json=body()) as answer:
        assert (answer.status, answer.content_type) == (401, "text/plain")


async def test_what_a_restart_ended_is_told_to_the_page_that_comes_back(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, **AUTH)
    async with serving(settings) as server, calling(server, token("ann")) as http:
        asking = await ask(http, engine, body())
        asking.run.say("half")
        answer = await asking.answer()
        await answer.content.readuntil(b"half")
        answer.close()
    async with serving(settings) as server, calling(server, token("ann")) as http:
        async with http.get("/ai/chat/c/stream") as resumed:
            parts = parts_of(await resumed.read())
        assert text_of(parts) == "half"
        assert parts[-1]["type"] == "error"
        async with http.get("/ai/chat/c/stream") as resumed:
            assert resumed.status == 204
