"""`/metrics`, as Prometheus reads it."""

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from legato.gateway.auth import issue_token
from legato.protocol.messages import PROTOCOL

from .server import calling, serving, settings_for
from .test_fleet import first_agent

Numbers = dict[tuple[str, ...], float]

ASSISTANT = {"engine": "demo", "model": "demo:echo", "options": {"tokens_per_second": 20}}
SECRET = "a secret that is long enough for everyone"


async def numbers(http: aiohttp.ClientSession) -> Numbers:
    """Every sample by its name and the values of its labels."""
    async with http.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        text = await response.text()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def until(http: aiohttp.ClientSession, name: tuple[str, ...], value: float) -> Numbers:
    while (found := await numbers(http))[name] != value:
        await asyncio.sleep(0)
    return found


async def test_replies_are_counted_at_their_end(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, assistants={"default": ASSISTANT, "other": ASSISTANT})
    async with serving(settings) as server, calling(server) as http:
        before = await numbers(http)
        assert before["legato_replies_total", "other", "failed"] == 0
        async with http.post("/api/conversations", json={}) as response:
            conversation = f"/api/conversations/{(await response.json())['id']}"
        async with http.post(f"{conversation}/messages", json={"text": "two words"}):
            pass
        after = await until(http, ("legato_replies_total", "default", "stop"), 1)
        assert after["legato_tokens_total", "default"] == 2
        assert after["legato_messages_total",] == 1
        async with http.post(f"{conversation}/messages", json={"text": "word " * 1000}) as response:
            reply = (await response.json())["reply"]
        async with http.get(f"/api/streams/{reply}") as events, http.ws_connect("/ws", protocols=[PROTOCOL]):
            await events.content.readuntil(b'"text"')
            during = await numbers(http)
        names = ("legato_replies_running", "legato_event_streams", "legato_sockets")
        assert [during[name,] for name in names] == [1, 1, 1]
        async with http.post(f"{conversation}/stop", json={}):
            pass
        after = await numbers(http)
        assert after["legato_replies_total", "default", "stopped"] == 1
        assert after["legato_replies_running",] == 0
        assert after["legato_messages_total",] == 2


async def test_the_fleet_is_counted(tmp_path: Path) -> None:
    async with (
        serving(settings_for(tmp_path)) as server,
        calling(server) as http,
        first_agent(server.address, words=["a ", "b"]),
    ):
        body = {"messages": [{"role": "user", "content": "Hello"}], "model": "m"}
        async with http.post("/api/chat/completions", json=body) as response:
            await response.read()
        found = await until(http, ("legato_fleet_jobs_total",), 1)
        assert found["legato_fleet_tokens_total",] == 2
        assert found["legato_fleet_slots",] == 1
        assert sum(value for name, value in found.items() if name[0] == "legato_fleet_agents") == 1


@pytest.mark.parametrize(
    ("scopes", "status"), [(None, 403), ("chat", 403), ("admin", 200), ("chat admin", 200)]
)
async def test_where_auth_is_on_they_are_for_administrators(
    tmp_path: Path, scopes: str | None, status: int
) -> None:
    settings = settings_for(tmp_path, auth={"jwt_secret": SECRET})
    async with serving(settings) as server:
        async with calling(server) as http, http.get("/metrics") as response:
            assert response.status == 401
        token = issue_token(settings.auth, "prometheus", 60, time.time(), scopes=scopes)
        async with calling(server, token) as http, http.get("/metrics") as response:
            assert response.status == status
