"""Wrong input in every API: an error in the API's own shape, none of them the server's fault, and nothing stored."""

import asyncio
import io
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from tests.doubles.engines import replace_demo
from tests.doubles.schema_engine import SchemaEngine
from tests.gateway.server import calling, serving, settings_for

TOOL = {"name": "add", "description": "d", "parameters": {"type": "object", "properties": {"a": {}}}}
PNG = "data:image/png;base64,aGk="
HI = {"role": "user", "content": "hi"}


BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "scripted",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": PNG}}]},
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "2"},
            HI,
        ],
        "tools": [{"type": "function", "function": TOOL}],
        "tool_choice": "auto",
        "temperature": 0.5,
        "max_tokens": 5,
        "n": 1,
        "stop": ["END"],
        "seed": 4,
        "logprobs": True,
        "top_logprobs": 2,
        "logit_bias": {"1": 2},
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
        "reasoning_effort": "low",
        "stream": False,
        "stream_options": {"include_usage": True},
        "metadata": {"a": "b"},
    },
    "/v1/completions": {
        "model": "scripted",
        "prompt": ["Once"],
        "suffix": "end",
        "max_tokens": 5,
        "echo": False,
        "logprobs": 1,
        "best_of": 1,
    },
    "/v1/embeddings": {"model": "scripted", "input": ["a", "b"], "encoding_format": "float", "dimensions": 8},
    "/v1/responses": {
        "model": "scripted",
        "instructions": "Be kind.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": PNG}]},
            {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "2"},
        ],
        "tools": [{"type": "function", **TOOL}],
        "tool_choice": "auto",
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low"},
        "max_output_tokens": 16,
        "metadata": {"a": "b"},
        "include": ["message.output_text.logprobs"],
        "store": True,
        "background": False,
        "stream": False,
    },
    "/v1/messages": {
        "model": "scripted",
        "max_tokens": 5,
        "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "add", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "2"}]}]},
        ],
        "tools": [{"name": "add", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "stop_sequences": ["END"],
        "top_k": 4,
        "metadata": {"user_id": "u"},
    },
    "/v1/messages/count_tokens": {"model": "scripted", "messages": [HI], "system": "x"},
    "/api/chat": {
        "model": "scripted",
        "messages": [{**HI, "images": ["aGk="]}, {"role": "assistant", "content": "", "thinking": "t"}, {"role": "tool", "tool_name": "add", "content": "2"}, HI],
        "tools": [{"type": "function", "function": TOOL}],
        "format": {"type": "object"},
        "options": {"temperature": 0.5, "num_predict": 5, "stop": ["END"], "num_ctx": 100},
        "think": "low",
        "keep_alive": "5m",
        "logprobs": True,
        "top_logprobs": 2,
        "stream": False,
    },
    "/api/generate": {
        "model": "scripted",
        "prompt": "x",
        "system": "s",
        "template": "",
        "context": [1, 2],
        "images": [],
        "raw": False,
        "options": {"seed": 1},
        "keep_alive": -1,
        "stream": False,
    },
    "/api/embed": {"model": "scripted", "input": ["a"], "truncate": True, "dimensions": 8, "options": {}},
    "/api/embeddings": {"model": "scripted", "prompt": "a", "keep_alive": 1},
    "/api/show": {"model": "scripted", "verbose": False},
    "/ai/chat": {
        "id": "c",
        "trigger": "submit-message",
        "model": "scripted",
        "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}, {"type": "file", "mediaType": "image/png", "url": PNG}]}],
    },
}  # fmt: skip
"""A body for each path that most of its fields are in."""

ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 0.5, 1e308, 2**63, -(2**63) - 1, 10**400, "", " ", "\0", "\ud800"),
    *("a" * 5000, "٣", "robot", "data:", "data:image/png;base64,%%%", [], {}, [[]], [None], [{}], {"": None}),
    *(
        {"type": None},
        {"type": []},
        {"role": 1},
        {"type": "function"},
        [""],
        ["\ud800"],
        ["a", 1],
        {"a": {"b": [{}]}},
    ),
]

SHAPES: tuple[tuple[str, str], ...] = (
    ("/v1/messages", "anthropic"),
    ("/v1/", "openai"),
    ("/api/", "ollama"),
    ("/ai/", "ai"),
)


def check_shape(path: str, status: int, raw: bytes) -> None:
    """Check that an error has the shape of the API of `path`, and is not the server's fault."""
    assert status < 500, (path, status, raw[:500])
    if status < 400:
        return
    api = next(api for prefix, api in SHAPES if path.startswith(prefix))
    if api == "ai":
        assert raw.decode().strip()
        return
    body = json.loads(raw)
    error = body["error"]
    if api == "anthropic":
        assert body["type"] == "error"
        assert error["type"].endswith("_error")
    message = error if api == "ollama" else error["message"]
    assert isinstance(message, str)
    assert 0 < len(message) < 2000, message[:3000]
    if api == "openai":
        assert {"type", "param", "code"} <= set(error)


def encoded(value: Any) -> bytes:
    """Return JSON as a careless client writes it: with lone surrogates, and numbers of any size."""
    return json.dumps(value).encode()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value within a body, the body's own first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a body with another value at a place, or without the place if `new` is `places`."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1 and new is places:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(copy[path[0]], path[1:], new)
    return copy


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, bytes]:
    """A path and a body of it that is wrong in one to three places, or cut, or not text."""
    path = draw(st.sampled_from(sorted(BODIES)))
    body: Any = BODIES[path]
    for _ in range(draw(st.integers(1, 3))):
        found = places(body)
        place = draw(st.sampled_from(found[1:] or found))
        body = changed(body, place, draw(st.sampled_from([places, *ODD]) if place else st.sampled_from(ODD)))
    raw = encoded(body)
    match draw(st.integers(0, 12)):
        case 0:
            raw = raw[: draw(st.integers(0, len(raw)))]
        case 1:
            where = draw(st.integers(0, len(raw)))
            raw = raw[:where] + draw(st.binary(min_size=1, max_size=4)) + raw[where:]
    return path, raw


@asynccontextmanager
async def client(folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    with pytest.MonkeyPatch.context() as patch:
        replace_demo(patch, SchemaEngine(models=("demo:echo", "scripted")))
        async with serving(settings_for(folder)) as server, calling(server) as http:
            yield http


async def sent(
    http: aiohttp.ClientSession, path: str, raw: bytes, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    async with http.post(path, data=io.BytesIO(raw), headers=headers) as response:
        return response.status, await response.read()


def test_mutated_bodies(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        context = client(tmp_path)
        http = runner.run(context.__aenter__())

        @seed(1)
        @settings(
            max_examples=400,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=True,
        )
        @given(mutations())
        def holds(mutation: tuple[str, bytes]) -> None:
            path, raw = mutation
            check_shape(path, *runner.run(sent(http, path, raw)))

        try:
            holds()
        finally:
            runner.run(context.__aexit__(None, None, None))


NO_JSON = {
    "text": b"hello",
    "no body": b"",
    "a list": b"[]",
    "null": b"null",
    "a cut body": b'{"model": "scripted", "mess',
    "invalid UTF-8": b'{"model": "\xff\xfe"}',
    "NUL": b'{"model": "\0"}',
    "a deep list": b'{"model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a deep schema": b'{"model": "scripted", "tools": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "a huge number": b'{"model": 1' + b"0" * 100_000 + b"}",
    "10 MB": b'{"model": "' + b"a" * 10_000_000 + b'"}',
    "an unknown model": b'{"model": "none", "messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x", "max_tokens": 1, "id": "c"}',
}


async def test_bodies_that_are_none(tmp_path: Path) -> None:
    async with client(tmp_path) as http:
        for path in BODIES:
            for what, raw in NO_JSON.items():
                status, told = await sent(http, path, raw)
                assert status >= 400, (path, what)
                check_shape(path, status, told)


async def test_a_large_picture_is_taken(tmp_path: Path) -> None:
    body = changed(BODIES["/api/chat"], ("messages", 0, "images", 0), "iVBORw0KGgoA" + "aGkh" * 2_000_000)
    async with client(tmp_path) as http:
        status, told = await sent(http, "/api/chat", encoded(body))
        assert status == 200, told


async def test_a_duplicate_key_a_wrong_content_type_and_none(tmp_path: Path) -> None:
    headers = [
        {"content-type": kind} for kind in ("text/plain", "application/x-www-form-urlencoded", "a/b; c")
    ]
    async with client(tmp_path) as http:
        for path, body in BODIES.items():
            for each in headers:
                check_shape(path, *await sent(http, path, encoded(body), each))
            twice = encoded(body)[:-1] + b', "model": "scripted"}'
            check_shape(path, *await sent(http, path, twice))


async def test_unknown_paths_and_methods(tmp_path: Path) -> None:
    paths = [
        *BODIES,
        "/v1/none",
        "/v1/chat/none",
        "/v1/responses/none",
        "/v1/models/none",
        "/v1/messages/none",
    ]
    async with client(tmp_path) as http:
        for path in (*paths, "/api/pull", "/api/blobs/sha256:0", "/ai/chat/none/stop", "/ai/none"):
            for method in ("GET", "PUT", "PATCH", "DELETE", "TRACE"):
                async with http.request(method, path, data=b"{}") as response:
                    assert response.status in (204, *range(400, 500)), (method, path)
                    check_shape(path, response.status, await response.read())
        for path, method, allowed in (
            ("/v1/messages", "GET", "POST"),
            ("/v1/models", "POST", "GET"),
            ("/v1/streams/none", "PUT", "DELETE, GET, HEAD"),
        ):
            async with http.request(method, path) as response:
                assert (response.status, response.headers["allow"]) == (405, allowed)


async def test_nothing_is_stored_of_what_is_refused(tmp_path: Path) -> None:
    async with client(tmp_path) as http:
        async with http.post("/api/conversations", json={}) as response:
            conversation = (await response.json())["id"]
        headers = {
            "legato-conversation": conversation,
            "legato-on-disconnect": "continue",
            "idempotency-key": "k",
        }
        for path, body in BODIES.items():
            for wrong in (
                {"messages": [{"role": "robot"}]},
                {"model": "none"},
                {"model": 1},
                {"input": 1, "prompt": 1},
            ):
                status, told = await sent(http, path, encoded({**body, "background": True, **wrong}), headers)
                check_shape(path, status, told)
        async with http.get(f"/api/conversations/{conversation}/messages") as response:
            assert (await response.json())["messages"] == []
    with closing(sqlite3.connect(tmp_path / "legato.db")) as database:
        ended = database.execute("SELECT count(*) FROM api_streams WHERE ended IS NULL").fetchone()
    assert ended == (0,)
