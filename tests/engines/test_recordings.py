"""The doubles against what a real Ollama sent; and the codecs on the very bytes it sent."""

import json

import aiohttp
import pytest
from tests.doubles.ollama import OllamaDouble
from tests.doubles.openai import DONE, OpenAIDouble, Script, chunk, said
from tests.doubles.recordings import exchange, shapes

from legato.engines.ollama.codec import OllamaReplyParser
from legato.engines.openai.codec import OpenAIReplyParser
from legato.errors import EngineBrokeError
from legato.testing.engine import Recorder

FOX = "The quick brown fox jumps over a lazy dog, while tokens arrive one by one."

OLLAMA = [
    "chat-continue",
    "chat-length",
    "chat-load",
    "chat-once",
    "chat-runner-killed",
    "chat-stop",
    "chat-stream",
    "chat-think",
    "chat-think-off",
    "chat-tools",
    "chat-unload",
    "err-bad-json",
    "err-bad-option",
    "err-method",
    "err-no-body",
    "err-no-think",
    "err-no-vision",
    "err-unknown-model",
    "err-unknown-path",
    "err-wrong-type",
    "ps",
    "root",
    "show",
    "show-unknown",
    "tags",
    "version",
]


async def _ask(url: str, name: str) -> tuple[int, dict[str, str], bytes]:
    recorded = exchange(name)
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            recorded.method, url + recorded.path, data=recorded.request.encode() or None
        ) as response,
    ):
        headers = {key.lower(): value for key, value in response.headers.items()}
        return response.status, headers, await response.read()


@pytest.mark.parametrize("name", OLLAMA)
async def test_the_double_of_ollama_answers_as_the_real_one_did(name: str) -> None:
    recorded = exchange(name)
    async with OllamaDouble() as double:
        double.models["loop"].breaks_after = 22
        for model in ("plain", "tool", "think"):
            double.models[model].loaded = True
        status, headers, body = await _ask(double.url, name)
    assert status == recorded.status
    assert headers["content-type"] == recorded.headers["content-type"]
    if name.startswith("chat-"):
        assert ("transfer-encoding" in headers) == ("transfer-encoding" in recorded.headers)
    ours, theirs = shapes(body), shapes(recorded.body)
    if name in ("ps", "tags"):
        for found in (ours, theirs):
            found[0]["models"].sort(key=lambda model: model["name"])
    assert ours == theirs


OPENAI = {
    "openai-stream": said(*[" " * (n > 0) + word for n, word in enumerate(FOX.split())]),
    "openai-think": Script(
        [
            *[
                chunk({"role": "assistant", "content": "", "reasoning": token}, model="think")
                for token in ("hmm", " let", " me", " see")
            ],
            *said("Forty", " two", " is", " what", " you", " want.", model="think", usage=False).chunks,
        ]
    ),
    "openai-tools": Script(
        [
            chunk(
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "index": 0,
                            "type": "function",
                            "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
                        }
                    ],
                },
                model="tool",
            ),
            chunk({"role": "assistant", "content": ""}, "tool_calls", model="tool"),
            DONE,
        ]
    ),
    "openai-runner-killed": Script(
        [
            chunk({"role": "assistant", "content": token}, model="loop")
            for token in ("again", " and", " forever", " it", " goes", " on", "again", " and", " forever", " it")
        ]
        + [chunk({"role": "assistant", "content": ""}, model="")]
    ),
    "openai-models": Script(),
    "openai-err-unknown-model": Script(),
}  # fmt: skip


@pytest.mark.parametrize("name", OPENAI)
async def test_the_double_of_openai_answers_as_ollamas_own_did(name: str) -> None:
    recorded = exchange(name)
    async with OpenAIDouble() as double:
        double.models = [
            {"id": f"{model}:latest", "object": "model", "created": 1, "owned_by": "library"}
            for model in ("think", "tool", "loop", "plain")
        ]
        double.script = OPENAI[name]
        status, headers, body = await _ask(double.url, name)
    assert status == recorded.status
    assert headers["content-type"].partition(";")[0] == recorded.headers["content-type"]
    assert shapes(body) == shapes(recorded.body)


def test_what_ollama_sent_is_read_to_the_last_word() -> None:
    out = Recorder()
    reply = OllamaReplyParser(out, lambda: "call_1")
    reply.feed(exchange("chat-think").body)
    outcome = reply.end()
    assert (out.thought, out.said) == ("hmm let me see", "Forty two is what you want.")
    assert (outcome.reason, outcome.model) == ("stop", "think")
    assert outcome.usage is not None
    assert outcome.usage.completion_tokens == 13
    assert outcome.timings is not None
    assert outcome.timings.load_ms == pytest.approx(277.258463)
    assert outcome.timings.total_ms == pytest.approx(366.315782)
    assert outcome.timings.tokens_per_second == pytest.approx(151.73, abs=0.01)


def test_what_ollama_sent_until_its_runner_died_is_kept_and_reported_as_broken() -> None:
    out = Recorder()
    reply = OllamaReplyParser(out, lambda: "call_1")
    with pytest.raises(EngineBrokeError, match="unexpected EOF"):
        reply.feed(exchange("chat-runner-killed").body)
    assert out.said.startswith("again and forever it goes on")


def test_a_dead_runner_that_ollamas_v1_hides_is_reported_as_broken() -> None:
    out = Recorder()
    reply = OpenAIReplyParser(out, lambda: "call_1", "The model server")
    reply.feed(exchange("openai-runner-killed").body)
    with pytest.raises(EngineBrokeError, match="broke off"):
        reply.end()
    assert out.said.startswith("again and forever it goes on")


def test_the_recorded_tool_call_is_given_whole_by_both() -> None:
    for recording, reply in (
        ("chat-tools", OllamaReplyParser(chat := Recorder(), lambda: "call_1")),
        ("openai-tools", OpenAIReplyParser(completion := Recorder(), lambda: "call_1", "The model server")),
    ):
        reply.feed(exchange(recording).body)
        assert reply.end().reason == "tool_calls"
    for out in (chat, completion):
        (call,) = out.calls
        assert call.name == "get_weather"
        assert json.loads(call.arguments) == {"city": "Paris"}
        assert call.call.startswith("call_7")
