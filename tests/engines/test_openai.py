"""What the engine does with a server that speaks OpenAI's protocol."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.openai import DONE, OpenAIDouble, Script, chunk, said

from legato.domain.message import TextPart
from legato.engines.base import Capabilities, Request, Turn
from legato.engines.openai import engine as openai
from legato.engines.openai.engine import OpenAIEngine, base_url
from legato.errors import (
    EngineBrokeError,
    EngineError,
    EngineRefusedError,
    EngineUnavailableError,
    ModelNotFoundError,
)
from legato.stream import State, Usage
from legato.testing.engine import Recorder

HI = (Turn("user", (TextPart("hi"),)),)
PLAIN = Request("plain", HI)


@pytest.fixture
async def double() -> AsyncIterator[OpenAIDouble]:
    async with OpenAIDouble() as double:
        yield double


@pytest.fixture
async def engine(double: OpenAIDouble) -> AsyncIterator[OpenAIEngine]:
    engine = OpenAIEngine(double.url)
    yield engine
    await engine.close()


async def fails(engine: OpenAIEngine, request: Request = PLAIN) -> tuple[EngineError, Recorder]:
    out = Recorder()
    with pytest.raises(EngineError, match=r"\.$") as caught:
        await engine.generate(request, out)
    return caught.value, out


async def test_a_reply_comes_word_by_word_with_what_it_cost(
    double: OpenAIDouble, engine: OpenAIEngine
) -> None:
    double.script = said("The", " quick", " fox", model="plain-2026")
    out = Recorder()
    outcome = await engine.generate(PLAIN, out)
    assert out.words == ["The", " quick", " fox"]
    assert (outcome.reason, outcome.model, outcome.usage) == ("stop", "plain-2026", Usage(10, 4))


async def test_the_first_word_does_not_wait_for_the_second(
    double: OpenAIDouble, engine: OpenAIEngine
) -> None:
    more = asyncio.Event()
    double.script = Script([chunk({"content": "one"}), more, chunk({"content": " two"}, "stop"), DONE])
    out = Recorder()
    writing = asyncio.create_task(engine.generate(PLAIN, out))
    while out.said != "one":
        await asyncio.sleep(0)
    more.set()
    await writing
    assert out.said == "one two"


async def test_done_is_the_end_though_the_connection_stays_open(
    double: OpenAIDouble, engine: OpenAIEngine
) -> None:
    double.script = said("The")
    double.script.chunks.append(asyncio.Event())
    assert (await engine.generate(PLAIN, Recorder())).reason == "stop"
    await asyncio.wait_for(double.gone.wait(), 10)


async def test_a_reply_that_is_whole_leaves_its_connection_to_the_next(
    double: OpenAIDouble, engine: OpenAIEngine
) -> None:
    double.script = said("The")
    for _ in range(3):
        await engine.generate(PLAIN, Recorder())
    assert len(double.peers) == 1


async def test_a_reply_that_has_ended_is_whole_though_the_server_says_no_more(
    double: OpenAIDouble, engine: OpenAIEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai, "_COST_SECONDS", 0.05)
    double.script = Script([chunk({"content": "The"}, "stop"), asyncio.Event()])
    out = Recorder()
    async with asyncio.timeout(10):
        assert (await engine.generate(PLAIN, out)).reason == "stop"
    assert out.said == "The"
    await asyncio.wait_for(double.gone.wait(), 10)


async def test_a_connection_that_breaks_after_the_ending_does_not_break_the_reply(
    double: OpenAIDouble, engine: OpenAIEngine
) -> None:
    double.script = Script([chunk({"content": "The"}, "length"), None])
    assert (await engine.generate(PLAIN, Recorder())).reason == "length"


async def test_what_llama_cpp_tells_of_its_reading_is_a_state(
    double: OpenAIDouble, engine: OpenAIEngine
) -> None:
    progress = {"total": 10, "cache": 0, "processed": 5, "time_ms": 3}
    double.script = said("x")
    double.script.chunks.insert(0, chunk({"role": "assistant", "content": None}, prompt_progress=progress))
    out = Recorder()
    await engine.generate(PLAIN, out)
    assert out.states == [State("reading", progress=0.5)]


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk({"content": "The"})],
        [chunk({"content": "The"}), None],
        [chunk({"content": "The"}), {"error": {"message": "boom"}}],
        [chunk({"content": "The"}), b'data: {"choi'],
    ],
)
async def test_a_reply_that_breaks_is_reported_as_broken_and_its_words_stay(
    double: OpenAIDouble, engine: OpenAIEngine, chunks: list[Any]
) -> None:
    double.script = Script(chunks)
    error, out = await fails(engine)
    assert isinstance(error, EngineBrokeError)
    assert out.said == "The"


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (400, {"error": {"message": "context too long"}}, EngineRefusedError, "context too long"),
        (422, {"detail": []}, EngineRefusedError, "422"),
        (403, {"error": {"message": "not in your country"}}, EngineRefusedError, "not in your country"),
        (
            404,
            {"error": {"message": "gone", "code": "model_not_found"}},
            ModelNotFoundError,
            "no model plain",
        ),
        (404, {"detail": "Not Found"}, EngineUnavailableError, "URL"),
        (404, "<html>", EngineUnavailableError, "URL"),
        (429, {"error": {"message": "slow down"}}, EngineUnavailableError, "slow down"),
        (
            429,
            {"error": {"message": "pay first", "code": "insufficient_quota"}},
            EngineRefusedError,
            "pay first",
        ),
        (503, {"error": {"message": "Loading model", "code": 503}}, EngineUnavailableError, "Loading model"),
        (500, "<html>", EngineUnavailableError, "500"),
    ],
)
async def test_every_refusal_is_a_sentence(
    double: OpenAIDouble, engine: OpenAIEngine, status: int, body: object, kind: type[EngineError], says: str
) -> None:
    double.script = Script(status=status, body=body)
    error, _ = await fails(engine)
    assert type(error) is kind
    assert says in error.message


async def test_how_long_to_wait_is_kept_with_the_error(double: OpenAIDouble, engine: OpenAIEngine) -> None:
    double.script = Script(status=429, body={"error": "slow down"}, headers={"Retry-After": "3"})
    error, _ = await fails(engine)
    assert isinstance(error, EngineUnavailableError)
    assert error.retry_after == 3.0


async def test_an_unknown_model_is_reported_by_its_name(engine: OpenAIEngine) -> None:
    error, _ = await fails(engine, Request("nope", HI))
    assert isinstance(error, ModelNotFoundError)
    assert "nope" in error.message


async def test_a_wrong_key_is_reported_without_the_key() -> None:
    async with OpenAIDouble(api_key="sk-right") as double:
        wrong = OpenAIEngine(double.url, api_key="sk-wrong")
        error, _ = await fails(wrong)
        assert isinstance(error, EngineRefusedError)
        assert "`api_key`" in error.message
        assert "sk-" not in error.message
        health = await wrong.health()
        assert (health.ok, health.detail) == (False, error.message)
        with pytest.raises(EngineUnavailableError, match="`api_key`"):
            await wrong.models()
        await wrong.close()

        right = OpenAIEngine(double.url, api_key="sk-right")
        double.script = said("x")
        await right.generate(PLAIN, Recorder())
        assert (await right.health()).ok
        await right.close()


async def test_cancelling_closes_the_connection(double: OpenAIDouble, engine: OpenAIEngine) -> None:
    double.script = Script([chunk({"content": "one"}), asyncio.Event()])
    out = Recorder()
    writing = asyncio.create_task(engine.generate(PLAIN, out))
    while not out.said:
        await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await asyncio.wait_for(double.gone.wait(), 10)


async def test_a_prefix_is_continued_only_where_the_server_is_known_to(double: OpenAIDouble) -> None:
    request = Request("plain", HI, prefix="The quick")
    plain = OpenAIEngine(double.url)
    error, _ = await fails(plain, request)
    assert isinstance(error, EngineRefusedError)
    assert double.completions == []
    await plain.close()

    continuing = OpenAIEngine(double.url, continues=True, name="llama", extra_body={"return_progress": True})
    double.script = said(" fox")
    await continuing.generate(request, Recorder())
    (body,) = double.completions
    assert body["messages"][-1] == {"role": "assistant", "content": "The quick"}
    assert body["return_progress"] is True
    assert continuing.name == "llama"
    assert (await continuing.capabilities("plain")).supports_prefill
    await continuing.close()


async def test_a_server_behind_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "llama.sock"
    engine = OpenAIEngine("http://localhost", unix_socket=path)
    error, _ = await fails(engine)
    assert isinstance(error, EngineUnavailableError)
    assert "no such file" in error.message
    assert str(path) not in error.message
    async with OpenAIDouble(unix_socket=path) as double:
        double.script = said("x")
        out = Recorder()
        await engine.generate(PLAIN, out)
        assert out.said == "x"
        await engine.close()


async def test_what_is_there_and_what_it_can_do(double: OpenAIDouble, engine: OpenAIEngine) -> None:
    double.models = [{"id": "plain", "max_model_len": 8192}, {"id": "other"}]
    assert [(model.name, model.engine, model.context) for model in await engine.models()] == [
        ("plain", "openai", 8192),
        ("other", "openai", None),
    ]
    assert await engine.capabilities("plain") == Capabilities(tools=True, images=True, context=8192)
    assert await engine.capabilities("unheard-of") == Capabilities(tools=True, images=True)
    health = await engine.health()
    assert health.ok
    assert "2 models" in health.detail


async def test_a_model_that_only_embeds_is_listed_as_such(double: OpenAIDouble, engine: OpenAIEngine) -> None:
    double.models = [{"id": "text-embedding-3-small"}, {"id": "plain"}]
    assert [model.chats for model in await engine.models()] == [False, True]


async def test_no_one_there_is_reported_with_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    engine = OpenAIEngine(f"http://127.0.0.1:{port}")
    assert f"http://127.0.0.1:{port}/v1 cannot be reached" in (await engine.health()).detail
    assert (await engine.capabilities("plain")).context is None
    await engine.close()


async def test_one_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("legato.engines.openai.engine._HEALTH_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = OpenAIEngine(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(EngineUnavailableError, match="does not answer"):
            await asyncio.wait_for(engine.models(), 10)
        assert "does not answer" in (await engine.health()).detail
        await engine.close()


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
        ("https://host/v1beta/openai/", "https://host/v1beta/openai"),
        ("https://host/proxy", "https://host/proxy/v1"),
        ("https://host/v1/chat/completions", "https://host/v1"),
    ],
)
def test_the_base_is_found_with_or_without_its_version(given: str, base: str) -> None:
    assert base_url(given) == base
