"""Embeddings: OpenAI's and Ollama's SDKs on a real port, and engines on the wire."""

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import ollama
import openai
import pytest
from tests.gateway.server import serving, settings_for

from legato.engines.demo.embedding import hashed_vector
from legato.engines.demo.engine import DemoEngine
from legato.engines.embedding import Embedding, embedder_of
from legato.engines.fallback import Candidate, FallbackEngine
from legato.engines.ollama.engine import OllamaEngine
from legato.engines.openai.engine import OpenAIEngine
from legato.errors import ContextExceededError, EngineBrokeError, EngineRefusedError, UnsupportedOptionError
from legato.gateway.server import Server
from legato.testing.engine import ScriptedEngine
from legato.testing.odd_engine import Answer, OddEngine, plain

MODEL = "demo:embed"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(settings_for(tmp_path, aliases={"text-embedding-3-small": MODEL})) as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_the_sdks_get_the_same_vectors(server: Server, client: openai.AsyncOpenAI) -> None:
    texts = ["the quick fox", "a lazy dog"]
    # This SDK asks for base64 unless it is told otherwise.
    packed = await client.embeddings.create(model="text-embedding-3-small", input=texts)
    plain_ = await client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    vectors = [hashed_vector(text) for text in texts]
    assert packed.model == "text-embedding-3-small"
    for one, two, vector in zip(packed.data, plain_.data, vectors, strict=True):
        assert one.embedding == pytest.approx(vector, abs=1e-6)
        assert two.embedding == list(vector)
        assert one.index == two.index
    assert packed.usage.prompt_tokens == 6
    short = await client.embeddings.create(model=MODEL, input="the quick fox", dimensions=8)
    assert len(short.data[0].embedding) == 8
    async with ollama.AsyncClient(host=server.address) as other:
        told = await other.embed(model=MODEL, input=texts, dimensions=16)
        assert [len(each) for each in told.embeddings] == [16, 16]
        assert (told.model, told.prompt_eval_count) == (MODEL, 6)
        old = await other.embeddings(model=MODEL, prompt=texts[0])
        assert list(old.embedding) == list(vectors[0])
        assert (await other.embed(model=MODEL, input=[])).embeddings == []
        assert "embedding" in ((await other.show(MODEL)).capabilities or ())
    listed = [model.id async for model in client.models.list()]
    assert MODEL in listed


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": [[1, 2]]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 5000}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
    ],
)
async def test_what_cannot_be_done_names_its_field(
    client: openai.AsyncOpenAI, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.embeddings.create(
            **({"model": MODEL, "input": "a", "encoding_format": "float"} | fields)
        )
    assert caught.value.param == param


async def test_what_writes_does_not_embed_and_the_reverse(server: Server, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="embeds no texts"):
        await client.embeddings.create(model="demo:echo", input="a")
    with pytest.raises(openai.BadRequestError, match="An assistant embeds no texts"):
        await client.embeddings.create(model="default", input="a")
    with pytest.raises(openai.BadRequestError, match="embeds texts and writes none"):
        await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "a"}])
    with pytest.raises(openai.NotFoundError):
        await client.embeddings.create(model="none", input="a")
    async with aiohttp.ClientSession(server.address) as http:
        answer = await http.post("/api/embed", json={"model": "none", "input": "a"})
        assert answer.status == 404
        assert "not found" in (await answer.json())["error"]


def serving_vectors(answer: Answer) -> OddEngine:
    odd = OddEngine([])
    odd.on_request = lambda request: answer if "/embed" in request.path else None
    return odd


def listed(*vectors: Any, **more: Any) -> dict[str, Any]:
    return {
        "object": "list",
        "model": "m-1",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in reversed(list(enumerate(vectors)))
        ],
        **more,
    }


async def test_an_openai_server_embeds() -> None:
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    async with serving_vectors(plain(listed([1, 0.5], "AACAPwAAAAA=", usage=usage))) as odd:
        engine = OpenAIEngine(odd.url)
        found = await engine.embed("m", ["a", "b"])
        assert found == Embedding(((1.0, 0.5), (1.0, 0.0)), "m-1", 5)
        assert odd.requests[0].json == {"model": "m", "input": ["a", "b"]}
        with pytest.raises(UnsupportedOptionError, match="vectors of 2 numbers"):
            await engine.embed("m", ["a", "b"], 3)
        with pytest.raises(EngineBrokeError):
            await engine.embed("m", ["a"])
        await engine.close()


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        ({"error": {"message": "m has no dimensions to choose"}}, "400 Bad Request", UnsupportedOptionError),
        ({"error": {"message": "no"}}, "400 Bad Request", EngineRefusedError),
        (
            {"error": {"message": "This model's maximum context length is 512 tokens", "code": "x"}},
            "400 Bad Request",
            ContextExceededError,
        ),
        ({"what": 1}, "200 OK", EngineBrokeError),
        (listed(["a"]), "200 OK", EngineBrokeError),
        (listed([]), "200 OK", EngineBrokeError),
        (listed("?"), "200 OK", EngineBrokeError),
    ],
)
async def test_what_an_openai_server_refuses_or_breaks(
    answer: dict[str, Any], status: str, error: type[Exception]
) -> None:
    async with serving_vectors(plain(answer, status)) as odd:
        engine = OpenAIEngine(odd.url)
        with pytest.raises(error) as caught:
            await engine.embed("m", ["a"], 3)
        assert type(caught.value) is error
        await engine.close()


async def test_ollama_embeds_and_cuts_nothing() -> None:
    said = {"model": "m", "embeddings": [[1, 2]], "prompt_eval_count": 2, "total_duration": 3_000_000}
    async with serving_vectors(plain(said)) as odd:
        engine = OllamaEngine(odd.url)
        assert await engine.embed("m", ["a"], 2) == Embedding(((1.0, 2.0),), "m", 2, None, 3.0)
        assert odd.requests[0].json == {"model": "m", "input": ["a"], "truncate": False, "dimensions": 2}
        await engine.close()
    refusal = plain({"error": "the input length exceeds the context length"}, "400 Bad Request")
    async with serving_vectors(refusal) as odd:
        engine = OllamaEngine(odd.url)
        with pytest.raises(ContextExceededError):
            await engine.embed("m", ["a"])
        await engine.close()


async def test_an_engine_that_embeds_nothing_says_so() -> None:
    engine = FallbackEngine([Candidate(ScriptedEngine())])
    with pytest.raises(EngineRefusedError, match="The engine scripted embeds no texts"):
        await embedder_of(engine, "x").embed("m", ["a"])
    demo = FallbackEngine([Candidate(DemoEngine(), MODEL)])
    assert (await demo.embed("x", ["a b"])).vectors == (hashed_vector("b A"),)


def test_texts_that_share_words_are_near() -> None:
    def likeness(one: str, two: str) -> float:
        return sum(a * b for a, b in zip(hashed_vector(one), hashed_vector(two), strict=True))

    assert math.isclose(likeness("a b c", "a b c"), 1.0)
    assert likeness("the red car", "the red bus") > likeness("the red car", "some green tree")
    assert math.isclose(likeness("", ""), 1.0)
