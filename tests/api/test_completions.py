"""OpenAI's completions of texts: the official SDK on a real port."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.gateway.server import serving, settings_for

from legato.api.call import Call, Caller
from legato.api.codec import Ending
from legato.api.openai.completion_codec import TextChunkCodec, text_completion_codec
from legato.api.openai.completion_request import TextCompletionBody, parse_completion_request
from legato.domain.message import text_of
from legato.engines.base import Outcome, TokenLogprob
from legato.errors import InvalidError
from legato.gateway.server import Server
from legato.stream import Usage

MODEL = "demo:echo"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(settings_for(tmp_path)) as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_texts_whole_and_streamed(client: openai.AsyncOpenAI) -> None:
    done = await client.completions.create(
        model=MODEL, prompt=["one two three", "four"], n=2, max_tokens=2, echo=True
    )
    assert [choice.text for choice in done.choices] == ["one two threeone two "] * 2 + ["fourfour"] * 2
    assert [choice.finish_reason for choice in done.choices] == ["length", "length", "stop", "stop"]
    assert done.usage is not None
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (4, 6)
    assert (done.object, done.model, done.id[:5]) == ("text_completion", MODEL, "cmpl-")
    stream = await client.completions.create(
        model=MODEL,
        prompt="one two three",
        stop=["three"],
        stream=True,
        stream_options={"include_usage": True},
    )
    text, reason, usage = "", None, None
    async for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.text
            reason = choice.finish_reason or reason
    assert (text, reason) == ("one two ", "stop")
    assert usage is not None
    assert usage.total_tokens == 5


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["x"] * 65}, "prompt"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 99}, "logprobs"),
        ({"logprobs": 1, "echo": True}, "echo"),
        ({"suffix": "end", "echo": True}, "echo"),
        ({"n": 0}, "n"),
        ({"suffix": "end"}, "suffix"),
        ({"logprobs": 1}, "logprobs"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
    ],
)
async def test_what_cannot_be_done_names_its_field(
    client: openai.AsyncOpenAI, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.completions.create(**({"model": MODEL, "prompt": "x"} | fields))
    assert caught.value.param == param


def test_a_suffix_is_no_raw_prompt() -> None:
    asked = parse_completion_request(TextCompletionBody("m", "def f(", suffix="return"))
    assert (asked.request.raw, asked.request.suffix) == (False, "return")
    assert parse_completion_request(TextCompletionBody("m", "def f(")).request.raw
    with pytest.raises(InvalidError):
        parse_completion_request(TextCompletionBody("m"))


def test_each_choice_answers_its_prompt() -> None:
    asked = parse_completion_request(TextCompletionBody("m", ["a", "b", "c"], n=2))
    nothing: Any = None
    call = Call("openai", "", "m", nothing, asked.request, Caller("u"), choices=6, prompts=asked.prompts)
    texts = [text_of(call.request_of(choice).turns[0].parts) for choice in range(6)]
    assert texts == ["a", "a", "b", "b", "c", "c"]


@pytest.mark.parametrize("codec_type", [TextChunkCodec, text_completion_codec])
def test_log_probabilities_are_in_columns(codec_type: Any) -> None:
    codec = codec_type("s", 1.0, "m")
    frames = [*codec.begin()]
    for text in ("one", " two"):
        codec.logprobs(0, (TokenLogprob(text, -0.5, None, (TokenLogprob("x", -1.0),)),))
        frames += codec.text(0, text)
    frames += codec.end(0, Ending(Outcome("stop", "m", Usage(1, 2))))
    body = b"".join([*frames, *codec.finish()]).decode()
    if codec_type is TextChunkCodec:
        assert (
            '"tokens":[" two"],"token_logprobs":[-0.5],"top_logprobs":[{"x":-1.0}],"text_offset":[3]' in body
        )
    else:
        assert '"tokens":["one"," two"]' in body
        assert '"text_offset":[0,3]' in body
