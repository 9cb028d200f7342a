"""The fleet's promise, from outside: whatever happens to agents and to either leg, every viewer ends with the whole text,
byte for byte, and nothing of an agent that breaks the rules is in it.

The short forms run with every test run, the long ones with `make soak`.
"""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
import websockets

from .agents import AgentProcess, Line, RawAgent, echoing, fleet_when, present, raw_agent
from .clients import Cuts, Text, send, watch_socket
from .process import ServerProcess

pytestmark = pytest.mark.timeout(120)

LONG = [pytest.mark.soak, pytest.mark.timeout(7200)]

LINES = 150

TEXT = " ".join(f"wörd-{number * 7919 % 10007} 🌍\n"[: 12 + number % 5] for number in range(LINES)).strip()

TOKENS = len(TEXT.split())

POISON = "poison "


class Viewer(Text):
    """What a viewer saw, all of it and when; `writer` is the agent that he was told of last, `losses` how often one was lost."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = ""
        self.writer = ""
        self.losses = 0
        self.longest = 0.0
        self._at: float | None = None
        self._news = asyncio.Event()

    def take(self, frame: dict[str, Any]) -> None:
        before = len(self.text)
        super().take(frame)
        for event in frame.get("events", ()):
            self.seen += event.get("text", "")
            if event["type"] == "state":
                self.writer = event.get("agent") or self.writer
                self.losses += event["phase"] == "reading" and " was lost" in event.get("detail", "")
        if len(self.text) > before:
            now = time.monotonic()
            if self._at is not None:
                self.longest = max(self.longest, now - self._at)
            self._at = now
        self._news.set()

    async def has(self, length: int) -> None:
        """Return once there are so many characters, or the reply has ended."""
        await self.until(lambda: len(self.text) >= length)

    async def another(self, writer: str) -> None:
        """Return once somebody else writes, or the reply has ended."""
        await self.until(lambda: self.writer != writer)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once this holds, or the reply has ended."""
        while not condition() and self.end is None:
            self._news.clear()
            await self._news.wait()


class Reply:
    """A message that was sent, and a viewer of the reply to it."""

    def __init__(self, server: ServerProcess, ack: dict[str, Any], cuts: Cuts | None) -> None:
        self.ack = ack
        self.viewer = Viewer()
        self._address = server.address
        self.watching = asyncio.create_task(watch_socket(server.socket, ack, cuts, self.viewer))

    async def whole(self, text: str = TEXT) -> None:
        """It comes to its end, the viewer has the text, and the message the same, with who wrote which span of it."""
        await self.watching
        assert self.viewer.end is not None
        assert self.viewer.end["type"] == "finished", self.viewer.end
        assert self.viewer.text == text
        at = 0
        for span in await self.spans(text):
            assert span["agent"]
            assert (at, span["model"]) == (span["start"], "demo:echo")
            at = span["end"]
        assert at == len(text)

    async def spans(self, text: str = TEXT) -> list[dict[str, Any]]:
        """Who wrote which part of the stored message."""
        path = f"/api/conversations/{self.ack['conversation']}"
        async with aiohttp.ClientSession(self._address) as http, http.get(path) as response:
            messages = (await response.json())["messages"]
        (message,) = [each for each in messages if each["id"] == self.ack["reply"]]
        assert message["text"] == text
        spans: list[dict[str, Any]] = message["spans"]
        return spans


async def ask(server: ServerProcess, key: str, text: str = TEXT, cuts: Cuts | None = None) -> Reply:
    return Reply(server, await send(server.socket, text, key), cuts)


@asynccontextmanager
async def serving(
    folder: Path, pace: float = 0, *, fleet: str = "", more: str = ""
) -> AsyncIterator[ServerProcess]:
    """A server that has nothing but its fleet. `pace` is in tokens per second."""
    config = f"""
    [fleet]
    {fleet}
    [assistants.default]
    engine = "fleet"
    model = "demo:echo"
    options = {{ tokens_per_second = {pace} {more} }}
    """
    server = ServerProcess(folder / "server", config=config)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


@asynccontextmanager
async def working(*agents: AgentProcess) -> AsyncIterator[dict[str, AgentProcess]]:
    try:
        await asyncio.gather(*(agent.start() for agent in agents))
        yield {agent.name: agent for agent in agents}
    finally:
        for agent in agents:
            await agent.kill()


@pytest.mark.parametrize("kills", [4, pytest.param(1000, marks=LONG)])
async def test_an_agent_killed_at_any_token_costs_no_byte(tmp_path: Path, kills: int) -> None:
    """`kill -9` of the one that writes: whoever is idle then goes on behind what was shown."""
    random, pauses, lost = Random(3), [], 0
    async with serving(tmp_path, 500, fleet="lease_seconds = 5") as server:
        both = [AgentProcess(tmp_path / "agents", server, name) for name in ("left", "right")]
        async with working(*both) as agents:
            for turn in range(kills):
                reply = await ask(server, f"kill-{turn}")
                await reply.viewer.has(random.randint(1, len(TEXT)))
                writer = agents.get(reply.viewer.writer, both[0])
                await writer.kill()
                back = asyncio.create_task(writer.start())
                await reply.whole()
                assert reply.viewer.resets == 0
                pauses.append(reply.viewer.longest)
                lost += reply.viewer.losses
                await back
    assert lost > 0
    pauses.sort()
    print(
        f"\n{lost} of {kills} replies had to go on elsewhere; the longest pause of each: p50 {pauses[len(pauses) // 2]:.3f} s, "
        f"p99 {pauses[len(pauses) * 99 // 100]:.3f} s, longest {pauses[-1]:.3f} s"
    )


@pytest.mark.parametrize("freezes", [1, pytest.param(500, marks=LONG)])
async def test_what_a_thawed_agent_still_says_is_refused(tmp_path: Path, freezes: int) -> None:
    """An agent stands still for longer than its lease, another one goes on, and both are there when it wakes."""
    random = Random(5)
    async with serving(tmp_path, 200, fleet="lease_seconds = 1.5") as server:
        both = [AgentProcess(tmp_path / "agents", server, name) for name in ("left", "right")]
        async with working(*both) as agents:
            for turn in range(freezes):
                reply = await ask(server, f"freeze-{turn}")
                viewer = reply.viewer
                await viewer.has(random.randint(1, len(TEXT) // 3))
                frozen = viewer.writer
                agents[frozen].freeze()
                await viewer.another(frozen)
                await viewer.has(len(viewer.text) + 1)
                assert viewer.end is None
                agents[frozen].thaw()
                await reply.whole()
                await fleet_when(server, lambda fleet: all(present(name, fleet) for name in agents))
            fleet = await fleet_when(server, lambda fleet: fleet["running"] == 0)
    stale = fleet["tokens"] - freezes * TOKENS
    print(f"\nof {freezes} thawed agents {stale} tokens came too late and were refused")


@pytest.mark.parametrize("cuts", [3, pytest.param(500, marks=LONG)])
async def test_with_both_legs_cut_at_random_the_text_is_whole(tmp_path: Path, cuts: int) -> None:
    """The agent's line breaks in the middle of frames, the viewer's after a few, and both come back and go on."""
    knife, turn = Cuts(11), 0
    async with (
        serving(tmp_path, 500) as server,
        Line(server, seed=13, most=200) as line,
        working(AgentProcess(tmp_path / "agents", server, "far", port=line.port)),
    ):
        line.cutting = True
        while line.count < cuts:
            turn += 1
            reply = await ask(server, f"cut-{turn}", cuts=knife)
            await reply.whole()
            assert reply.viewer.resets == 0
    assert knife.count > 0


ENDLESS = "word " * 5000
"""Takes minutes at the pace that it is said: a reply behind it on one slot only begins where it was stopped."""


@pytest.mark.parametrize("stops", [2, pytest.param(200, marks=LONG)])
async def test_a_stop_reaches_the_agent_and_its_slot_is_free(tmp_path: Path, stops: int) -> None:
    async with (
        serving(tmp_path, 20) as server,
        working(AgentProcess(tmp_path / "agents", server, "only", "--slots", "1")),
        aiohttp.ClientSession(server.address) as http,
    ):
        for turn in range(stops):
            endless = await ask(server, f"endless-{turn}", ENDLESS)
            await endless.viewer.has(1)
            behind = await ask(server, f"behind-{turn}", "the next")
            path = f"/api/conversations/{endless.ack['conversation']}/stop"
            async with http.post(path, json={"message": endless.ack["reply"]}) as response:
                assert response.status == 200
            await behind.whole("the next")
            assert (await endless.watching).end is not None
            assert ENDLESS.startswith(endless.viewer.text)


async def test_a_reader_who_vanishes_stops_the_agent(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, 20) as server,
        working(AgentProcess(tmp_path / "agents", server, "only", "--slots", "1")),
        aiohttp.ClientSession(server.address) as http,
    ):
        body = {
            "model": "demo:echo",
            "messages": [{"role": "user", "content": ENDLESS}],
            "parameters": {"tokens_per_second": 20},
        }
        async with http.post("/api/chat/completions", json=body) as response:
            assert (await response.content.readline()).startswith(b'data: {"token":"word ')
            behind = await ask(server, "behind", "the next")
        await behind.whole("the next")


async def test_what_loses_its_agent_while_the_server_drains_goes_on_elsewhere(tmp_path: Path) -> None:
    """Also where no new job may wait: the other agent has a job of its own when the first is lost."""
    async with serving(tmp_path, 200, fleet="queue_seconds = 0\nlease_seconds = 2") as server:
        both = [AgentProcess(tmp_path / "agents", server, name) for name in ("left", "right")]
        async with working(*both) as agents:
            reply, other = await ask(server, "lost"), await ask(server, "other")
            await asyncio.gather(reply.viewer.has(20), other.viewer.has(20))
            stopping = asyncio.create_task(server.stop())
            await agents[reply.viewer.writer].kill()
            await asyncio.gather(reply.watching, other.watching)
            assert (reply.viewer.text, other.viewer.text) == (TEXT, TEXT)
            assert reply.viewer.losses == 1
            assert await stopping == 0


async def test_both_generations_serve_side_by_side(tmp_path: Path) -> None:
    async with serving(tmp_path, 500, fleet="lease_seconds = 5") as server:
        new = AgentProcess(tmp_path / "agents", server, "new", "--slots", "1")
        async with echoing(server), working(new):
            texts = [f"{number} {TEXT}" for number in range(6)]
            replies = [await ask(server, text[:1], text) for text in texts]
            for reply, text in zip(replies, texts, strict=True):
                await reply.whole(text)
            fleet = await fleet_when(server, lambda fleet: fleet["running"] == 0)
            assert {each["generation"] for each in fleet["agents"] if each["jobs"] > 0} == {1, 2}


async def test_a_job_of_one_generation_goes_on_in_the_other(tmp_path: Path) -> None:
    """From the first to the second behind the text so far; from the second to the first by saying it again, unseen."""
    async with serving(tmp_path, 500, fleet="lease_seconds = 1") as server:
        async with raw_agent(server, "demo:echo", second=False) as old:
            reply = await ask(server, "old-to-new")
            job = await old.hear("job")
            for word in TEXT.split(" ")[:20]:
                await old.say("token", jobId=job["jobId"], token=f"{word} ", done=False)
            await reply.viewer.has(20)
            new = AgentProcess(tmp_path / "agents", server, "new")
            await new.start()
        await reply.whole()
        back = await ask(server, "new-to-old")
        await back.viewer.has(20)
        async with echoing(server):
            await new.kill()
            await back.whole()
        assert back.viewer.seen == TEXT


def poison(count: int = 1) -> list[dict[str, str]]:
    return [{"type": "text", "text": POISON}] * count


async def wrong_attempt(rogue: RawAgent, job: dict[str, Any]) -> None:
    await rogue.write(job, 3, *poison(), attempt=job["attempt"] + 1)


async def skipped(rogue: RawAgent, job: dict[str, Any]) -> None:
    await rogue.write(job, 7, *poison())


async def backwards(rogue: RawAgent, job: dict[str, Any]) -> None:
    await rogue.write(job, -1, *poison())


async def behind_its_end(rogue: RawAgent, job: dict[str, Any]) -> None:
    await rogue.write(job, 3, {"type": "ended", "reason": "stop", "model": "demo:echo"}, *poison())


async def invented_job(rogue: RawAgent, job: dict[str, Any]) -> None:
    await rogue.write({**job, "jobId": "1-0123456789abcdef"}, 0, *poison())


async def no_json(rogue: RawAgent, job: dict[str, Any]) -> None:
    await rogue.socket.send(
        f'{{"type": "events", "jobId": "{job["jobId"]}", "attempt": 1, "from": 0, "ev{POISON}'
    )


async def nested(rogue: RawAgent, job: dict[str, Any]) -> None:
    await rogue.socket.send("[" * 100_000)


async def too_large(rogue: RawAgent, job: dict[str, Any]) -> None:
    await rogue.write(job, 3, *poison(200_000))


async def bytes_for_text(rogue: RawAgent, job: dict[str, Any]) -> None:
    await rogue.socket.send(b"poison")


async def no_frame(rogue: RawAgent, job: dict[str, Any]) -> None:
    rogue.socket.transport.write(b"\xff" * 64)


async def too_many_models(rogue: RawAgent, job: dict[str, Any]) -> None:
    await rogue.say("models", facts=[{"name": f"model-{number}"} for number in range(2000)])


DEEDS = [
    wrong_attempt,
    skipped,
    backwards,
    behind_its_end,
    invented_job,
    no_json,
    nested,
    too_large,
    bytes_for_text,
    no_frame,
    too_many_models,
]


KEYS = """
[fleet.keys.any]
key = "any"
[fleet.keys.narrow]
key = "narrow"
models = ["other"]
"""


async def test_of_a_rogue_agent_no_byte_stays(tmp_path: Path) -> None:
    """It writes first and breaks the rules then. It is hung up on, and who goes on behind a text that stands there already
    finds nothing of it: an honest agent says the whole text."""
    async with serving(tmp_path, fleet=KEYS) as server:
        for deed in DEEDS:
            await _suffer(server, tmp_path, deed)


async def _suffer(
    server: ServerProcess, folder: Path, deed: Callable[[RawAgent, dict[str, Any]], Awaitable[None]]
) -> None:
    async with raw_agent(server, "demo:echo", key="any") as rogue:
        reply = await ask(server, deed.__name__)
        job = await rogue.hear("job")
        await rogue.write(job, 0, *poison(3))
        await reply.viewer.has(len(POISON) * 3)
        await deed(rogue, job)
        assert await rogue.turned_out() in (1002, 1003, 1009, 4000), deed
    async with working(AgentProcess(folder / "agents", server, "honest", "--key", "any")):
        await reply.whole()


async def test_of_a_rogue_nothing_stays_behind_what_an_honest_agent_wrote(tmp_path: Path) -> None:
    async with serving(tmp_path, 500, fleet="lease_seconds = 10\n" + KEYS) as server:
        first = AgentProcess(tmp_path / "agents", server, "first", "--key", "any")
        async with working(first):
            reply = await ask(server, "between")
            await reply.viewer.has(20)
            await first.kill()
        async with raw_agent(server, "demo:echo", key="any") as rogue:
            job = await rogue.hear("job")
            assert TEXT.startswith(job["prefix"])
            assert len(job["prefix"]) >= 20
            await rogue.write(job, 0, *poison(3))
            await rogue.write(job, 50, *poison())
            assert await rogue.turned_out() == 4000
        async with working(AgentProcess(tmp_path / "agents", server, "last", "--key", "any")):
            await reply.whole()
        spans = await reply.spans()
        assert [span["agent"] for span in spans] == ["first", "last"]


async def test_an_old_browser_that_cannot_unread_a_rogue_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, aiohttp.ClientSession(server.address) as http:
        async with raw_agent(server, "demo:echo") as rogue:
            body = {"model": "demo:echo", "messages": [{"role": "user", "content": TEXT}]}
            async with http.post("/api/chat/completions", json=body) as response:
                job = await rogue.hear("job")
                await rogue.write(job, 0, *poison())
                await response.content.readuntil(b"\n\n")
                await rogue.write(job, 7, *poison())
                rest = await response.text()
        assert rest.startswith('data: {"error":')
        assert "broke the rules" in rest
        assert POISON not in rest


async def test_nobody_writes_into_the_job_of_another_agent(tmp_path: Path) -> None:
    words = TEXT.split(" ")
    async with serving(tmp_path) as server, raw_agent(server, "demo:echo", second=False) as honest:
        reply = await ask(server, "foreign")
        job = await honest.hear("job")
        for word in words[:10]:
            await honest.say("token", jobId=job["jobId"], token=f"{word} ", done=False)
        async with raw_agent(server, "demo:echo") as rogue:
            await rogue.hear("registered")
            await rogue.write(job, 10, *poison(), attempt=1)
            assert await rogue.turned_out() == 4000
        async with raw_agent(server, "demo:echo", second=False) as rogue:
            await rogue.hear("registered")
            await rogue.say("token", jobId=job["jobId"], token=POISON, done=False)
            await rogue.say("job_complete", jobId=job["jobId"])
            await rogue.say("heartbeat")
        for word in words[10:-1]:
            await honest.say("token", jobId=job["jobId"], token=f"{word} ", done=False)
        await honest.say("token", jobId=job["jobId"], token=words[-1], done=False)
        await honest.say("job_complete", jobId=job["jobId"])
        await reply.whole()
    assert reply.viewer.seen == TEXT


async def test_an_agent_whose_key_is_not_good_for_a_model_never_has_it(tmp_path: Path) -> None:
    async with serving(tmp_path, fleet=KEYS) as server:
        async with raw_agent(server, "demo:echo", key="narrow") as rogue:
            assert await rogue.turned_out() == 4003
        async with raw_agent(server, "other", "demo:echo", key="narrow") as rogue:
            await rogue.hear("registered")
            await rogue.say("models", facts=[{"name": "demo:echo"}])
            fleet = await fleet_when(server, lambda fleet: fleet["agents"][0]["models"] == [])
            assert fleet["running"] == 0
            async with echoing(server, key="any"):
                await (await ask(server, "narrow")).whole()


async def test_of_a_flood_no_byte_stays(tmp_path: Path) -> None:
    """Ten times the tokens: hung up on, and what was shown is taken back before another goes on behind it."""
    async with serving(tmp_path, more=f", num_predict = {TOKENS * 2}") as server:
        async with raw_agent(server, "demo:echo") as rogue:
            reply = await ask(server, "flood")
            job = await rogue.hear("job")
            with suppress(websockets.ConnectionClosedError):
                for begin in range(0, TOKENS * 20, 100):
                    await rogue.write(job, begin, *poison(100))
            assert await rogue.turned_out() == 4000
        await reply.viewer.until(lambda: not reply.viewer.text)
        async with working(AgentProcess(tmp_path / "agents", server, "honest")):
            await reply.whole()
    assert reply.viewer.seen.count(POISON) <= TOKENS * 2 * 5


async def test_no_agents_key_is_in_what_the_server_writes(tmp_path: Path) -> None:
    """At either door, by a handshake that is taken, refused, broken or none."""
    right, wrong = "right-5d41402abc", "wrong-7d793037a0"
    with socket.create_server(("127.0.0.1", 0)) as free:
        second = free.getsockname()[1]
    server = ServerProcess(
        tmp_path / "server",
        "--engine",
        "fleet",
        "--agents-port",
        str(second),
        config=f'[fleet.keys.one]\nkey = "{right}"',
    )
    await server.start()
    first = int(server.address.rpartition(":")[2])
    for port in (first, second):
        for key in (right, wrong):
            await _knock(port, f"/ws/agents?key={key}", key == right)
    status = await server.stop()
    assert status == 0
    written = (tmp_path / "server" / "stderr").read_text() + await server.rest()
    assert right not in written
    assert wrong not in written


async def _knock(port: int, target: str, welcome: bool) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{port}{target}") as agent:
        assert json.loads(await agent.recv())["type"] == ("welcome" if welcome else "error")
        with suppress(websockets.ConnectionClosedError):
            await agent.send("garbage")
    with suppress(websockets.InvalidHandshake):
        async with websockets.connect(f"ws://127.0.0.1:{port}/nowhere{target}"):
            pass
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    for head in (
        f"GET {target} HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n",
        f"GET {target} HTTP/1.1\r\nHost: h\r\n{upgrade}Sec-WebSocket-Key: short\r\n\r\n",
        f"POST {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        f"GET {target} HTTP/9.9\r\n\r\n",
        f"GET {target}\r\n\r\n",
        f"GET {target} HTTP/1.1\r\nHost: h\r\nX-Long: {'x' * 200_000}\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode())
        writer.write_eof()
        with suppress(OSError):
            await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
