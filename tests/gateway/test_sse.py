"""What becomes of open event streams and sockets when the server stops, or a token runs out."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.dialects.serving import AUTH, token

from legato.gateway import server as server_module
from legato.gateway.server import Server
from legato.protocol.messages import PROTOCOL

from .server import calling, settings_for
from .test_fleet import first_agent

SLOW = {
    "engine": "demo",
    "model": "demo:echo",
    "options": {"tokens_per_second": 20},
    "on_unwatched": "cancel",
}
FAST = {**SLOW, "options": {"tokens_per_second": 0}}
TEXT = " ".join(f"word{n}" for n in range(2000))


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server leaves what still runs at once."""
    monkeypatch.setattr(server_module, "DRAIN_SECONDS", 0.05)


@pytest.fixture(autouse=True)
def no_complaints(caplog: pytest.LogCaptureFixture) -> Any:
    """Nothing of this is an error, neither ours nor uvicorn's."""
    yield
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []


@asynccontextmanager
async def stopping(folder: Path, assistant: dict[str, Any], **sections: Any) -> AsyncIterator[Server]:
    """A server that is told to stop once, by the test or behind it, and ends in good order."""
    server = Server(settings_for(folder, assistants={"default": assistant}, **sections))
    running = asyncio.create_task(server.run())
    await server.started.wait()
    try:
        yield server
    finally:
        if server._stopping is None:
            server.stop()
        assert await running == 0


async def asked(http: aiohttp.ClientSession) -> tuple[str, str]:
    """A conversation in which a reply was begun, and the reply."""
    async with http.post("/api/conversations", json={}) as response:
        conversation = (await response.json())["id"]
    async with http.post(f"/api/conversations/{conversation}/messages", json={"text": TEXT}) as response:
        return conversation, (await response.json())["reply"]


async def lines(response: aiohttp.ClientResponse) -> list[str]:
    """All to the end, which has to be an end: a connection that is cut raises."""
    return (await response.content.read()).decode().split("\n")


def text_in(lines: list[str]) -> str:
    frames = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    return "".join(event["text"] for frame in frames for event in frame["events"] if event["type"] == "text")


async def test_a_stream_of_a_reply_ends_without_an_end_and_continues_with_the_next_server(
    tmp_path: Path,
) -> None:
    async with stopping(tmp_path, SLOW) as server, calling(server) as http:
        _, reply = await asked(http)
        async with http.get(f"/api/streams/{reply}") as response:
            first = await response.content.readuntil(b'"text"')
            server.stop()
            told = (first.decode() + "\n".join(await lines(response))).split("\n")
    assert told[-2:] == ["", ""]
    assert not any('"finished"' in line or '"failed"' in line for line in told)
    last = [line for line in told if line.startswith("id: ")][-1][4:]
    epoch, _, _ = last.partition(":")
    async with stopping(tmp_path, FAST) as server, calling(server) as http:
        async with http.get(f"/api/streams/{reply}", headers={"last-event-id": last}) as response:
            again = await lines(response)
        assert json.loads(again[0][6:])["type"] == "reset"
        assert epoch not in again[2]
        assert text_in(again[2:]) == TEXT
        async with http.get(f"/api/streams/{reply}") as response:
            assert '"finished"' in (await response.text())


async def test_the_server_that_leaves_is_not_a_subscriber_who_left(tmp_path: Path) -> None:
    """The assistant stops what nobody watches; this reply has a viewer, who comes back."""
    async with stopping(tmp_path, SLOW) as server, calling(server) as http:
        conversation, reply = await asked(http)
        async with http.get(f"/api/streams/{reply}") as response:
            await response.content.readuntil(b'"text"')
            server.stop()
            await lines(response)
    async with stopping(tmp_path, FAST) as server, calling(server) as http:
        async with http.get(f"/api/streams/{reply}") as response:
            await lines(response)
        async with http.get(f"/api/conversations/{conversation}") as response:
            message = (await response.json())["messages"][-1]
            assert (message["status"], message["text"]) == ("complete", TEXT)


async def test_the_stream_of_the_fleet_ends(tmp_path: Path) -> None:
    async with (
        stopping(tmp_path, SLOW) as server,
        calling(server) as http,
        http.get("/api/fleet/stream") as response,
    ):
        await response.content.readuntil(b"\n\n")
        server.stop()
        assert await lines(response) == [""]


async def test_a_completion_may_end_while_the_server_drains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "DRAIN_SECONDS", 60.0)
    async with (
        stopping(tmp_path, SLOW) as server,
        calling(server) as http,
        first_agent(server.address) as agent,
        http.post("/api/chat/completions", json=COMPLETION) as response,
    ):
        job = await agent.jobs.get()
        server.stop()
        async with http.post("/api/chat/completions", json=COMPLETION) as late:
            assert await lines(late) == [RESTARTING, "", ""]
        await agent.write(job, ["Well ", "then."])
        assert (await lines(response))[-3:] == ["data: [DONE]", "", ""]


async def test_a_completion_that_is_cut_ends_with_an_error(tmp_path: Path) -> None:
    async with (
        stopping(tmp_path, SLOW) as server,
        calling(server) as http,
        first_agent(server.address) as agent,
        http.post("/api/chat/completions", json=COMPLETION) as response,
    ):
        job = await agent.jobs.get()
        await agent.send(type="token", jobId=job["jobId"], token="So ", done=False)
        await response.content.readuntil(b"\n\n")
        server.stop()
        assert await lines(response) == [RESTARTING, "", ""]


COMPLETION = {"messages": [{"role": "user", "content": "Hello"}], "model": "m"}
RESTARTING = 'data: {"error":"The server is about to restart. Send it again in a moment."}'


async def test_a_reader_who_does_not_read_holds_nothing_up(tmp_path: Path) -> None:
    """More is owed to them than any buffer takes, so that the end does not reach them: they are hung up on."""
    async with stopping(tmp_path, FAST) as server, calling(server) as http:
        for _ in range(4):
            _, reply = await asked(http)
        async with http.get(f"/api/streams/{reply}") as response:
            await lines(response)
        host, port = server.address.removeprefix("http://").split(":")
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((host, int(port)))
            ask = f"GET /api/streams/{reply} HTTP/1.1\r\nhost: {host}\r\n\r\n"
            assert server._uvicorn is not None
            state = server._uvicorn.server_state
            asked_for = state.total_requests
            while not any(
                getattr(each, "flow", None) and each.flow.write_paused for each in state.connections
            ):
                if asked_for == state.total_requests:
                    # No more than may wait on one connection.
                    connection.sendall(ask.encode() * 8)
                    asked_for += 8
                await asyncio.sleep(0)
            server.stop()
            await server._stopping
            while state.connections or state.tasks:
                await asyncio.sleep(0.01)


async def test_a_stream_does_not_outlive_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "EXPIRY_SECONDS", 0.05)
    async with (
        stopping(tmp_path, SLOW, **AUTH) as server,
        calling(server, token("ada")) as http,
        calling(server, token("ada", ttl=2)) as brief,
    ):
        _, reply = await asked(http)
        path = f"/api/streams/{reply}"
        async with (
            brief.get("/api/fleet/stream") as fleet,
            brief.get(path) as written,
            http.get(path) as lasting,
            asyncio.timeout(10),
        ):
            assert (fleet.status, written.status) == (200, 200)
            assert (await lines(fleet))[-1] == ""
            assert '"finished"' not in "".join(await lines(written))
            await lasting.content.readuntil(b'"text"')
            assert not lasting.content.at_eof()


async def test_a_look_at_tokens_that_fails_is_not_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "EXPIRY_SECONDS", 0)
    seen = asyncio.Event()

    def fails(now: float) -> None:
        raise RuntimeError("one of them is odd")

    looking = asyncio.create_task(server_module._expire(fails, lambda now: seen.set()))
    for _ in range(2):
        async with asyncio.timeout(5):
            await seen.wait()
        seen.clear()
    looking.cancel()
    assert "one of them is odd" in caplog.text
    caplog.clear()


@pytest.mark.parametrize(("transport", "code"), [("direct", 4102), ("asgi", 1012)])
async def test_a_socket_is_closed_with_a_request_to_reconnect(
    tmp_path: Path, transport: str, code: int
) -> None:
    async with (
        stopping(tmp_path, SLOW, server={"websocket": transport}) as server,
        calling(server) as http,
        http.ws_connect("/ws", protocols=[PROTOCOL]) as following,
    ):
        await following.receive()
        server.stop()
        while (message := await following.receive()).type != aiohttp.WSMsgType.CLOSE:
            assert message.type == aiohttp.WSMsgType.TEXT
        assert message.data == code


async def test_one_who_has_all_of_it_is_told_so_after_a_restart(tmp_path: Path) -> None:
    async with stopping(tmp_path, FAST) as server, calling(server) as http:
        _, reply = await asked(http)
        async with http.get(f"/api/streams/{reply}") as response:
            last = [line for line in await lines(response) if line.startswith("id: ")][-1].removeprefix(
                "id: "
            )
    async with stopping(tmp_path, FAST) as server, calling(server) as http:
        async with http.get(f"/api/streams/{reply}", headers={"last-event-id": last}) as response:
            assert response.status == 204
        epoch, _, offset = last.rpartition(":")
        async with http.get(f"/api/streams/{reply}?position={epoch}:{int(offset) - 1}") as response:
            assert '"type":"reset"' in await response.text()
