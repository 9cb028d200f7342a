"""OpenAI's chat completions: the official SDK on a real port."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from tests.gateway.server import calling, serving, settings_for

from legato.api.codec import Ending
from legato.api.openai.chat_codec import ChatChunkCodec, chat_completion_codec
from legato.api.openai.chat_request import ChatCompletionBody, parse_chat_request
from legato.api.request_fields import InvalidFieldError
from legato.engines.base import Outcome, TokenLogprob
from legato.engines.openai.learned_refusals import RequestLimits
from legato.engines.openai.request import completion_fields
from legato.gateway.server import Server
from legato.stream import Usage

MODEL = "demo:echo"
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "t", "description": "d", "parameters": {}}}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(settings_for(tmp_path, aliases={"gpt-4o": MODEL})) as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_a_whole_completion(client: openai.AsyncOpenAI) -> None:
    done = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "one two"}]
    )
    assert done.choices[0].message.content == "one two"
    assert (done.model, done.choices[0].finish_reason) == (MODEL, "stop")
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens


async def test_a_streamed_completion(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": "ein süßes\n\ndata: Ei 🥚"}],
        stream=True,
        stream_options={"include_usage": True},
        n=2,
    )
    texts, reasons, usage = ["", ""], ["", ""], None
    async for chunk in stream:
        usage = chunk.usage or usage
        assert chunk.model == "gpt-4o"
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index] += choice.finish_reason or ""
    assert texts == ["ein süßes\n\ndata: Ei 🥚"] * 2
    assert reasons == ["stop", "stop"]
    assert usage is not None


async def test_the_models_are_listed(client: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]
    assert {"default", "gpt-4o", MODEL} <= set(names)
    assert (await client.models.retrieve("gpt-4o")).id == "gpt-4o"


async def test_an_unknown_model_is_not_found(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="none", messages=[{"role": "user", "content": "x"}])
    assert caught.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("none")


async def test_a_wrong_field_is_named(client: openai.AsyncOpenAI) -> None:
    wrong = {"temperature": 9.0, "n": 0, "max_tokens": 0, "stop": [""], "response_format": {"type": "xml"}}
    for field, value in wrong.items():
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "x"}], extra_body={field: value}
            )
        assert caught.value.param == field


async def test_one_key_is_one_generation(server: Server) -> None:
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "once " * 20}]}

    async def ask(http: aiohttp.ClientSession) -> tuple[str, bytes]:
        async with http.post("/v1/chat/completions", json=body, headers={"idempotency-key": "k"}) as answer:
            return answer.headers["legato-stream"], await answer.read()

    async with calling(server) as http:
        first, second = await asyncio.gather(ask(http), ask(http))
        assert first == second
        async with http.post(
            "/v1/chat/completions", json={**body, "n": 2}, headers={"idempotency-key": "k"}
        ) as answer:
            assert answer.status == 409
            assert json.loads(await answer.read())["error"]["type"] == "invalid_request_error"


async def test_a_server_that_stops_ends_a_stream_with_an_error(tmp_path: Path) -> None:
    slow = {"engine": "demo", "model": MODEL, "options": {"tokens_per_second": 1}}
    async with (
        serving(settings_for(tmp_path, assistants={"default": slow})) as server,
        calling(server) as http,
    ):
        body = {"model": "default", "stream": True, "messages": [{"role": "user", "content": "a b c d e"}]}
        async with http.post("/v1/chat/completions", json=body) as answer:
            await answer.content.readuntil(b"content")
            server.stop()
            server.stop()
            rest = await answer.read()
    assert b'data: {"error"' in rest
    assert b"[DONE]" not in rest


async def test_what_the_engine_cannot_do_is_refused_by_the_name_of_the_field(
    client: openai.AsyncOpenAI,
) -> None:
    tool = {"type": "function", "function": {"name": "t", "parameters": {"type": "object"}}}
    asked: dict[str, dict[str, object]] = {
        "response_format": {"response_format": {"type": "json_object"}},
        "tool_choice": {"tools": [tool], "tool_choice": "required"},
        "parallel_tool_calls": {"tools": [tool], "parallel_tool_calls": False},
        "logprobs": {"logprobs": True},
    }
    for field, body in asked.items():
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "x"}], extra_body=body
            )
        assert (caught.value.param, caught.value.code) == (field, "unsupported_parameter")


async def test_a_model_that_must_call_no_tool_is_told_of_none() -> None:
    tool = {"type": "function", "function": {"name": "t", "parameters": {"type": "object"}}}
    body = ChatCompletionBody([{"role": "user", "content": "x"}], "m", tools=[tool], tool_choice="none")
    request = parse_chat_request(body).request
    assert (request.tools, request.tool_choice) == ((), "none")


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "other"}}, "tools": [TOOL]},
        {"tool_choice": "required", "tools": []},
    ],
)
def test_a_tool_that_must_be_called_has_to_be_there(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        parse_chat_request(ChatCompletionBody([{"role": "user", "content": "x"}], "m", **fields))
    assert caught.value.param == "tool_choice"


def test_a_format_and_a_tool_keep_what_the_client_calls_them() -> None:
    schema = {"name": "weather", "description": "Of a day.", "strict": False, "schema": {"type": "object"}}
    body = ChatCompletionBody(
        [{"role": "user", "content": "x"}],
        "m",
        response_format={"type": "json_schema", "json_schema": schema},
        tools=[{"type": "function", "function": {**TOOL["function"], "strict": True}}],
    )
    request = parse_chat_request(body).request
    assert (request.format_name, request.format_description, request.format_strict) == (
        "weather",
        "Of a day.",
        False,
    )
    assert request.tools[0].strict is True
    fields = completion_fields(request, {}, RequestLimits())
    assert fields["response_format"]["json_schema"] == schema
    assert fields["tools"][0]["function"]["strict"] is True


@pytest.mark.parametrize("codec_type", [ChatChunkCodec, chat_completion_codec])
def test_log_probabilities_are_told_with_their_text(codec_type: Any) -> None:
    codec = codec_type("s", 1.0, "m")
    frames = [*codec.begin()]
    codec.logprobs(0, (TokenLogprob("é", -0.5, None, (TokenLogprob("e", -1.0, (101,)),)),))
    frames += codec.text(0, "é")
    frames += codec.end(0, Ending(Outcome("stop", "m", Usage(1, 1))))
    body = b"".join([*frames, *codec.finish()]).decode()
    told = {
        "token": "é",
        "logprob": -0.5,
        "bytes": [195, 169],
        "top_logprobs": [{"token": "e", "logprob": -1.0, "bytes": [101]}],
    }
    assert json.dumps({"content": [told], "refusal": None}, separators=(",", ":"), ensure_ascii=False) in body


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"verbosity": "low"}, "verbosity"),
        ({"guided_json": {"type": "object"}}, "guided_json"),
        ({"grammar": "root ::= x"}, "grammar"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"min_tokens": 5}, "min_tokens"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
    ],
)
async def test_fields_of_other_servers_are_not_ignored(
    client: openai.AsyncOpenAI, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "x"}], extra_body=fields
        )
    assert caught.value.param == param


def test_arguments_of_a_template_reach_the_engine() -> None:
    body = ChatCompletionBody([{"role": "user", "content": "x"}], "m", chat_template_kwargs={"a": 1})
    request = parse_chat_request(body).request
    assert completion_fields(request, {}, RequestLimits())["chat_template_kwargs"] == {"a": 1}
