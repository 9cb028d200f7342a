"""The fleet with real llama.cpp beside its agents: texts are whole, conversations come home, and a stop reaches the model."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from legato.testing.gguf import Shape, scripted_model, unique_words

from .agents import AgentProcess, fleet_when
from .clients import Text, send, watch_socket
from .process import ServerProcess

pytest.importorskip("xllamacpp")

pytestmark = [pytest.mark.llama, pytest.mark.timeout(120)]

TEXT = unique_words(400, seed=7)

SLOW = Shape(dim=1024, layers=8, heads=8, feed=4096, quantized=True)
"""Takes long enough for a token that a reply can be met in the middle of it."""

CONFIG = """
[assistants.default]
engine = "fleet"
model = "m"
options = { temperature = 0 }
"""


class Viewer(Text):
    """What a viewer saw, and the agent that he was told of last."""

    def __init__(self) -> None:
        super().__init__()
        self.writer = ""
        self.reading = False
        self._news = asyncio.Event()

    def take(self, frame: dict[str, Any]) -> None:
        super().take(frame)
        for event in frame.get("events", ()):
            if event["type"] == "state":
                self.writer = event.get("agent") or self.writer
                self.reading = self.reading or event.get("progress") is not None
        self._news.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Return once this holds, or the reply has ended."""
        while not condition() and self.end is None:
            self._news.clear()
            await self._news.wait()


class Fleet:
    """A server and its agents, and somebody who asks."""

    def __init__(self, server: ServerProcess, agents: dict[str, AgentProcess]) -> None:
        self.server = server
        self.agents = agents
        self._said = 0

    async def ask(
        self, text: str, conversation: str | None = None
    ) -> tuple[dict[str, Any], Viewer, asyncio.Task[Text]]:
        self._said += 1
        ack = await send(self.server.socket, text, f"m{self._said}", conversation)
        viewer = Viewer()
        return ack, viewer, asyncio.create_task(watch_socket(self.server.socket, ack, None, viewer))

    async def writers(self, conversation: str) -> set[str]:
        """The agents that wrote in a conversation, as its messages tell."""
        async with (
            aiohttp.ClientSession(self.server.address) as http,
            http.get(f"/api/conversations/{conversation}") as response,
        ):
            messages = (await response.json())["messages"]
        return {span["agent"] for message in messages for span in message.get("spans", ())}

    async def stop(self, ack: dict[str, Any]) -> None:
        async with (
            aiohttp.ClientSession(self.server.address) as http,
            http.post(f"/api/conversations/{ack['conversation']}/stop", json={}) as response,
        ):
            assert response.status == 200, await response.text()


@asynccontextmanager
async def running(folder: Path, model: Path, *names: str) -> AsyncIterator[Fleet]:
    """So many agents, each with one slot and this model loaded."""
    server = ServerProcess(folder / "server", config=CONFIG)
    await server.start()
    flags = ("--engine", "llama", "--model", str(model), "--slots", "1")
    agents = {name: AgentProcess(folder / name, server, name, *flags) for name in names}
    try:
        await asyncio.gather(*(agent.start() for agent in agents.values()))
        await fleet_when(
            server,
            lambda fleet: all(
                any(each["name"] == "m" and each["loaded"] for each in agent["models"])
                for agent in fleet["agents"]
            ),
        )
        yield Fleet(server, agents)
    finally:
        for agent in agents.values():
            await agent.kill()
        await server.kill()


async def test_a_reply_of_llama_cpp_is_byte_equal_although_its_agent_is_killed(tmp_path: Path) -> None:
    model = scripted_model(tmp_path / "m.gguf", TEXT, shape=SLOW)
    async with running(tmp_path, model, "left", "right") as fleet:
        _, viewer, watching = await fleet.ask("Say it.")
        await viewer.until(lambda: len(viewer.text) > len(TEXT) // 4)
        assert viewer.end is None
        first = viewer.writer
        await fleet.agents[first].kill()
        await watching
        assert viewer.text == TEXT
        assert viewer.end is not None
        assert viewer.end["type"] == "finished"
        assert {first, viewer.writer} == {"left", "right"}


async def test_a_conversation_comes_back_to_the_agent_that_has_read_it(tmp_path: Path) -> None:
    model = scripted_model(tmp_path / "m.gguf", "I have read this.")
    conversations: list[str | None] = [None, None]
    async with running(tmp_path, model, "left", "right") as fleet:
        for turn in range(3):
            for number in (0, 1) if turn % 2 else (1, 0):
                ack, viewer, watching = await fleet.ask(f"Turn {turn}.", conversations[number])
                conversations[number] = ack["conversation"]
                await watching
                assert viewer.text == "I have read this."
        homes = [await fleet.writers(each) for each in conversations if each is not None]
    assert {len(each) for each in homes} == {1}
    assert homes[0] != homes[1]


@pytest.mark.parametrize("phase", ["writing", "reading"])
async def test_a_stop_reaches_the_model_and_the_next_one_is_answered(tmp_path: Path, phase: str) -> None:
    """The model never ends by itself, so on one slot the next reply only begins where the first was stopped."""
    model = scripted_model(tmp_path / "m.gguf", TEXT, loop=True, shape=SLOW)
    async with running(tmp_path, model, "only") as fleet:
        long = "to be read " * 300
        stopped, viewer, watching = await fleet.ask("Begin." if phase == "writing" else long)
        await viewer.until(lambda: viewer.text if phase == "writing" else viewer.reading)
        behind, next_viewer, next_watching = await fleet.ask("And now?")
        await fleet.stop(stopped)
        await watching
        assert viewer.end is not None
        assert viewer.end == viewer.end | {"type": "finished", "reason": "stopped"}
        assert (viewer.text == "") == (phase == "reading")
        await next_viewer.until(lambda: next_viewer.text)
        assert TEXT.startswith(next_viewer.text.split()[0])
        await fleet.stop(behind)
        await next_watching
        await fleet_when(fleet.server, lambda told: told["running"] == 0)
