"""`POST …/messages/chat`: a client waits for the whole reply, and something comes between."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from legato.gateway import server as server_module
from legato.gateway.server import Server

from .server import calling, serving, settings_for


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    slow = {"engine": "demo", "model": "demo:echo", "options": {"tokens_per_second": 5}}
    assistants = {"default": slow, "thrifty": {**slow, "on_unwatched": "cancel"}}
    async with serving(settings_for(tmp_path, assistants=assistants)) as server:
        yield server


async def running(http: aiohttp.ClientSession, conversation: str) -> str:
    """The status of its reply, once there is one."""
    while True:
        async with http.get(f"/api/conversations/{conversation}") as response:
            for message in (await response.json())["messages"]:
                if message["role"] == "assistant":
                    return str(message["status"])


@pytest.mark.parametrize(("assistant", "ends"), [("thrifty", True), ("default", False)])
async def test_what_becomes_of_a_reply_whose_client_went_away_the_assistant_says(
    server: Server, assistant: str, ends: bool
) -> None:
    async with calling(server) as http:
        async with http.post("/api/conversations", json={"assistant": assistant}) as response:
            conversation = (await response.json())["id"]
        text = " ".join(["word"] * 500)
        asking = asyncio.create_task(
            http.post(f"/api/conversations/{conversation}/messages/chat", json={"text": text})
        )
        assert await running(http, conversation) == "streaming"
        asking.cancel()
        if ends:
            while await running(http, conversation) != "stopped":
                await asyncio.sleep(0.01)
        else:
            for _ in range(20):
                assert await running(http, conversation) == "streaming"


async def test_a_request_that_waits_when_the_server_stops_is_asked_to_retry(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "DRAIN_SECONDS", 0.05)
    async with calling(server) as http:
        async with http.post("/api/conversations") as response:
            conversation = (await response.json())["id"]
        asking = asyncio.create_task(
            http.post(f"/api/conversations/{conversation}/messages/chat", json={"text": "one two " * 100})
        )
        assert await running(http, conversation) == "streaming"
        server.stop()
        async with await asking as response:
            assert response.status == 503
            assert response.headers["retry-after"]
            assert (await response.json())["error"]["code"] == "busy"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
