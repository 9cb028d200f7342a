"""OpenAI's Responses: the official SDK on a real port, and an engine with a script."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import openai
import pydantic
import pytest
from tests.gateway.server import calling, serving, settings_for

from legato.api import byte_log, generation, response_history
from legato.domain.message import ImagePart, TextPart, ToolCallPart, ToolResultPart
from legato.engines.base import TokenLogprob, Turn
from legato.errors import (
    ContextExceededError,
    EngineBrokeError,
    EngineGaveUpError,
    ModelNotFoundError,
    ReplyTooLongError,
    UnsupportedOptionError,
)
from legato.gateway.server import Server
from legato.stream import Usage
from legato.testing.engine import ScriptedEngine

PNG = "data:image/png;base64,iVBORw0KGgo="
SECRET = "a secret that only the tests of responses know"
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}


@pytest.fixture
async def server(engine: ScriptedEngine, tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(settings_for(tmp_path)) as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def http(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with calling(server) as http:
        yield http


async def ended(client: openai.AsyncOpenAI, response: str) -> Any:
    while (found := await client.responses.retrieve(response)).status in ("queued", "in_progress"):
        await asyncio.sleep(0.005)
    return found


async def test_a_whole_response(client: openai.AsyncOpenAI, engine: ScriptedEngine) -> None:
    asking = asyncio.create_task(
        client.responses.create(model="default", input="hi", instructions="be kind", metadata={"a": "b"})
    )
    run = await engine.asked()
    assert run.request.turns == (Turn("system", (TextPart("be kind"),)), Turn("user", (TextPart("hi"),)))
    run.say("one", " two")
    run.finish(usage=Usage(7, 2))
    done = await asking
    assert (done.output_text, done.status, done.model) == ("one two", "completed", "default")
    assert (done.instructions, done.metadata) == ("be kind", {"a": "b"})
    assert done.usage is not None
    assert (done.usage.input_tokens, done.usage.output_tokens, done.usage.total_tokens) == (7, 2, 9)
    assert await client.responses.retrieve(done.id) == done


async def test_a_streamed_response_with_thoughts_and_tools(
    client: openai.AsyncOpenAI, engine: ScriptedEngine
) -> None:
    async def ask() -> tuple[list[Any], Any]:
        async with client.responses.stream(
            model="default", input="hi", tools=[WEATHER], reasoning={"effort": "high", "summary": "auto"}
        ) as stream:
            return [event async for event in stream], await stream.get_final_response()

    asking = asyncio.create_task(ask())
    run = await engine.asked()
    assert (run.request.think, [tool.name for tool in run.request.tools]) == ("high", ["weather"])
    run.think("hm", "m")
    run.say("I ", "look")
    run.call("c1", "weather", '{"city":"Ulm"}')
    run.call("c2", "weather", "{}")
    run.finish("tool_calls")
    events, final = await asking
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]
    assert final.output[0].summary[0].text == "hmm"
    assert final.output_text == "I look"
    assert [(call.call_id, call.arguments) for call in final.output[2:]] == [
        ("c1", '{"city":"Ulm"}'),
        ("c2", "{}"),
    ]
    assert {item.status for item in final.output} == {"completed"}
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds[:6] == [
        "created", "in_progress", "output_item.added", "reasoning_summary_part.added",
        "reasoning_summary_text.delta", "reasoning_summary_text.delta",
    ]  # fmt: skip


async def test_tools_go_round_with_the_previous_response(
    client: openai.AsyncOpenAI, engine: ScriptedEngine
) -> None:
    asking = asyncio.create_task(
        client.responses.create(model="default", input="weather?", instructions="first", tools=[WEATHER])
    )
    run = await engine.asked()
    run.say("I look")
    run.call("c1", "weather", '{"city":"Ulm"}')
    run.finish("tool_calls")
    first = await asking
    again = asyncio.create_task(
        client.responses.create(
            model="default",
            input=[{"type": "function_call_output", "call_id": "c1", "output": "sun"}],
            previous_response_id=first.id,
            instructions="second",
        )
    )
    run = await engine.asked()
    assert run.request.turns == (
        Turn("system", (TextPart("second"),)),
        Turn("user", (TextPart("weather?"),)),
        Turn("assistant", (TextPart("I look"), ToolCallPart("c1", "weather", '{"city":"Ulm"}'))),
        Turn("tool", (ToolResultPart("c1", "weather", "sun"),)),
    )
    run.say("Sun.")
    run.finish()
    second = await again
    third = asyncio.create_task(
        client.responses.create(model="default", input="thanks", previous_response_id=second.id)
    )
    run = await engine.asked()
    assert [turn.role for turn in run.request.turns] == ["user", "assistant", "tool", "assistant", "user"]
    run.finish()
    assert (await third).previous_response_id == second.id


async def test_all_forms_of_input(client: openai.AsyncOpenAI, engine: ScriptedEngine) -> None:
    given: list[Any] = [
        {"role": "developer", "content": "rules"},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "look"},
            {"type": "input_image", "image_url": PNG, "detail": "auto"},
        ]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
         "content": [{"type": "output_text", "text": "a cat", "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "zoom", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1",
         "output": [{"type": "input_text", "text": "near"}, {"type": "input_image", "image_url": PNG}]},
        {"role": "user", "content": "and now?"},
    ]  # fmt: skip
    asking = asyncio.create_task(client.responses.create(model="default", input=given))
    run = await engine.asked()
    assert run.request.turns == (
        Turn("system", (TextPart("rules"),)),
        Turn("user", (TextPart("look"), ImagePart(PNG))),
        Turn("assistant", (TextPart("a cat"), ToolCallPart("c1", "zoom", "{}"))),
        Turn("tool", (ToolResultPart("c1", "zoom", "near"),)),
        Turn("user", (ImagePart(PNG),)),
        Turn("user", (TextPart("and now?"),)),
    )
    run.finish()
    done = await asking
    assert (done.status, done.output) == ("completed", [])
    listed = [item async for item in client.responses.input_items.list(done.id, order="asc", limit=2)]
    assert [item.type for item in listed] == [each.get("type", "message") for each in given]
    assert [item.id for item in listed][2:4] == ["rs_1", "msg_1"]
    newest = await client.responses.input_items.list(done.id, limit=1)
    assert (newest.data[0].id, newest.has_more) == (listed[-1].id, True)
    referred = asyncio.create_task(
        client.responses.create(
            model="default", input=[{"type": "item_reference", "id": listed[-1].id}], store=False
        )
    )
    run = await engine.asked()
    assert run.request.turns == (Turn("user", (TextPart("and now?"),)),)
    run.finish()
    await referred


class Answer(pydantic.BaseModel):
    number: int


async def test_a_parsed_response(client: openai.AsyncOpenAI, engine: ScriptedEngine) -> None:
    asking = asyncio.create_task(client.responses.parse(model="default", input="hi", text_format=Answer))
    run = await engine.asked()
    assert isinstance(run.request.format, dict)
    assert run.request.format["properties"]["number"]["type"] == "integer"
    run.say('{"number": 4', "2}")
    run.finish()
    assert (await asking).output_parsed == Answer(number=42)


async def test_options_reach_the_engine(client: openai.AsyncOpenAI, engine: ScriptedEngine) -> None:
    asking = asyncio.create_task(
        client.responses.create(
            model="default", input="hi", temperature=0.5, top_p=0.9, max_output_tokens=5,
            tools=[WEATHER, {**WEATHER, "name": "other"}], parallel_tool_calls=False,
            tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "other"}]},
        )
    )  # fmt: skip
    request = (run := await engine.asked()).request
    assert request.options == {"temperature": 0.5, "top_p": 0.9, "num_predict": 5}
    assert ([tool.name for tool in request.tools], request.tool_choice) == (["other"], "required")
    assert request.parallel_tools is False
    run.say("cut")
    run.finish("length")
    cut = await asking
    assert (cut.status, cut.output_text) == ("incomplete", "cut")
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"


async def test_a_background_response_is_polled_while_it_is_written(
    client: openai.AsyncOpenAI, engine: ScriptedEngine
) -> None:
    begun = await client.responses.create(model="default", input="hi", background=True)
    assert (begun.status, begun.background) == ("queued", True)
    run = await engine.asked()
    run.say("so ", "far")
    during = await client.responses.retrieve(begun.id)
    assert (during.status, during.output_text) == ("in_progress", "so far")
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(model="default", input="x", previous_response_id=begun.id)
    assert caught.value.param == "previous_response_id"
    run.say(".")
    run.finish()
    assert (await ended(client, begun.id)).output_text == "so far."
    events = [event async for event in await client.responses.retrieve(begun.id, stream=True)]
    assert [event.type for event in events][:3] == [
        "response.created", "response.queued", "response.in_progress",
    ]  # fmt: skip


async def test_a_cut_at_every_event_is_resumed_with_the_same_events(
    client: openai.AsyncOpenAI, http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    begun = await client.responses.create(model="default", input="hi", background=True, stream=True)
    run = await engine.asked()
    async for event in begun:
        if event.type == "response.queued":
            break
    await begun.close()
    run.think("hm")
    run.say("one", " two")
    run.call("c1", "weather", "{}")
    run.finish("tool_calls")
    name = event.response.id
    await ended(client, name)

    async def read(headers: dict[str, str] | None = None, **params: Any) -> bytes:
        params["stream"] = "true"
        async with http.get(f"/v1/responses/{name}", params=params, headers=headers) as answer:
            assert answer.status == 200
            return await answer.read()

    whole = await read()
    frames = [frame + b"\n\n" for frame in whole.split(b"\n\n") if frame]
    for number, frame in enumerate(frames):
        behind = b"".join(frames[number + 1 :])
        assert await read(starting_after=number) == behind
        assert await read(headers={"last-event-id": frame.split(b"\n")[0][4:].decode()}) == behind
    async with client.responses.stream(response_id=name, starting_after=5) as stream:
        assert [event.sequence_number async for event in stream] == list(range(6, len(frames)))
        assert (await stream.get_final_response()).output_text == "one two"
    for wrong in (len(frames), -1):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.retrieve(name, stream=True, starting_after=wrong)
        assert caught.value.param == "starting_after"


async def test_a_reader_follows_a_running_response_from_its_cursor(
    client: openai.AsyncOpenAI, engine: ScriptedEngine
) -> None:
    begun = await client.responses.create(model="default", input="hi", background=True)
    run = await engine.asked()
    stream = await client.responses.retrieve(begun.id, stream=True, starting_after=1)
    run.say("now")
    run.finish()
    assert [event.sequence_number async for event in stream] == list(range(2, 10))


async def test_a_cancelled_response_says_so(client: openai.AsyncOpenAI, engine: ScriptedEngine) -> None:
    begun = await client.responses.create(model="default", input="hi", background=True)
    run = await engine.asked()
    run.say("half")
    cancelled = await client.responses.cancel(begun.id)
    assert run.cancelled
    assert (cancelled.status, cancelled.output_text) == ("cancelled", "half")
    assert cancelled.output[0].status == "incomplete"
    assert await client.responses.cancel(begun.id) == cancelled
    *_, last = [event async for event in await client.responses.retrieve(begun.id, stream=True)]
    assert last.type == "response.incomplete"
    assert last.response.status == "cancelled"


async def test_a_caller_who_leaves_cancels_unless_it_is_in_the_background(
    client: openai.AsyncOpenAI, engine: ScriptedEngine
) -> None:
    stream = await client.responses.create(model="default", input="hi", background=True, stream=True)
    kept = await engine.asked()
    await stream.close()
    asking = asyncio.create_task(client.responses.create(model="default", input="hi"))
    left = await engine.asked()
    asking.cancel()
    await left.left()
    assert left.cancelled
    assert not kept.cancelled
    kept.finish()


async def test_a_failure_has_a_status_before_the_first_word_and_a_document_behind_it(
    client: openai.AsyncOpenAI, engine: ScriptedEngine
) -> None:
    errors: list[tuple[Any, int, str | None, str | None]] = [
        (ContextExceededError("too long", 10, 20), 400, "context_length_exceeded", "input"),
        (ModelNotFoundError("none"), 404, "model_not_found", "model"),
        (UnsupportedOptionError("no", "format"), 400, "unsupported_parameter", "text.format"),
        (EngineGaveUpError("broken"), 502, "engine_gave_up", None),
    ]
    for stream in (False, True):
        for error, status, code, param in errors:
            asking = asyncio.create_task(client.responses.create(model="default", input="hi", stream=stream))
            (await engine.asked()).fail(error)
            with pytest.raises(openai.APIStatusError) as caught:
                await asking
            assert (caught.value.status_code, caught.value.code, caught.value.param) == (status, code, param)
    asking = asyncio.create_task(client.responses.create(model="default", input="hi"))
    run = await engine.asked()
    run.say("half")
    run.fail(EngineBrokeError("broken"))
    failed = await asking
    assert (failed.status, failed.output_text) == ("failed", "half")
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == ("server_error", "broken")


async def test_a_background_response_that_fails_at_once_has_a_document(
    client: openai.AsyncOpenAI, engine: ScriptedEngine
) -> None:
    begun = await client.responses.create(model="default", input="hi", background=True)
    (await engine.asked()).fail(ContextExceededError("too long", 10, 20))
    failed = await ended(client, begun.id)
    assert (failed.status, failed.error.code) == ("failed", "context_length_exceeded")
    kinds = [event.type async for event in await client.responses.retrieve(begun.id, stream=True)]
    assert kinds == ["response.created", "response.queued", "response.failed"]


async def test_a_client_that_waits_gets_events(
    client: openai.AsyncOpenAI, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "WAITING_SECONDS", 0.02)
    stream = await client.responses.create(model="default", input="hi", background=True, stream=True)
    run = await engine.asked()
    events: list[Any] = []
    async for event in stream:
        events.append(event)
        if [each.type for each in events].count("response.in_progress") == 3:
            break
    run.finish()
    events += [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": [{"type": "computer_call", "id": "x"}]}, "input[0].type"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": 4}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x/y.png"}]}]},
     "input[0].content[0]"),
    ({"input": [{"type": "function_call", "name": "x"}]}, "input[0]"),
    ({"input": [{"type": "item_reference", "id": "msg_none_1"}]}, "input[0].id"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
    ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
    ({"text": {"format": {"type": "xml"}}}, "text.format"),
    ({"text": {"verbosity": "low"}}, "text.verbosity"),
    ({"truncation": "auto"}, "truncation"),
    ({"include": ["nothing"]}, "include"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"temperature": 3}, "temperature"),
    ({"metadata": {"k" * 65: "v"}}, "metadata"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"background": True, "store": False}, "store"),
    ({"unknown": 1}, "unknown"),
    ({"model": ""}, "model"),
    ({"max_output_tokens": "many"}, "max_output_tokens"),
    ({"tools": [1]}, "tools[0]"),
]  # fmt: skip


async def test_what_is_wrong_or_not_supported_is_named(client: openai.AsyncOpenAI) -> None:
    for fields, param in WRONG:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(model="default", input="x", extra_body=fields)
        assert (caught.value.param, caught.value.type) == (param, "invalid_request_error"), fields


async def test_a_response_that_is_not_stored_is_not_found(
    client: openai.AsyncOpenAI, http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    asking = asyncio.create_task(client.responses.create(model="default", input="hi", store=False))
    (await engine.asked()).finish()
    unstored = await asking
    message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
    posting = asyncio.create_task(
        http.post("/ai/chat", json={"id": "c", "messages": [message], "trigger": "submit-message"})
    )
    run = await engine.asked()
    run.say("hi")
    run.finish()
    async with await posting as other:
        stream_of_another_api = other.headers["legato-stream"]
    told = set()
    for name in (unstored.id, f"resp_{stream_of_another_api}", "resp_none", "none", "resp_"):
        for method, path in (
            ("GET", ""), ("GET", "?stream=true"), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items"),
        ):  # fmt: skip
            async with http.request(method, f"/v1/responses/{name}{path}") as answer:
                assert answer.status == 404
                told.add(await answer.text())
    assert len(told) == 1
    with pytest.raises(openai.NotFoundError) as caught:
        await client.responses.create(model="default", input="x", previous_response_id=unstored.id)
    assert (caught.value.param, caught.value.code) == ("previous_response_id", "previous_response_not_found")


async def test_a_deleted_response_is_gone(client: openai.AsyncOpenAI, engine: ScriptedEngine) -> None:
    begun = await client.responses.create(model="default", input="hi", background=True)
    run = await engine.asked()
    await client.responses.delete(begun.id)
    assert run.cancelled
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(begun.id)


async def test_the_tokens_of_an_input_are_estimated(client: openai.AsyncOpenAI) -> None:
    short = await client.responses.input_tokens.count(model="default", input="hi")
    long = await client.responses.input_tokens.count(model="default", input="hi " * 100, instructions="x")
    assert 0 < short.input_tokens < long.input_tokens


async def test_what_the_engine_does_not_tell_is_counted_and_marked(
    http: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    async def ask() -> dict[str, Any]:
        async with http.post("/v1/responses", json={"model": "default", "input": "hi"}) as answer:
            return json.loads(await answer.read())["usage"]

    asking = asyncio.create_task(ask())
    run = await engine.asked()
    run.say("one", " two")
    run.finish()
    usage = await asking
    assert (usage["legato_counted"], usage["output_tokens"]) == (True, 2)
    assert usage["input_tokens"] > 0


async def test_one_key_is_one_response(http: aiohttp.ClientSession, engine: ScriptedEngine) -> None:
    async def ask() -> str:
        body = {"model": "default", "input": "hi"}
        async with http.post("/v1/responses", json=body, headers={"idempotency-key": "k"}) as answer:
            return json.loads(await answer.read())["id"]

    asking = asyncio.gather(ask(), ask())
    (await engine.asked()).finish()
    first, second = await asking
    assert first == second


async def test_log_probabilities(client: openai.AsyncOpenAI, engine: ScriptedEngine) -> None:
    asking = asyncio.create_task(
        client.responses.create(
            model="default", input="hi", include=["message.output_text.logprobs"], top_logprobs=1
        )
    )
    run = await engine.asked()
    assert run.request.logprobs == 1
    for word in ("a", "b"):
        run.tell_logprobs(TokenLogprob(word, -0.5, top=(TokenLogprob("c", -1.0),)))
        run.say(word)
    run.finish()
    done = await asking
    told = done.output[0].content[0].logprobs
    assert [(each.token, each.logprob, each.top_logprobs[0].token) for each in told] == [
        ("a", -0.5, "c"),
        ("b", -0.5, "c"),
    ]
    deltas = [
        event.logprobs[0].token
        async for event in await client.responses.retrieve(done.id, stream=True)
        if event.type == "response.output_text.delta"
    ]
    assert deltas == ["a", "b"]


async def test_the_response_of_another_is_not_found(engine: ScriptedEngine, tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, auth={"jwt_secret": SECRET})) as server:
        ann, bob = [
            openai.AsyncOpenAI(
                base_url=f"{server.address}/v1",
                api_key=jwt.encode({"sub": name, "exp": 4_000_000_000}, SECRET, "HS256"),
                max_retries=0,
            )
            for name in ("ann", "bob")
        ]
        async with ann, bob:
            begun = await ann.responses.create(model="default", input="hi", background=True)
            run = await engine.asked()
            told = set()
            for name in (begun.id, "resp_none"):
                for asking in (
                    bob.responses.retrieve(name),
                    bob.responses.retrieve(name, stream=True, starting_after=0),
                    bob.responses.cancel(name),
                    bob.responses.delete(name),
                    bob.responses.input_items.list(name),
                ):
                    with pytest.raises(openai.NotFoundError) as caught:
                        await asking
                    told.add(caught.value.response.text)
                with pytest.raises(openai.NotFoundError) as caught:
                    await bob.responses.create(model="default", input="hi", previous_response_id=name)
                assert caught.value.param == "previous_response_id"
            assert len(told) == 1
            run.finish()
            assert (await ended(ann, begun.id)).status == "completed"


async def test_a_conversation_is_bounded(
    client: openai.AsyncOpenAI, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_history, "RESPONSES", 1)
    previous = None
    for _ in range(2):
        asking = asyncio.create_task(
            client.responses.create(model="default", input="hi", previous_response_id=previous)
        )
        (await engine.asked()).finish()
        previous = (await asking).id
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(model="default", input="hi", previous_response_id=previous)
    assert caught.value.param == "previous_response_id"


async def test_a_response_that_is_too_long_has_an_end(
    client: openai.AsyncOpenAI, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_log, "RESPONSE_BYTES", 10_000)
    begun = await client.responses.create(model="default", input="hi", background=True)
    run = await engine.asked()
    with pytest.raises(ReplyTooLongError):
        run.say(*["word "] * 100)
    run.fail(ReplyTooLongError("The response was ended, because it is too long."))
    failed = await ended(client, begun.id)
    assert failed.status == "failed"
    assert failed.output_text.startswith("word word ")
    *_, last = [event async for event in await client.responses.retrieve(begun.id, stream=True)]
    assert last.type == "response.failed"


async def test_what_cannot_be_stored_ends_no_response(
    client: openai.AsyncOpenAI, engine: ScriptedEngine
) -> None:
    for fails in (False, True):
        begun = await client.responses.create(model="default", input="hi", background=True)
        run = await engine.asked()
        run.think("\0")
        run.say("a\0b")
        run.call("c", "f", "\0")
        if fails:
            run.fail(EngineGaveUpError("lost \0"))
        else:
            run.finish("tool_calls")
        found = await ended(client, begun.id)
        assert (found.status, found.output_text) == ("failed" if fails else "completed", "a\ufffdb")
