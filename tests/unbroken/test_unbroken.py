"""The promise itself: a real llama.cpp says a fixed text through the whole path, and whatever is cut or killed, every
viewer ends with that text, byte for byte.

The short forms run with every test run, the long ones with `make soak`.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from legato.testing.gguf import scripted_model, unique_words

from .clients import Cuts, Text, send, watch_socket, watch_sse
from .process import ServerProcess

pytestmark = [pytest.mark.llama, pytest.mark.timeout(120)]

WORDS = 400

LONG = [pytest.mark.soak, pytest.mark.timeout(1800)]

CONFIG = """
[engines.llama]
slots = 4
threads = 1

[assistants.default]
engine = "llama"
options = { temperature = 0 }
"""


@pytest.fixture(scope="module")
def text() -> str:
    return unique_words(WORDS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, text: str) -> Path:
    return scripted_model(tmp_path_factory.mktemp("model") / "scripted.gguf", text)


@pytest.fixture
async def server(tmp_path: Path, model: Path) -> AsyncIterator[ServerProcess]:
    server = ServerProcess(tmp_path / "server", "--model", str(model), config=CONFIG)
    await server.start()
    yield server
    await server.kill()


def whole(got: Text, text: str) -> None:
    """A viewer ended with the text, and was told that it is the end."""
    assert got.end is not None
    assert got.end["type"] == "finished", got.end
    assert got.text == text


async def cut_at_random(server: ServerProcess, text: str, cuts: int, seed: int, door: str) -> None:
    """Replies one after the other, each followed over a connection that is cut after a few frames."""
    knife, turn = Cuts(seed), 0
    while knife.count < cuts:
        turn += 1
        ack = await send(server.socket, f"Question {turn}", f"{door}-{seed}-{turn}")
        if door == "socket":
            got = await watch_socket(server.socket, ack, knife)
        else:
            got = await watch_sse(server.address, ack, knife)
        whole(got, text)
        assert got.resets == 0


@pytest.mark.parametrize("door", ["socket", "sse"])
@pytest.mark.parametrize("cuts", [60, pytest.param(2000, marks=LONG)])
async def test_cut_at_random_every_viewer_has_the_text(
    server: ServerProcess, text: str, cuts: int, door: str
) -> None:
    await cut_at_random(server, text, cuts, seed=7, door=door)


@pytest.mark.parametrize("viewers", [100])
async def test_a_hundred_viewers_of_one_stream_have_the_text(
    server: ServerProcess, text: str, viewers: int
) -> None:
    ack = await send(server.socket, "All together", "together")
    watching = [watch_socket(server.socket, ack, Cuts(n, most=20) if n % 2 else None) for n in range(viewers)]
    for got in await asyncio.gather(*watching):
        whole(got, text)


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=LONG)])
async def test_killed_at_any_moment_nothing_is_lost_or_doubled(
    server: ServerProcess, text: str, kills: int
) -> None:
    """`kill -9`, a new start on the same data: the reply goes on, and who followed it has the text."""
    random, turn = Random(11), 0
    while kills > 0:
        turn += 1
        ack = await send(server.socket, f"Question {turn}", f"kill-{turn}")
        by_socket = asyncio.create_task(watch_socket(server.socket, ack))
        by_sse = asyncio.create_task(watch_sse(server.address, ack))
        while kills > 0 and not by_socket.done():
            await asyncio.wait([by_socket], timeout=random.uniform(0.0, 1.0))
            await server.kill()
            await server.start()
            kills -= 1
        for got in (await by_socket, await by_sse):
            whole(got, text)
        again = await send(server.socket, f"Question {turn}", f"kill-{turn}")
        assert again["duplicate"] is True
        assert again["reply"] == ack["reply"]
