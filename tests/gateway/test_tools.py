"""A whole server whose assistants have tools: from the settings to what a client of the native protocol sees."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.server import serving, settings_for
from tests.services import MongoServer, mongo_server
from websockets.asyncio.client import ClientConnection, connect

from legato.agent.agent import Agent
from legato.agent.engine_pool import EnginePool, EngineSource
from legato.engines.demo.engine import DemoEngine
from legato.errors import SettingsError
from legato.testing.gguf import scripted_model

pymongo = pytest.importorskip("pymongo")

ECHO = {"engine": "demo", "model": "demo:echo", "tools": ("mongodb",)}


@pytest.fixture(scope="module")
def mongodb() -> Iterator[MongoServer]:
    with mongo_server() as server:
        with pymongo.MongoClient(server.uri) as client:
            client["pms"]["bookings"].insert_one({"_id": 1, "guest": "Grace"})
        yield server


def of(mongodb: MongoServer, **more: Any) -> dict[str, Any]:
    return {"mongodb": {"uri": mongodb.uri, "database": "pms", "collections": ("bookings",), **more}}


@asynccontextmanager
async def talking(address: str) -> AsyncIterator[ClientConnection]:
    async with connect(address.replace("http", "ws") + "/ws", subprotocols=["legato.v1"]) as socket:  # type: ignore[list-item]
        yield socket


async def told(socket: ClientConnection) -> AsyncIterator[dict[str, Any]]:
    """Every event of every stream, and every other message."""
    while True:
        message = json.loads(await socket.recv())
        if message["type"] == "delta":
            for event in message["events"]:
                yield event
        else:
            yield message


async def first(socket: ClientConnection, kind: str) -> dict[str, Any]:
    async for each in told(socket):
        if each["type"] == kind:
            return each
    raise AssertionError


async def say(socket: ClientConnection, text: str) -> None:
    await socket.send(json.dumps({"type": "send", "client_message_id": text, "text": text}))


@pytest.mark.mongodb
async def test_a_tool_runs_in_sight_and_its_words_become_the_answer(
    tmp_path: Path, mongodb: MongoServer
) -> None:
    settings = settings_for(tmp_path, assistants={"default": ECHO}, tools=of(mongodb))
    async with serving(settings) as server, talking(server.address) as socket:
        await say(socket, '!tool find_documents {"collection": "bookings"}')
        started = await first(socket, "tool_started")
        assert (started["name"], started["arguments"]) == ("find_documents", '{"collection": "bookings"}')
        finished = await first(socket, "tool_finished")
        assert json.loads(finished["output"])["documents"] == [{"_id": 1, "guest": "Grace"}]
        message = (await first(socket, "message"))["message"]
        assert [part["type"] for part in message["parts"]] == ["tool_call", "tool_result"]
        assert message["places"] == [0, 0]
        assert message["text"] == finished["output"]


@pytest.mark.mongodb
@pytest.mark.parametrize("allow", [True, False])
async def test_a_tool_that_asks_waits_for_the_persons_word(
    tmp_path: Path, mongodb: MongoServer, allow: bool
) -> None:
    settings = settings_for(tmp_path, assistants={"default": ECHO}, tools=of(mongodb, approval=("*",)))
    async with serving(settings) as server, talking(server.address) as socket:
        await say(socket, "!tool count_documents")
        ack = await first(socket, "ack")
        asked = await first(socket, "tool_asked")
        word = {"type": "approve", "id": "1", "conversation": ack["conversation"], "message": ack["reply"]}
        await socket.send(json.dumps({**word, "call": "nothing", "allow": True}))
        assert (await first(socket, "error"))["code"] == "not_found"
        await socket.send(json.dumps({**word, "call": asked["call"], "allow": allow}))
        approved = finished = None
        async for each in told(socket):
            approved = each if each["type"] == "approved" else approved
            finished = each if each["type"] == "tool_finished" else finished
            if approved and finished:
                break
        assert approved is not None
        assert finished is not None
        assert (approved["re"], approved["call"]) == ("1", asked["call"])
        assert ("refused" in finished["output"]) is not allow


async def test_a_tool_that_cannot_be_stops_the_start(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, assistants={"default": ECHO}, tools={"mongodb": {"database": "pms"}})
    with pytest.raises(SettingsError, match=r"\[tools.mongodb\] needs `collections`"):
        async with serving(settings):
            raise AssertionError


@pytest.mark.mongodb
async def test_a_model_on_another_machine_uses_the_tools_of_the_server(
    tmp_path: Path, mongodb: MongoServer
) -> None:
    assistant = {**ECHO, "engine": "fleet"}
    settings = settings_for(tmp_path, assistants={"default": assistant}, tools=of(mongodb))
    async with serving(settings) as server, talking(server.address) as socket:
        url = server.address.replace("http", "ws") + "/ws/agents"
        agent = Agent(url, EnginePool([EngineSource(DemoEngine())]))
        running = asyncio.create_task(agent.run())
        await say(socket, "!tool count_documents")
        assert json.loads((await first(socket, "tool_finished"))["output"]) == {"count": 1}
        message = (await first(socket, "message"))["message"]
        assert (message["status"], message["text"]) == ("complete", '{"count": 1}')
        agent.stop()
        await running


@pytest.mark.llama
@pytest.mark.mongodb
async def test_a_real_model_asks_for_a_tool(tmp_path: Path, mongodb: MongoServer) -> None:
    """A scripted model says the same each time, so its second step, without tools, is its last."""
    call = '<tool_call>\n{"name": "count_documents", "arguments": {"collection": "bookings"}}\n</tool_call>'
    model = scripted_model(tmp_path / "calling.gguf", call)
    assistant = {
        "engine": "llama",
        "model": str(model),
        "tools": ("mongodb",),
        "tool_steps": 1,
        "options": {"temperature": 0},
    }
    settings = settings_for(
        tmp_path,
        assistants={"default": assistant},
        tools=of(mongodb),
        engines={"llama": {"threads": 1, "slots": 1}},
    )
    async with serving(settings) as server, talking(server.address) as socket:
        await say(socket, "How many bookings?")
        started = await first(socket, "tool_started")
        assert json.loads(started["arguments"]) == {"collection": "bookings"}
        assert json.loads((await first(socket, "tool_finished"))["output"]) == {"count": 1}
        message = (await first(socket, "message"))["message"]
        assert [part["type"] for part in message["parts"]][:2] == ["tool_call", "tool_result"]
