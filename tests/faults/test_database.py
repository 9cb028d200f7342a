"""The database fails while people chat: nothing is acknowledged that is not stored, and all recovers by itself."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.gateway.server import calling
from tests.unbroken.clients import send, watch_socket, watch_sse
from tests.unbroken.process import ServerProcess

from legato.gateway import wiring
from legato.gateway.server import Server
from legato.storage.sql import SqlStorage
from legato.testing.engine import ScriptedEngine

from .conftest import connected


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[SqlStorage]:
    """The databases that servers open; they wait for a lock for a tenth of a second only."""
    opened: list[SqlStorage] = []

    def open_storage(url: str, *, durable: bool) -> SqlStorage:
        opened.append(SqlStorage(url, durable=durable, lock_timeout=0.1))
        return opened[-1]

    monkeypatch.setattr(wiring, "open_storage", open_storage)
    return opened


@pytest.fixture
async def server(serve: Callable[..., Any], opened: list[SqlStorage]) -> AsyncIterator[Server]:
    async with serve() as server:
        yield server


async def test_a_locked_database_takes_no_message_and_loses_no_reply(
    server: Server, engine: ScriptedEngine, tmp_path: Path
) -> None:
    async with connected(server) as client, calling(server) as http:
        first = await client.ask("send", client_message_id="first", text="Before")
        run = await engine.asked()
        run.say("All ", "of ")
        with closing(sqlite3.connect(tmp_path / "legato.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            refused = await client.ask("send", client_message_id="second", text="Meanwhile")
            assert (refused["type"], refused["code"]) == ("error", "storage")
            assert "try again" in refused["message"]
            async with http.get("/ready") as response:
                assert response.status == 503
            async with http.get("/api/conversations") as response:
                assert len((await response.json())["conversations"]) == 1
            run.say("it.")
            run.finish()
            assert (await client.next("delta"))["events"]
            other.execute("ROLLBACK")
        assert (await client.text(first["reply"]))[1]["type"] == "finished"
        async with http.get("/ready") as response:
            assert response.status == 200
        taken = await client.ask("send", client_message_id="second", text="Meanwhile")
        assert (taken["type"], taken.get("duplicate", False)) == ("ack", False)
        (await engine.asked()).finish()
        async with http.get(f"/api/conversations/{first['conversation']}") as response:
            assert [each["text"] for each in (await response.json())["messages"]] == ["Before", "All of it."]


async def test_a_full_disk_takes_no_message_and_recovers_by_itself(
    server: Server, engine: ScriptedEngine, opened: list[SqlStorage]
) -> None:
    async with connected(server) as client, calling(server) as http:
        first = await client.ask("send", client_message_id="first", text="Before")
        run = await engine.asked()
        (storage,) = opened

        async def pages(most: int) -> None:
            await storage.database.write(
                lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {most}").close()
            )

        await pages(1)
        refused = await client.ask("send", client_message_id="second", text="x" * 60_000)
        assert (refused["type"], refused["code"]) == ("error", "storage")
        assert "full" in refused["message"]
        body = {"text": "x" * 60_000}
        async with http.post(f"/api/conversations/{first['conversation']}/messages", json=body) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (507, "storage")
        words = [f"word {n} of a long answer, " for n in range(4000)]
        run.say(*words)
        run.finish()
        async with http.get("/ready") as response:
            assert (response.status, (await response.json())["replies"]) == (503, 1)
        await pages(1_000_000)
        said, end = await client.text(first["reply"])
        assert (said, end["type"]) == ("".join(words), "finished")
        taken = await client.ask("send", client_message_id="second", text="x" * 60_000)
        assert taken["type"] == "ack"
        (await engine.asked()).finish()
        async with http.get(f"/api/conversations/{first['conversation']}") as response:
            assert (await response.json())["messages"][1]["text"] == "".join(words)


async def test_a_database_that_was_moved_away_is_said_and_taken_again(
    server: Server, engine: ScriptedEngine, tmp_path: Path
) -> None:
    async with connected(server) as client:
        (tmp_path / "legato.db").rename(tmp_path / "elsewhere")
        refused = await client.ask("send", client_message_id="k", text="Hello")
        assert (refused["code"], "moved or deleted" in refused["message"]) == ("storage", True)
        (tmp_path / "elsewhere").rename(tmp_path / "legato.db")
        assert (await client.ask("send", client_message_id="k", text="Hello"))["type"] == "ack"
        (await engine.asked()).finish()


CONFIG = """
[assistants.default]
engine = "demo"
model = "demo:echo"
options = { tokens_per_second = 300 }
"""


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
async def test_killed_in_its_first_transactions_the_next_start_is_well(tmp_path: Path, kills: int) -> None:
    """`kill -9` while the schema is made."""
    random = Random(5)
    for kill in range(kills):
        folder = tmp_path / str(kill)
        server = ServerProcess(folder, config=CONFIG)
        starting = asyncio.create_task(server.start())
        while not list(folder.glob("legato.db*")):
            await asyncio.sleep(0.001)
        await asyncio.wait([starting], timeout=random.uniform(0, 0.25))
        await server.kill()
        await asyncio.gather(starting, return_exceptions=True)
        again = ServerProcess(folder, config=CONFIG)
        await again.start()
        ack = await send(again.socket, "Hello there", "k")
        assert (await watch_socket(again.socket, ack)).text == "Hello there"
        assert await again.stop() == 0
        errors = (folder / "stderr").read_text()
        assert "Traceback" not in errors, errors


@pytest.mark.parametrize(
    "streams", [60, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]
)
async def test_told_to_end_under_many_streams_it_ends_well_and_the_next_start_goes_on(
    tmp_path: Path, streams: int
) -> None:
    """SIGTERM: exit status 0, and each reply, which takes a minute, is told to its last word by the server that comes after."""
    text = " ".join(f"word{n}" for n in range(4000))
    server = ServerProcess(tmp_path, config=CONFIG.replace("300", "60"))
    await server.start()
    acks = [await send(server.socket, text, f"k{n}") for n in range(streams)]
    watching = [
        asyncio.create_task(watch_sse(server.address, ack) if n % 2 else watch_socket(server.socket, ack))
        for n, ack in enumerate(acks)
    ]
    assert await server.stop() == 0
    assert "Traceback" not in (tmp_path / "stderr").read_text()
    assert not any(each.done() for each in watching)
    (tmp_path / "legato.toml").write_text(CONFIG.replace("300", "0"))
    await server.start()
    got = await asyncio.gather(*watching)
    assert [each.text == text for each in got] == [True] * streams
    assert {each.end["type"] for each in got if each.end} == {"finished"}
    assert await server.stop() == 0
    assert "Traceback" not in (tmp_path / "stderr").read_text()


async def test_an_engine_that_is_down_at_the_next_start_ends_what_was_unfinished(
    serve: Callable[..., Any], engine: ScriptedEngine
) -> None:
    async with serve() as server, connected(server) as client:
        acks = [await client.ask("send", client_message_id=str(n), text="Hello") for n in range(3)]
        for n in range(2):
            (await engine.asked()).say(f"So far {n}")
    engine.down = True
    async with serve() as server, connected(server) as client:
        for n, ack in enumerate(acks):
            await client.say("follow", conversation=ack["conversation"])
            frame = await client.next("following")
            message = frame["messages"][-1]
            while message["id"] != ack["reply"] or message["status"] == "streaming":
                message = (await client.next("message"))["message"]
            assert message["status"] == "interrupted"
            assert "does not answer" in message["detail"]
            assert message["text"] == (f"So far {n}" if n < 2 else "")
