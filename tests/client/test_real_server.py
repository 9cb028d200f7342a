"""The client on a real server, through a network that breaks; and the server of the test kit held against the real one."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import repeat
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import connect

from legato.client import Client, StreamRestarted
from legato.client.address import socket_url
from legato.gateway.server import Server
from legato.gateway.settings import Settings
from legato.protocol.messages import (
    Ack,
    ClientMessage,
    ConversationChanged,
    Follow,
    MessageChanged,
    Send,
    ServerMessage,
    Stop,
)
from legato.stream import Finished, ReplySnapshot, Text
from legato.testing.fake_server import FakeServer as Scripted

WORDS = [f"wörd{number}" for number in range(150)]


@asynccontextmanager
async def serving(folder: Path, tokens_per_second: int = 0) -> AsyncIterator[str]:
    """The address of a real server, which ends with the context."""
    echo = {"engine": "demo", "model": "demo:echo", "options": {"tokens_per_second": tokens_per_second}}
    settings = Settings.model_validate(
        {"server": {"port": 0, "data_dir": folder}, "assistants": {"default": echo}}
    )
    server = Server(settings)
    running = asyncio.create_task(server.run())
    await server.started.wait()
    try:
        yield server.address
    finally:
        server.stop()
        server.stop()
        assert await running == 0


class Cutting:
    """A TCP proxy that breaks each connection after some bytes from the server, with a reset, as a bad network does."""

    def __init__(self, target: str, chance: random.Random, most: int) -> None:
        self._target = urlsplit(target)
        self._chance = chance
        self._most = most
        self.cuts = 0
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Cutting"]:
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        forward = asyncio.create_task(self._copy(reader, back, None))
        try:
            await self._copy(there, writer, self._chance.randint(100, self._most))
        finally:
            forward.cancel()
            await asyncio.gather(forward, return_exceptions=True)
            writer.transport.abort()
            back.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None
    ) -> None:
        try:
            while data := await reader.read(4096):
                writer.write(data if left is None else data[:left])
                await writer.drain()
                if left is not None:
                    left -= len(data)
                    if left <= 0:
                        self.cuts += 1
                        return
        except OSError:
            return


async def test_every_reply_arrives_whole_through_a_breaking_network(
    tmp_path: Path,
) -> None:
    text = " ".join(WORDS[:60])
    async with (
        asyncio.timeout(60),
        serving(tmp_path, 400) as address,
        Cutting(address, random.Random(11), 9000).running() as network,
        Client(address) as steady,
        Client(f"http://127.0.0.1:{network.port}", delays=lambda: repeat(0.0)) as client,
    ):
        said: dict[str, list[str]] = {}
        conversation = None
        while network.cuts < 5:
            reply = await client.send(text, conversation)
            told = ReplySnapshot()
            async for event in reply:
                assert not isinstance(event, StreamRestarted)
                told.apply(event)
            assert told.text == reply.text == text
            assert isinstance(reply.end, Finished)
            texts = said.setdefault(reply.conversation, [])
            texts += [text, text]
            # A history of four messages fits into what the network carries before it breaks.
            conversation = reply.conversation if len(texts) < 4 else None
        for conversation, texts in said.items():
            watch = await steady.follow(conversation)
            assert [message.text for message in watch.shown] == texts


async def test_stop_regenerate_and_edit(tmp_path: Path) -> None:
    async with asyncio.timeout(60), serving(tmp_path, 20) as address, Client(address) as client:
        reply = await client.send(" ".join(WORDS))
        async for event in reply:
            if isinstance(event, Text):
                break
        assert await client.stop(reply.conversation, reply.id) == [reply.id]
        assert await reply.wait() == reply.end
        assert isinstance(reply.end, Finished)
        assert reply.end.reason == "stopped"
        edited = await client.edit(reply.conversation, reply.question or "", "short")
        await edited.wait()
        again = await client.regenerate(reply.conversation, edited.id)
        await again.wait()
        assert edited.text == again.text == "short"
        watch = await client.follow(reply.conversation)
        assert [message.text for message in watch.shown] == ["short", "short"]
        assert len(watch.messages) == 5


def kinds(frames: list[ServerMessage]) -> list[str]:
    """The types of frames in their order; a stream may come in any number of deltas, at any moment."""
    names = [str(msgspec.to_builtins(frame)["type"]) for frame in frames]
    return [name for name in names if name != "delta"]


async def test_the_fake_server_answers_like_the_real_one(tmp_path: Path) -> None:
    first = Send(id="1", client_message_id="k", text="hi")

    def story(ack: Ack) -> list[ClientMessage]:
        return [
            msgspec.structs.replace(first, id="2"),
            Send(id="3", client_message_id="k2", text="more", conversation=ack.conversation),
            Follow(id="4", conversation=ack.conversation),
            Follow(id="5", conversation="nobody's"),
            Stop(id="6", conversation=ack.conversation),
        ]

    async with asyncio.timeout(60), serving(tmp_path) as address:
        real: list[ServerMessage] = []
        async with connect(socket_url(address)) as socket:

            async def hear(wanted: Callable[[Any], bool]) -> Any:
                while True:
                    frame = msgspec.json.decode(await socket.recv(decode=False), type=ServerMessage)
                    real.append(frame)
                    if wanted(frame):
                        return frame

            async def answer_to(name: str | None) -> Any:
                return await hear(lambda frame: getattr(frame, "re", None) == name)

            async def begun_and_done(name: str) -> Ack:
                ack = await answer_to(name)
                assert isinstance(ack, Ack)
                await hear(
                    lambda frame: (
                        isinstance(frame, MessageChanged)
                        and (frame.message.id, frame.message.status) == (ack.reply, "complete")
                    )
                )
                await hear(lambda frame: isinstance(frame, ConversationChanged))
                return ack

            await socket.send(msgspec.json.encode(first), text=True)
            ack = await begun_and_done("1")
            for command in story(ack):
                await socket.send(msgspec.json.encode(command), text=True)
                await (begun_and_done("3") if command.id == "3" else answer_to(command.id))

    scripted = Scripted()
    connection = scripted.connect()
    connection.send(scripted.welcome())
    connection.receive(first)
    ack = next(frame for frame in connection.frames if isinstance(frame, Ack))
    scripted.finish(ack.reply)
    for command in story(ack):
        connection.receive(command)
        if command.id == "3":
            scripted.finish(scripted.acks["k2"].reply)
    assert kinds(connection.frames) == kinds(real)
