"""A whole server as `make run` starts it, without Ollama and without a network: the small model from PyPI answers."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from tests.gateway.server import calling, serving, settings_for
from tests.services import small_model
from websockets import Subprotocol
from websockets.asyncio.client import ClientConnection, connect

from legato.engines.llama.packaged_model import HINT
from legato.gateway.server import Server
from legato.protocol.messages import PROTOCOL

from .clients import Cuts, Text, watch_socket

pytestmark = [pytest.mark.llama, pytest.mark.asyncio(loop_scope="module")]

NOWHERE = "http://127.0.0.1:1"

GREEDY = {"temperature": 0, "repeat_penalty": 1, "max_tokens": 40}

ASSISTANTS = {
    # With this prompt the first word is not a close call, so that another processor rounds to the same answer.
    "default": {"system": "Answer in one short English sentence.", "options": GREEDY},
    # The model never ends by itself.
    "endless": {"options": {**GREEDY, "max_tokens": 400, "ignore_eos": True}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    small_model()
    folder = tmp_path_factory.mktemp("small")
    engines = {"ollama": {"url": NOWHERE}, "llama": {"slots": 1, "threads": 1, "context": 512}}
    with pytest.MonkeyPatch.context() as patch:
        # Neither a better model in the cache of the person who runs the tests, nor a download.
        patch.setenv("HF_HOME", str(folder / "hf"))
        patch.setenv("HF_ENDPOINT", NOWHERE)
        async with serving(settings_for(folder, assistants=ASSISTANTS, engines=engines)) as server:
            yield server


@asynccontextmanager
async def talking(server: Server) -> AsyncIterator[ClientConnection]:
    address = server.address.replace("http", "ws", 1) + "/ws"
    async with connect(address, subprotocols=[Subprotocol(PROTOCOL)]) as socket:
        yield socket


async def next_frame(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        frame: dict[str, Any] = json.loads(await socket.recv())
        assert frame["type"] != "error", frame
        if frame["type"] == kind:
            return frame


async def say(socket: ClientConnection, text: str, **fields: str) -> dict[str, Any]:
    """Send a message; its `ack`."""
    send = {"type": "send", "client_message_id": uuid4().hex, "text": text, **fields}
    await socket.send(json.dumps(send))
    return await next_frame(socket, "ack")


async def ask(socket: ClientConnection, text: str, **fields: str) -> tuple[dict[str, Any], Text]:
    """Send a message and read the reply to its end; its `ack`, and what was streamed."""
    ack, reply = await say(socket, text, **fields), Text()
    while reply.end is None:
        frame = await next_frame(socket, "delta")
        if frame["stream"] == ack["reply"]:
            reply.take(frame)
    return ack, reply


async def message(http: aiohttp.ClientSession, ack: dict[str, Any]) -> dict[str, Any]:
    """The reply as it is stored."""
    async with http.get(f"/api/conversations/{ack['conversation']}") as response:
        conversation = await response.json()
    found: dict[str, Any] = next(each for each in conversation["messages"] if each["id"] == ack["reply"])
    return found


async def test_it_says_which_model_answers_and_how_to_get_a_better_one(server: Server) -> None:
    async with calling(server) as http, http.get("/api/info") as response:
        engine = (await response.json())["engine"]
    assert (engine["name"], engine["model"]) == ("llama", "SmolLM2-135M-Instruct")
    assert engine["why"].endswith(f"The embedded engine answers with SmolLM2-135M-Instruct. {HINT}")


async def test_a_chat_of_several_turns(server: Server) -> None:
    async with talking(server) as socket, calling(server) as http:
        ack, first = await ask(socket, "What is the capital of France?")
        assert "The capital of France is Paris" in first.text
        talk = ack["conversation"]
        read = []
        for text in ("Name one sight there.", "Thank you!"):
            ack, reply = await ask(socket, text, conversation=talk)
            stored = await message(http, ack)
            assert (stored["text"], stored["status"]) == (reply.text, "complete")
            read.append(stored["usage"]["prompt_tokens"])
        assert 40 < read[0] < read[1]


async def test_a_stop_keeps_what_was_said_and_frees_the_model(server: Server) -> None:
    async with talking(server) as socket, calling(server) as http:
        ack, reply = await say(socket, "Tell me about the sea.", assistant="endless"), Text()
        while not reply.text:
            reply.take(await next_frame(socket, "delta"))
        await socket.send(json.dumps({"type": "stop", "conversation": ack["conversation"]}))
        while reply.end is None:
            reply.take(await next_frame(socket, "delta"))
        assert (reply.end["type"], reply.end["reason"]) == ("finished", "stopped")
        stored = await message(http, ack)
        assert (stored["text"], stored["status"]) == (reply.text, "stopped")
        # There is one slot: this is only answered if the stop reached the model.
        _, reply = await ask(socket, "What is the capital of France?")
        assert "Paris" in reply.text


async def test_a_reply_is_resumed_where_its_connection_was_cut(server: Server) -> None:
    async with talking(server) as socket:
        ack = await say(socket, "Write one sentence about the sea.")
    cuts = Cuts(seed=2)
    reply = await watch_socket(server.address.replace("http", "ws", 1) + "/ws", ack, cuts)
    assert cuts.count > 0
    assert reply.resets == 0
    async with calling(server) as http:
        stored = await message(http, ack)
    assert stored["status"] == "complete"
    assert stored["text"] == reply.text != ""


async def test_a_message_longer_than_the_context_is_refused_and_the_next_one_answered(server: Server) -> None:
    async with talking(server) as socket, calling(server) as http:
        ack, reply = await ask(socket, "word " * 600)
        assert reply.end is not None
        assert (reply.end["type"], reply.end["code"]) == ("failed", "engine_refused")
        assert "context size (512 tokens)" in reply.end["message"]
        stored = await message(http, ack)
        assert (stored["status"], stored["detail"]) == ("interrupted", reply.end["message"])
        _, reply = await ask(socket, "What is the capital of France?")
        assert "Paris" in reply.text
