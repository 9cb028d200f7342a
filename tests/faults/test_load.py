"""Readers that do not read, engines that do not stop, clients without number: what they cost is bounded and theirs alone."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets
from tests.doubles.engines import replace_demo
from tests.gateway.server import calling
from tests.unbroken.clients import Text, send, watch_socket, watch_sse
from tests.unbroken.process import ServerProcess

from legato.engines.base import Outcome, Request
from legato.gateway.server import Server
from legato.protocol.messages import PROTOCOL
from legato.testing.engine import ScriptedEngine

from .conftest import connected

MIB = 1024 * 1024

CONFIG = """
[assistants.default]
engine = "demo"
model = "demo:echo"
history = 1
options = { tokens_per_second = 0 }
"""


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def stalled(server: ServerProcess, path: str, *frames: dict[str, Any]) -> asyncio.StreamWriter:
    """A client that asks for something and then reads nothing at all."""
    host, port = server.address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1)
    head = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
    if frames:
        head += (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n"
        )
    writer.write(f"{head}\r\n".encode())
    await reader.read(1)
    for frame in frames:
        payload = json.dumps(frame).encode()
        assert len(payload) < 126 or len(payload) < 65536
        length = (
            bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
        )
        writer.write(b"\x81" + length + bytes(4) + payload)
    await writer.drain()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    return writer


@pytest.mark.parametrize(
    "readers", [40, pytest.param(400, marks=[pytest.mark.soak, pytest.mark.timeout(600)])]
)
async def test_readers_that_stall_cost_a_mebibyte_each_and_slow_nobody(tmp_path: Path, readers: int) -> None:
    """By both doors, before a conversation that says far more than a socket may owe."""
    server = ServerProcess(tmp_path, config=CONFIG)
    await server.start()
    text = " ".join(f"word{n}" for n in range(7000))
    ack = await send(server.socket, text, "first")
    await watch_socket(server.socket, ack)
    before = resident(server.pid)
    follow = {"type": "follow", "id": "1", "conversation": ack["conversation"]}
    lazy = [await stalled(server, "/ws", follow) for _ in range(readers)]
    for turn in range(20):
        ack = await send(server.socket, text, f"k{turn}", ack["conversation"])
        lazy.append(await stalled(server, f"/api/streams/{ack['reply']}"))
        by_socket, by_sse = await asyncio.gather(
            watch_socket(server.socket, ack), watch_sse(server.address, ack)
        )
        assert by_socket.text == by_sse.text == text
    grown = resident(server.pid) - before
    assert grown < (len(lazy) + 40) * MIB
    for writer in lazy:
        writer.transport.abort()
    assert await server.stop() == 0
    assert "Traceback" not in (tmp_path / "stderr").read_text()


class Flood(ScriptedEngine):
    """Writes as fast as it can for whoever says `flood`, and yields to others as any engine that reads a socket does."""

    def __init__(self, tokens: int) -> None:
        super().__init__("demo", models=(), continues=True)
        self._tokens = tokens
        self.written = 0

    async def generate(self, request: Request, out: Any) -> Outcome:
        if request.turns[-1].parts[0].text != "flood":  # type: ignore[union-attr]
            return await super().generate(request, out)
        while self.written < self._tokens:
            for _ in range(100):
                self.written += 1
                out.text("token ")
            await asyncio.sleep(0)
        return Outcome("stop", request.model)


@pytest.fixture
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    engine = Flood(getattr(request, "param", 200_000))
    replace_demo(monkeypatch, engine)
    return engine


@pytest.mark.parametrize(
    "engine",
    [200_000, pytest.param(2_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])],
    indirect=True,
)
async def test_a_flood_beside_which_another_reply_is_told_as_it_comes(server: Server, engine: Flood) -> None:
    async with connected(server) as flooded, connected(server) as calm, calling(server) as http:
        ack = await flooded.ask("send", client_message_id="f", text="flood")
        reading = asyncio.create_task(flooded.text(ack["reply"]))
        beside = await calm.ask("send", client_message_id="c", text="Hello")
        run = await engine.asked()
        for n in range(20):
            run.say(f"{n} ")
            while f'"{n} "' not in json.dumps(await calm.next("delta")):
                pass
        if not reading.done():
            assert engine.written
        run.finish()
        assert (await calm.text(beside["reply"]))[1]["type"] == "finished"
        said, end = await reading
        assert (said == "token " * engine._tokens, end["type"]) == (True, "finished")
        async with http.get(f"/api/conversations/{ack['conversation']}") as response:
            assert (await response.json())["messages"][1]["text"] == said


async def test_a_flood_can_be_stopped(server: Server, engine: Flood) -> None:
    engine._tokens = 10**9
    async with connected(server) as client, connected(server) as other:
        ack = await client.ask("send", client_message_id="f", text="flood")
        stopped = await other.ask("stop", conversation=ack["conversation"])
        assert stopped["messages"] == [ack["reply"]]
        said, end = await client.text(ack["reply"])
        assert end["reason"] == "stopped"
        written = engine.written
        assert len(said) <= 6 * written
        assert (await client.ask("ping"))["type"] == "pong"
        assert engine.written == written


async def test_ten_mebibytes_in_one_piece_reach_their_readers(server: Server, engine: ScriptedEngine) -> None:
    async with connected(server) as client, connected(server) as other, calling(server) as http:
        ack = await client.ask("send", client_message_id="k", text="Hello")
        await other.ask("follow", conversation=ack["conversation"])
        text = "".join(f"{n:07x} " for n in range(10 * MIB // 8))
        run = await engine.asked()
        run.say(text)
        run.finish()
        for each in (client, other):
            said, end = await each.text(ack["reply"])
            assert (said == text, end["type"]) == (True, "finished")
            message = (await each.next("message"))["message"]
            while message["status"] == "streaming" or message["id"] != ack["reply"]:
                message = (await each.next("message"))["message"]
            assert message["text"] == text
            assert (await each.ask("ping"))["type"] == "pong"
        sse = Text()
        async with http.get(f"/api/streams/{ack['reply']}") as response:
            async for line in response.content.iter_chunked(MIB):
                sse.text += line.decode()
        assert (
            "".join(
                event["text"]
                for line in sse.text.splitlines()
                if line.startswith("data: ")
                for event in json.loads(line[6:])["events"]
                if event["type"] == "text"
            )
            == text
        )


@pytest.mark.parametrize("many", [200, pytest.param(1000, marks=pytest.mark.soak)])
async def test_one_socket_follows_many_conversations(
    server: Server, engine: ScriptedEngine, many: int
) -> None:
    acks = []
    for n in range(many):
        async with connected(server) as other:
            acks.append(await other.ask("send", client_message_id=f"k{n}", text=f"Hello {n}"))
    async with connected(server) as client:
        for n, ack in enumerate(acks):
            if n > 300:  # a socket may send 200 frames a second, and 400 at once
                await asyncio.sleep(1 / 150)
            following = await client.ask("follow", conversation=ack["conversation"])
            assert following["type"] == "following"
        runs = [await engine.asked() for _ in range(many)]
        for n, run in enumerate(runs):
            run.say(f"Answer {n}")
            run.finish()
        told: dict[str, Text] = {}
        earlier = iter([frame for frame in client.frames if frame["type"] == "delta"])
        while sum(text.end is not None for text in told.values()) < many:
            frame = next(earlier, None) or await client.next("delta")
            told.setdefault(frame["stream"], Text()).take(frame)
        by_conversation = {run.request.conversation: n for n, run in enumerate(runs)}
        for ack in acks:
            assert told[ack["reply"]].text == f"Answer {by_conversation[ack['conversation']]}"


async def churn(server: Server, engine: ScriptedEngine, turns: int) -> None:
    """Clients that connect, send, leave in the middle, come back by another door, and go."""
    url = server.address.replace("http", "ws", 1) + "/ws"

    async def one(n: int, http: aiohttp.ClientSession) -> None:
        async with connected(server) as client:
            ack = await client.ask("send", client_message_id=os.urandom(8).hex(), text="Hello")
            run = await engine.asked()
            run.say("So ")
            if n % 3 == 0:
                client.socket.transport.abort()
        if n % 5 == 0:
            other = await websockets.connect(url, subprotocols=[websockets.Subprotocol("other")])
            other.transport.abort()
        if n % 2 == 0:
            async with http.get(f"/api/streams/{ack['reply']}") as response:
                assert response.status == 200
                await response.content.readline()
        run.finish()
        async with http.get(f"/api/streams/{ack['reply']}") as response:
            await response.read()
        if n % 4 == 0:
            async with http.delete(f"/api/conversations/{ack['conversation']}") as response:
                assert response.status == 204

    async with calling(server) as http:
        for start in range(0, turns, 20):
            await asyncio.gather(*(one(n, http) for n in range(start, start + 20)))


def counted(server: Server) -> tuple[int, int, int, int]:
    """Tasks, open files, watched conversations and running replies."""
    service = server._context.service  # type: ignore[union-attr]
    files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    return (
        len(asyncio.all_tasks()),
        files,
        len(service.subscriptions._watchers._watchers),
        service.replies.running,
    )


async def rested(server: Server, most: tuple[int, int, int, int]) -> None:
    """Return once there is no more of anything than that; what is on its way to its end may take a moment."""
    while any(now > before for now, before in zip(counted(server), most, strict=True)):
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "turns", [200, pytest.param(4000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]
)
async def test_after_many_clients_nothing_of_them_is_left(
    server: Server, engine: ScriptedEngine, turns: int
) -> None:
    nothing = counted(server)
    await churn(server, engine, 40)
    # The database keeps the connections that it opened, a few files each.
    await rested(server, (nothing[0], nothing[1] + 20, 0, 0))
    most = counted(server)
    await churn(server, engine, turns)
    await rested(server, most)
