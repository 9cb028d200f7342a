"""A stream of any API, cut anywhere, is read on from `/v1/streams` byte for byte."""

import asyncio
import json
import re
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
from tests.dialects.serving import AUTH, token
from tests.doubles.engines import replace_demo
from tests.gateway.server import calling, serving, settings_for

from legato.errors import EngineBrokeError
from legato.gateway.server import Server
from legato.testing.engine import ScriptedEngine, ScriptedGeneration

WORDS = ("süß", " \n\ndata: x", "\u2028", " 🥚", "end")
USER = [{"role": "user", "content": "hi"}]
CALLS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": USER,
        "stream": True,
        "n": 1,
        "stream_options": {"include_usage": True},
    },
    "/v1/completions": {"model": "demo:echo", "prompt": "hi", "stream": True},
    "/v1/responses": {"input": "hi", "stream": True},
    "/v1/messages": {"messages": USER, "stream": True, "max_tokens": 100},
    "/api/chat": {"messages": USER},
    "/api/generate": {"prompt": "hi"},
    "/ai/chat": {
        "id": "c",
        "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}],
    },
}
ENDS = {
    "/v1/chat/completions": b"data: [DONE]\n\n",
    "/v1/completions": b"data: [DONE]\n\n",
    "/v1/responses": b"}\n\n",
    "/v1/messages": b'data: {"type":"message_stop"}\n\n',
    "/api/chat": b"}\n",
    "/api/generate": b"}\n",
    "/ai/chat": b"data: [DONE]\n\n",
}
Mode = Literal["raw", "catch-up", "long-poll", "sse", "EventSource"]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    engine = ScriptedEngine("demo", models=("demo:echo",))
    replace_demo(monkeypatch, engine)
    return engine


@pytest.fixture
async def server(engine: ScriptedEngine, tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(settings_for(tmp_path, **AUTH)) as server:
        yield server


@pytest.fixture
async def ann(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with calling(server, token("ann")) as http:
        yield http


class Asked:
    """A request under way: its response, what its engine was asked, and what came so far."""

    def __init__(self, response: aiohttp.ClientResponse, run: ScriptedGeneration) -> None:
        self.response, self.run = response, run
        self.stream = response.headers["legato-stream"]
        self.start = response.headers["stream-next-offset"]
        self.got = b""

    async def until(self, count: int) -> None:
        """Read until `count` of the words have come."""
        while not all(_said(word, self.got) for word in WORDS[:count]):
            self.got += await self.response.content.readany()

    @property
    def position(self) -> str:
        """The last position: the id of the last whole event, or the bytes that came."""
        ids = re.findall(rb"^id: (\S+)$", self.got[: self.got.rfind(b"\n\n") + 2], re.MULTILINE)
        if self.response.content_type == "text/event-stream":
            return ids[-1].decode() if ids else self.start
        incarnation, first = self.start.split("_")
        return f"{incarnation}_{int(first) + len(self.got):016d}"

    @property
    def known(self) -> bytes:
        """What lies before that position."""
        return self.got[: int(self.position.partition("_")[2])]


def _said(word: str, body: bytes) -> bool:
    """Whether a body has this word as a JSON text; lines escape U+2028."""
    text = json.dumps(word, ensure_ascii=False)
    return any(each.encode() in body for each in (text, text.replace("\u2028", "\\u2028")))


async def ask(
    http: aiohttp.ClientSession, engine: ScriptedEngine, path: str, *, headers: dict[str, str], said: int = 1
) -> Asked:
    asking = asyncio.ensure_future(http.post(path, json={"model": "default"} | CALLS[path], headers=headers))
    run = await engine.asked()
    run.say(*WORDS[:said])
    return Asked(await asking, run)


async def read(http: aiohttp.ClientSession, stream: str, position: str, mode: Mode) -> bytes:
    """Read to the end, as a client of this kind does."""
    url, body = f"/v1/streams/{stream}", b""
    if mode == "raw":
        async with http.get(url, params={"offset": position, "live": "raw"}) as response:
            return await response.read()
    if mode == "EventSource":
        headers = {"last-event-id": position, "accept": "text/event-stream"}
        async with http.get(url, headers=headers) as response:
            return await response.read()
    if mode == "sse":
        async with http.get(url, params={"offset": position, "live": "sse"}) as response:
            return decoded(await response.text(), response.headers.get("stream-sse-data-encoding"))
    while True:
        params = {"offset": position} | ({"live": mode} if mode == "long-poll" else {})
        async with http.get(url, params=params) as response:
            assert response.status in (200, 204)
            body += await response.read()
            position = response.headers["stream-next-offset"]
            if response.headers.get("stream-closed") == "true":
                return body


def decoded(text: str, encoding: str | None) -> bytes:
    """What the events of Durable Streams carry, up to the one that says the stream is closed."""
    body = b""
    for event in text.removesuffix("\n\n").split("\n\n"):
        lines = event.split("\n")
        data = "\n".join(line.removeprefix("data:").removeprefix(" ") for line in lines[1:])
        if lines[0] == "event: data":
            body += b64decode(data) if encoding == "base64" else data.encode()
        else:
            control = json.loads(data)
    assert control["streamClosed"] is True
    return body


@pytest.mark.parametrize("mode", ["raw", "catch-up", "long-poll", "sse"])
@pytest.mark.parametrize("path", CALLS)
async def test_cut_at_every_event_it_goes_on_byte_for_byte(
    path: str, mode: Mode, ann: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    for count in range(1, len(WORDS) + 1):
        asked = await ask(ann, engine, path, headers={"legato-on-disconnect": "continue"}, said=count)
        await asked.until(count)
        asked.response.close()
        asked.run.say(*WORDS[count:])
        asked.run.finish()
        rest = await read(ann, asked.stream, asked.position, mode)
        whole = await read(ann, asked.stream, "-1", "raw")
        assert asked.known + rest == whole
        assert whole.endswith(ENDS[path])
        assert all(_said(word, whole) for word in WORDS)


async def test_an_event_source_goes_on_and_is_told_to_stop(
    ann: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    asked = await ask(ann, engine, "/v1/chat/completions", headers={"legato-on-disconnect": "grace=30"})
    await asked.until(1)
    asked.response.close()
    reading = asyncio.ensure_future(read(ann, asked.stream, asked.position, "EventSource"))
    asked.run.say("more")
    asked.run.finish()
    assert asked.known + await reading == await read(ann, asked.stream, "-1", "raw")
    async with ann.head(f"/v1/streams/{asked.stream}") as response:
        end = response.headers["stream-next-offset"]
        assert response.headers["stream-closed"] == "true"
    headers = {"last-event-id": end, "accept": "text/event-stream"}
    async with ann.get(f"/v1/streams/{asked.stream}", headers=headers) as response:
        assert response.status == 204


@pytest.mark.parametrize("path", CALLS)
async def test_a_repeated_request_with_the_last_id_goes_on(
    path: str, ann: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    keyed = {"idempotency-key": "k", "legato-on-disconnect": "continue"}
    asked = await ask(ann, engine, path, headers=keyed)
    await asked.until(1)
    asked.response.close()
    body = {"model": "default"} | CALLS[path]
    if path == "/ai/chat":
        # The SDK asks the door's own path to resume; its whole is told again.
        again = asyncio.ensure_future(ann.post(path, json=body, headers=keyed))
    else:
        again = asyncio.ensure_future(
            ann.post(path, json=body, headers=keyed | {"last-event-id": asked.position})
        )
    response = await again
    assert response.headers["legato-stream"] == asked.stream
    asked.run.say("more")
    asked.run.finish()
    rest = await response.read()
    whole = await read(ann, asked.stream, "-1", "raw")
    assert (b"" if path == "/ai/chat" else asked.known) + rest == whole
    assert len(engine.requests) == 1


@pytest.mark.parametrize("path", CALLS)
async def test_two_callers_with_one_key_get_one_generation(
    path: str, ann: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    headers = {"idempotency-key": "k"}
    body = {"model": "default"} | CALLS[path]
    both = [asyncio.ensure_future(ann.post(path, json=body, headers=headers)) for _ in range(2)]
    run = await engine.asked()
    run.say(*WORDS)
    run.finish()
    first, second = [await (await each).read() for each in both]
    assert first == second
    assert len(engine.requests) == 1
    async with ann.post(path, json=body | {"options": {"seed": 1}, "seed": 1}, headers=headers) as other:
        assert 400 <= other.status < 500


async def test_a_stream_of_somebody_else_is_as_none(
    server: Server, ann: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    asked = await ask(ann, engine, "/api/chat", headers={})
    async with calling(server, token("bob")) as bob:
        for method in ("GET", "HEAD", "DELETE"):
            answers = []
            for stream in (asked.stream, "none"):
                async with bob.request(method, f"/v1/streams/{stream}") as response:
                    answers.append((response.status, await response.read()))
            assert answers[0] == answers[1]
            assert answers[0][0] == 404
    assert not asked.run.cancelled
    asked.response.close()


async def test_deleting_a_stream_ends_it_down_to_the_engine(
    ann: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    asked = await ask(ann, engine, "/api/chat", headers={"legato-on-disconnect": "continue"})
    asked.response.close()
    async with ann.delete(f"/v1/streams/{asked.stream}") as response:
        assert response.status == 204
    assert asked.run.cancelled
    async with ann.get(f"/v1/streams/{asked.stream}") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    "query", ["offset=x", "offset=", "offset=-1&offset=-1", "live=long-poll", "live=sse", "live=x&offset=-1"]
)
async def test_a_wrong_parameter_is_refused(
    query: str, ann: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    asked = await ask(ann, engine, "/api/chat", headers={})
    async with ann.get(f"/v1/streams/{asked.stream}?{query}") as response:
        assert response.status == 400
        assert (await response.json())["error"]["message"]
    async with ann.get(f"/v1/streams/{asked.stream}?offset=0001_0000000000999999") as response:
        assert response.status == 410
    asked.response.close()


async def test_a_whole_answer_that_breaks_is_never_half_a_200(
    ann: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    body = {"model": "default", "messages": USER, "stream": False}
    asking = asyncio.ensure_future(ann.post("/v1/chat/completions", json=body))
    run = await engine.asked()
    run.say("half")
    run.fail(EngineBrokeError("It broke."))
    response = await asking
    assert response.status >= 500
    assert "half" not in await response.text()


@pytest.mark.parametrize("path", [path for path in CALLS if path != "/ai/chat"])
async def test_a_caller_who_leaves_ends_it_down_to_the_engine(
    path: str, ann: aiohttp.ClientSession, engine: ScriptedEngine
) -> None:
    for stream in (True, False):
        body = {"model": "default"} | CALLS[path] | {"stream": stream}
        asking = asyncio.ensure_future(ann.post(path, json=body))
        run = await engine.asked()
        if stream:
            run.say("one")
            (await asking).close()
        else:
            asking.cancel()
        while not run.cancelled:
            await asyncio.sleep(0.01)
