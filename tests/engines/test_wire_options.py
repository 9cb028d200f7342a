"""How options of requests go to servers, and what comes back: on the real wire."""

from typing import Any

import pytest
from msgspec.structs import replace

from legato.domain.message import TextPart
from legato.engines.base import Request, TokenLogprob, Turn
from legato.engines.demo.engine import DemoEngine
from legato.engines.ollama.engine import OllamaEngine
from legato.engines.openai.engine import OpenAIEngine
from legato.errors import ContextExceededError, EngineRefusedError, UnsupportedOptionError
from legato.testing.engine import Recorder
from legato.testing.odd_engine import (
    DONE,
    Answer,
    OddEngine,
    OddRequest,
    Step,
    chunk,
    line,
    ndjson,
    plain,
    sse,
)

HI = Request("m", (Turn("user", (TextPart("hi"),)),))
END = {"done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 1}
LOGPROBS = {
    "content": [
        {
            "token": "one",
            "logprob": -0.5,
            "bytes": [111, 110, 101],
            "top_logprobs": [{"token": "two", "logprob": -1.5, "bytes": None}],
        }
    ]
}
TOLD = TokenLogprob("one", -0.5, (111, 110, 101), (TokenLogprob("two", -1.5),))


def serving(answer: Answer) -> OddEngine:
    """A server that answers so on each path of completions."""
    odd = OddEngine(answer)
    paths = ("/completions", "/api/generate", "/api/chat")
    odd.on_request = lambda request: list(answer) if request.path.endswith(paths) else None
    return odd


def text_chunk(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "text": text, "finish_reason": finish, **more}]}


async def test_a_raw_prompt_goes_to_completions() -> None:
    async with serving(sse(text_chunk("one"), text_chunk(" two", "stop"), DONE)) as odd:
        engine, out = OpenAIEngine(odd.url), Recorder()
        asked = replace(HI, raw=True, logprobs=2, prefix="so ", options={"num_predict": 5, "seed": 7})
        outcome = await engine.generate(asked, out)
        assert (out.said, outcome.reason) == ("one two", "stop")
        [request] = odd.requests
        assert request.path.endswith("/completions")
        assert "chat" not in request.path
        body = request.json
        assert (body["prompt"], body["max_tokens"], body["seed"], body["logprobs"]) == ("hiso ", 5, 7, 2)
        assert "messages" not in body
        await engine.generate(replace(HI, suffix="end"), Recorder())
        assert odd.requests[-1].json["suffix"] == "end"
        with pytest.raises(UnsupportedOptionError) as caught:
            await engine.generate(replace(HI, raw=True, format="json"), Recorder())
        assert caught.value.option == "format"
        await engine.close()


async def test_text_with_tags_is_told_as_it_is() -> None:
    async with serving(sse(text_chunk("<think>a</think>b", "stop"), DONE)) as odd:
        engine, out = OpenAIEngine(odd.url), Recorder()
        await engine.generate(replace(HI, raw=True), out)
        assert out.said == "<think>a</think>b"
        await engine.close()


async def test_log_probabilities_of_both_forms_are_told() -> None:
    old = {"tokens": ["one"], "token_logprobs": [-0.5], "top_logprobs": [{"two": -1.5}], "text_offset": [0]}
    piece = chunk("one")
    piece["choices"][0]["logprobs"] = LOGPROBS
    for answer, raw in (
        (sse(piece, chunk(finish="stop"), DONE), False),
        (sse(text_chunk("one", "stop", logprobs=old), DONE), True),
    ):
        async with serving(answer) as odd:
            engine, out = OpenAIEngine(odd.url), Recorder()
            await engine.generate(replace(HI, logprobs=1, raw=raw), out)
            assert out.tokens == (TOLD if not raw else replace(TOLD, bytes=None),)
            assert odd.requests[0].json["logprobs"] == (1 if raw else True)
            await engine.close()


async def test_a_strict_request_is_not_repeated_without_what_it_asks_for() -> None:
    def answer(request: OddRequest) -> list[Step] | None:
        if b'"seed"' in request.body:
            return plain({"error": {"message": "Extra inputs: seed"}}, "400 Bad Request")
        return None

    async with OddEngine(sse(chunk("one", "stop"), DONE)) as odd:
        odd.on_request = answer
        engine, out = OpenAIEngine(odd.url), Recorder()
        asked = replace(HI, options={"seed": 7})
        with pytest.raises(UnsupportedOptionError) as caught:
            await engine.generate(replace(asked, strict=True), out)
        assert caught.value.option == "seed"
        assert len(odd.asked) == 1
        await engine.generate(asked, out)
        assert (out.said, len(odd.asked)) == ("one", 3)
        # It is known now, so nothing is sent.
        with pytest.raises(UnsupportedOptionError):
            await engine.generate(replace(asked, strict=True), out)
        assert len(odd.asked) == 3
        await engine.close()


async def test_a_refusal_that_names_its_field_names_the_option() -> None:
    refusal = plain({"error": {"message": "Unsupported value", "param": "temperature"}}, "400 Bad Request")
    async with OddEngine(refusal) as odd:
        engine = OpenAIEngine(odd.url)
        with pytest.raises(EngineRefusedError) as caught:
            await engine.generate(replace(HI, options={"temperature": 1.5}, strict=True), Recorder())
        assert isinstance(caught.value, UnsupportedOptionError)
        assert caught.value.option == "temperature"
        await engine.close()


async def test_ollama_gets_a_raw_prompt_and_a_suffix() -> None:
    said = ndjson({"response": "one", "done": False}, {"response": "", **END})
    async with serving(said) as odd:
        engine, out = OllamaEngine(odd.url), Recorder()
        outcome = await engine.generate(replace(HI, raw=True, format="json"), out)
        assert (out.said, outcome.reason) == ("one", "stop")
        body = next(each.json for each in odd.requests if each.path.endswith("/api/generate"))
        assert (body["prompt"], body["raw"], body["format"]) == ("hi", True, "json")
        await engine.generate(replace(HI, suffix="end"), out)
        body = [each.json for each in odd.requests if each.path.endswith("/api/generate")][-1]
        assert (body["prompt"], body["suffix"]) == ("hi", "end")
        assert "raw" not in body
        for wrong in (replace(HI, raw=True, suffix="end"), replace(HI, suffix="end", turns=HI.turns * 2)):
            with pytest.raises(UnsupportedOptionError) as caught:
                await engine.generate(wrong, out)
            assert caught.value.option == "suffix"
        await engine.close()


async def test_a_model_of_ollama_without_a_gap_is_refused_by_name() -> None:
    async with serving(plain({"error": "m does not support insert"}, "400 Bad Request")) as odd:
        engine = OllamaEngine(odd.url)
        with pytest.raises(UnsupportedOptionError) as caught:
            await engine.generate(replace(HI, suffix="end"), Recorder())
        assert caught.value.option == "suffix"
        await engine.close()


@pytest.mark.parametrize(("version", "tells"), [("0.12.10", False), ("0.12.11", True), ("0.0.0", True)])
async def test_ollama_tells_log_probabilities_from_a_version_on(version: str, tells: bool) -> None:
    def answer(request: OddRequest) -> list[Step] | None:
        return plain({"version": version}) if request.path.endswith("/api/version") else None

    async with OddEngine(ndjson(line("one", logprobs=LOGPROBS["content"]), line(**END))) as odd:
        odd.on_request = answer
        engine, out = OllamaEngine(odd.url), Recorder()
        if tells:
            await engine.generate(replace(HI, logprobs=1), out)
            assert out.tokens == (TOLD,)
            body = next(each.json for each in odd.requests if each.path.endswith("/api/chat"))
            assert (body["logprobs"], body["top_logprobs"]) == (True, 1)
        else:
            with pytest.raises(UnsupportedOptionError) as caught:
                await engine.generate(replace(HI, logprobs=1), out)
            assert caught.value.option == "logprobs"
        await engine.close()


async def test_ollama_gets_options_under_its_own_names() -> None:
    async with OddEngine(ndjson(line("one"), line(**END))) as odd:
        engine = OllamaEngine(odd.url)
        options = {
            "max_completion_tokens": 5,
            "repetition_penalty": 1.1,
            "presence_penalty": 0.5,
            "logit_bias": {},
        }
        await engine.generate(replace(HI, options=options), Recorder())
        body = next(each.json for each in odd.requests if each.path.endswith("/api/chat"))
        wanted = {"num_predict": 5, "repeat_penalty": 1.1, "presence_penalty": 0.5, "logit_bias": {}}
        assert body["options"] == wanted
        with pytest.raises(UnsupportedOptionError) as caught:
            await engine.generate(replace(HI, options=options, strict=True), Recorder())
        assert caught.value.option == "logit_bias"
        await engine.close()


async def test_a_prompt_that_ollama_cut_is_an_error_of_a_strict_request() -> None:
    def answer(request: OddRequest) -> list[Step] | None:
        return plain({"models": [{"name": "m"}]}) if request.path.endswith("/api/ps") else None

    async with OddEngine(ndjson(line("one"), line(**END | {"prompt_eval_count": 500}))) as odd:
        odd.on_request = answer
        engine = OllamaEngine(odd.url)
        long = replace(
            HI, turns=(Turn("user", (TextPart("word " * 2000),)),), options={"num_ctx": 512}, strict=True
        )
        with pytest.raises(ContextExceededError, match="it has read 500 tokens, and its context is 512"):
            await engine.generate(long, Recorder())
        await engine.close()


@pytest.mark.parametrize(
    ("options", "said", "reason"),
    [
        ({"stop": "two"}, "one ", "stop"),
        ({"stop": ["three", "two"]}, "one ", "stop"),
        ({"stop": ["two"], "num_predict": 1}, "one ", "stop"),
        ({"stop": ["three"], "num_predict": 1}, "one ", "length"),
        ({"stop": "none"}, "one two three", "stop"),
    ],
)
async def test_the_demo_engine_ends_before_a_stop(options: dict[str, Any], said: str, reason: str) -> None:
    out = Recorder()
    asked = Request("demo:echo", (Turn("user", (TextPart("one two three"),)),), options=options, raw=True)
    outcome = await DemoEngine().generate(asked, out)
    assert (out.said, outcome.reason) == (said, reason)
