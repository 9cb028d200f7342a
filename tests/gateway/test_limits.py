"""One person's share of a server with authentication, on real sockets."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.dialects.serving import AUTH, token
from tests.doubles.engines import replace_demo

from legato.gateway import descriptors
from legato.gateway import server as server_module
from legato.gateway.descriptors import connections_within
from legato.gateway.server import Server
from legato.testing.engine import ScriptedEngine

from .server import calling, serving, settings_for

LIMITS = {"sockets": 3, "event_streams": 2, "replies": 3, "uploads": 1, "requests_per_minute": 300}


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    replace_demo(monkeypatch, ScriptedEngine("demo", models=()))
    async with serving(settings_for(tmp_path, limits=LIMITS, **AUTH)) as server:
        yield server


async def open_socket(http: aiohttp.ClientSession, path: str = "/ws") -> aiohttp.ClientWebSocketResponse:
    return await http.ws_connect(path, protocols=["legato.v1"] if path == "/ws" else [])


async def test_one_persons_sockets_are_bounded_and_anothers_open(server: Server) -> None:
    async with AsyncExitStack() as stack:
        ann = await stack.enter_async_context(calling(server, token("ann")))
        bob = await stack.enter_async_context(calling(server, token("bob")))
        sockets = [await open_socket(ann) for _ in range(3)]
        for socket in sockets:
            assert (await socket.receive_json())["type"] == "welcome"
        refused = await open_socket(ann)
        error = await refused.receive_json()
        assert (error["type"], error["code"]) == ("error", "busy")
        assert "3 connections open" in error["message"]
        assert (await refused.receive()).data == 4008
        assert (await (await open_socket(bob)).receive_json())["type"] == "welcome"
        await sockets[0].close()
        again = await open_socket(ann)
        assert (await again.receive_json())["type"] == "welcome"


async def test_one_persons_replies_are_bounded(server: Server) -> None:
    async with calling(server, token("ann")) as ann, calling(server, token("bob")) as bob:

        async def send(http: aiohttp.ClientSession) -> int:
            async with http.post("/api/conversations", json={}) as response:
                conversation = (await response.json())["id"]
            async with http.post(
                f"/api/conversations/{conversation}/messages", json={"text": "hi"}
            ) as response:
                assert response.status != 429 or int(response.headers["retry-after"]) >= 1
                return response.status

        statuses = await asyncio.gather(*[send(ann) for _ in range(10)])
        assert sorted(statuses) == [201] * 3 + [429] * 7
        assert await send(bob) == 201


async def test_one_persons_streams_are_bounded(server: Server) -> None:
    body = {"model": "default", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"legato-on-disconnect": "cancel"}
    async with calling(server, token("ann")) as ann, calling(server, token("bob")) as bob:
        asking = [
            asyncio.ensure_future(ann.post("/v1/chat/completions", json=body, headers=headers))
            for _ in range(2)
        ]
        while server._context is None or server._context.generations.running < 2:
            await asyncio.sleep(0.01)
        async with ann.post("/v1/chat/completions", json=body) as refused:
            assert refused.status == 429
            assert (await refused.json())["error"]["type"] == "rate_limit_error"
        other = asyncio.ensure_future(bob.post("/v1/chat/completions", json=body))
        while server._context.generations.running < 3:
            await asyncio.sleep(0.01)
        for task in (*asking, other):
            task.cancel()
        await asyncio.gather(*asking, other, return_exceptions=True)
        while server._context.generations.running:
            await asyncio.sleep(0.01)


async def test_one_persons_requests_are_bounded_and_counted(server: Server) -> None:
    async with calling(server, token("ann")) as ann, calling(server, token("bob")) as bob:

        async def ask(http: aiohttp.ClientSession) -> int:
            async with http.get("/api/conversations") as response:
                await response.read()
                return response.status

        statuses = await asyncio.gather(*[ask(ann) for _ in range(150)])
        assert 429 in statuses
        assert await ask(bob) == 200
        async with bob.get(
            "/metrics", headers={"authorization": f"Bearer {token('root', scope='admin')}"}
        ) as response:
            assert 'legato_refused_total{kind="requests"}' in await response.text()


async def test_one_address_does_not_take_the_last_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "connections_within", lambda limit: 40)
    async with serving(settings_for(tmp_path)) as server, AsyncExitStack() as stack:
        host, port = server.address.removeprefix("http://").split(":")
        replies = []
        for _ in range(60):
            reader, writer = await asyncio.open_connection(host, int(port))
            stack.callback(writer.close)
            writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            replies.append(await reader.readline())
        refused = [reply for reply in replies if b" 503 " in reply]
        assert replies[0].startswith(b"HTTP/1.1 200")
        assert 20 <= len(refused) <= 30
        reader, writer = await asyncio.open_connection(host, int(port), local_addr=("127.0.0.2", 0))
        stack.callback(writer.close)
        writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_connections_that_end_are_counted_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "connections_within", lambda limit: 20)
    for websocket in ("direct", "asgi"):
        async with serving(settings_for(tmp_path / websocket, server={"websocket": websocket})) as server:
            for _ in range(40):
                async with calling(server) as http, http.get("/health") as response:
                    assert response.status == 200
                async with calling(server) as http, http.ws_connect("/ws", protocols=["legato.v1"]) as socket:
                    assert (await socket.receive_json())["type"] == "welcome"


def test_the_soft_limit_of_descriptors_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[Any] = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, 524_288))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: set_to.append(limits))
    assert descriptors.raise_limit() == 524_288
    assert set_to == [(524_288, 524_288)]
    assert connections_within(1024) == 768
    assert connections_within(64) == 48
