"""Well-behaved and hostile users on one server: nobody well-behaved is refused, and afterwards nothing of it is left.

The long form runs for `LEGATO_SOAK_SECONDS` (an hour), with `make soak`.
"""

import asyncio
import gc
import itertools
import os
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from io import BytesIO
from pathlib import Path
from time import monotonic

import aiohttp
import pytest
from msgspec import Struct
from tests.dialects.serving import AUTH, token
from tests.gateway.server import calling, serving, settings_for

from legato.gateway.server import Server

FAST = {"engine": "demo", "model": "demo:echo", "options": {"tokens_per_second": 0}}
LOST = (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError)


class Crowd(Struct):
    """How many users of each kind, and how long each phase lasts in seconds. `timed`: how long the good ones waited is compared."""

    good: int
    hostile: int
    quiet: float
    loud: float
    timed: bool = False


SOAK = float(os.environ.get("LEGATO_SOAK_SECONDS", "3600"))
CROWDS = [
    pytest.param(Crowd(6, 9, 0.5, 2.5), id="short"),
    pytest.param(
        Crowd(200, 20, SOAK / 10, SOAK, timed=True),
        id="long",
        marks=[pytest.mark.soak, pytest.mark.timeout(2 * SOAK + 600)],
    ),
]


async def talk(
    server: Server, name: str, waits: list[float], until: Callable[[], bool], pause: float
) -> None:
    """Send a message, wait for the whole answer, and again. Nothing may be refused."""
    async with (
        calling(server, token(name, ttl=20_000)) as http,
        http.ws_connect("/ws", protocols=["legato.v1"]) as socket,
    ):
        conversation = None
        for number in itertools.count():
            if until():
                return
            began, text = monotonic(), f"{name} asks {number}"
            await socket.send_json(
                {"type": "send", "client_message_id": str(number), "text": text, "conversation": conversation}
            )
            reply: dict[str, str] = {}
            while reply.get("role") != "assistant" or reply["status"] == "streaming":
                frame = await socket.receive_json(timeout=120)
                assert frame["type"] != "error", frame
                if frame["type"] == "ack":
                    conversation = frame["conversation"]
                elif frame["type"] == "message":
                    reply = frame["message"]
            assert reply["text"] == text
            waits.append(monotonic() - began)
            await asyncio.sleep(pause)


async def raw(server: Server, data: bytes, seconds: float = 0.2) -> None:
    """Send bytes on a connection of its own, and read nothing for a while."""
    host, port = server.address.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    await asyncio.sleep(seconds)
    writer.transport.abort()


async def pipelines(server: Server, http: aiohttp.ClientSession, name: str) -> None:
    await raw(server, b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n" * 5000)


async def drips(server: Server, http: aiohttp.ClientSession, name: str) -> None:
    await raw(
        server, b"POST /api/conversations HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4000000\r\n\r\n{"
    )


async def opens_sockets(server: Server, http: aiohttp.ClientSession, name: str) -> None:
    async with AsyncExitStack() as stack:

        async def open_one() -> None:
            socket = await http.ws_connect("/ws", protocols=["legato.v1"])
            stack.push_async_callback(socket.close)
            await socket.receive()

        await asyncio.gather(*[open_one() for _ in range(230)])


async def asks_for_replies(server: Server, http: aiohttp.ClientSession, name: str) -> None:
    async def ask() -> None:
        async with http.post("/api/conversations", json={"assistant": "slow"}) as response:
            conversation = (await response.json()).get("id")
        async with http.post(
            f"/api/conversations/{conversation}/messages", json={"text": "x " * 50}
        ) as response:
            await response.read()

    await asyncio.gather(*[ask() for _ in range(200)])


async def searches(server: Server, http: aiohttp.ClientSession, name: str) -> None:
    async def search(query: str) -> None:
        async with http.get("/api/conversations", params={"q": query}) as response:
            await response.read()

    await asyncio.gather(*[search(f"a{n}") for n in range(40)])


async def sends_nonsense(server: Server, http: aiohttp.ClientSession, name: str) -> None:
    async with http.ws_connect("/ws", protocols=["legato.v1"]) as socket:
        for frame in ("[" * 60_000, "{", '{"type":"follow"}', '{"type":"send"}', "\u0000" * 1000) * 100:
            await socket.send_str(frame)


async def uploads_too_much(server: Server, http: aiohttp.ClientSession, name: str) -> None:
    async def upload() -> None:
        async with http.post("/api/attachments", data=BytesIO(b"\x89PNG" + bytes(3_000_000))) as response:
            await response.read()

    await asyncio.gather(*[upload() for _ in range(12)])


async def invites(server: Server, http: aiohttp.ClientSession, name: str) -> None:
    async with http.post("/api/conversations", json={}) as response:
        conversation = (await response.json()).get("id")

    async def invite() -> None:
        path = f"/api/conversations/{conversation}/invitations"
        async with http.post(path, json={"standing": "member"}) as response:
            link = (await response.json()).get("link", "")
        async with http.post(f"/api/invitations/{link.rpartition('/')[2] or 'none'}") as response:
            await response.read()

    await asyncio.gather(*[invite() for _ in range(120)])


async def reads_nothing(server: Server, http: aiohttp.ClientSession, name: str) -> None:
    authorization = f"authorization: Bearer {token(name, ttl=20_000)}".encode()
    request = (
        b"GET /api/conversations?limit=200 HTTP/1.1\r\nhost: localhost\r\n" + authorization + b"\r\n\r\n"
    )
    await asyncio.gather(*[raw(server, request * 10, 0.5) for _ in range(10)])


Deed = Callable[[Server, aiohttp.ClientSession, str], Awaitable[None]]
DEEDS: list[Deed] = [
    pipelines,
    drips,
    opens_sockets,
    asks_for_replies,
    searches,
    sends_nonsense,
    uploads_too_much,
    invites,
    reads_nothing,
]


async def attack(server: Server, deed: Deed, name: str, until: Callable[[], bool]) -> int:
    """Do it again and again. The server may refuse, and hang up."""
    times = 0
    while not until():
        headers = {"authorization": f"Bearer {token(name, ttl=20_000)}"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(server.address, headers=headers, connector=connector) as http:
            with suppress(*LOST):
                await deed(server, http, name)
        times += 1
    return times


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident() -> int:
    """The memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def settle(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.05)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    assistants = {"default": FAST, "slow": {**FAST, "options": {"tokens_per_second": 40}}}
    async with serving(settings_for(tmp_path, assistants=assistants, **AUTH)) as server:
        yield server


@pytest.mark.parametrize("crowd", CROWDS)
async def test_nobody_well_behaved_notices_the_others(server: Server, crowd: Crowd) -> None:
    quiet: list[float] = []
    loud: list[float] = []
    pause = 0.05 if not crowd.timed else 2.0

    async def good(waits: list[float], seconds: float) -> None:
        end = monotonic() + seconds
        await asyncio.gather(
            *[talk(server, f"good{n}", waits, lambda: monotonic() > end, pause) for n in range(crowd.good)]
        )

    await good(quiet, crowd.quiet)
    # What is opened once and kept, such as connections to the database, belongs to the baseline.
    async with calling(server, token("good0")) as http:
        await searches(server, http, "good0")
        await uploads_too_much(server, http, "good0")
    context = server._context
    assert context is not None
    await settle(lambda: context.service.replies.running == 0)
    gc.collect()
    before, tasks, memory = descriptors(), len(asyncio.all_tasks()), resident()

    end = monotonic() + crowd.loud
    attacks = [
        asyncio.create_task(attack(server, DEEDS[n % len(DEEDS)], f"hostile{n}", lambda: monotonic() > end))
        for n in range(crowd.hostile)
    ]
    await good(loud, crowd.loud)
    times = await asyncio.gather(*attacks)
    assert all(times)
    assert len(loud) >= crowd.good

    await settle(lambda: context.service.replies.running == 0)
    await settle(lambda: descriptors() <= before + 4 and len(asyncio.all_tasks()) <= tasks + 4)
    refused = context.limits.refusals.total
    assert refused["sockets"] > 0
    if crowd.timed:
        gc.collect()
        assert resident() - memory < 200 * 1024 * 1024
        at = 99 if len(quiet) > 200 else 50
        usual, now = (statistics.quantiles(each, n=100)[at - 1] for each in (quiet, loud))
        assert now <= 3 * usual, (usual, now)
