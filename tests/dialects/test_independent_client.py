"""A client that was written from docs/protocol.md alone, on a real server, behind a network with a long way and cuts."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import websockets
from websockets.asyncio.client import connect

from legato.testing.engine import ScriptedEngine

Frame = dict[str, Any]


class SlowNetwork:
    """A TCP proxy that delays each way by `seconds`, and can cut all connections."""

    def __init__(self, address: str, seconds: float) -> None:
        self._target = urlsplit(address)
        self._seconds = seconds
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["SlowNetwork"]:
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.cut()
            server.close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers += [writer, back]
        await asyncio.gather(self._delay(reader, back), self._delay(there, writer))

    async def _delay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(65536):
                loop.call_later(self._seconds, writer.write, data)
        except OSError:
            return
        loop.call_later(self._seconds, writer.transport.abort)


class IndependentClient:
    """Follows one conversation. Every name of a field and every rule is from the page."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.follows = 0
        self.conversation = ""
        self.messages: dict[str, Frame] = {}
        self.revision = 0
        self.ended = asyncio.Event()
        self.texts: dict[str, str] = {}
        self._positions: dict[str, tuple[str, int]] = {}
        self._fragments: dict[str, str] = {}
        self._following = False
        self._socket: Any = None
        self._reading: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        self._fragments.clear()
        self._following = False
        self._socket = await connect(self._url, subprotocols=[websockets.Subprotocol("legato.v1")])
        self._reading = asyncio.create_task(self._read())

    async def send(self, **frame: Any) -> None:
        await self._socket.send(json.dumps(frame))

    async def follow(self) -> None:
        self.follows += 1
        positions = [
            {"stream": stream, "epoch": epoch, "offset": offset}
            for stream, (epoch, offset) in self._positions.items()
        ]
        await self.send(
            type="follow", conversation=self.conversation, since=self.revision, positions=positions
        )

    async def close(self) -> None:
        await self._socket.close()
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)

    async def lost(self) -> None:
        """Return when the connection is gone."""
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        async for data in self._socket:
            await self._take(json.loads(data))

    async def _take(self, frame: Frame) -> None:
        match frame["type"]:
            case "fragment":
                text = self._fragments.pop(frame["group"], "") + frame["text"]
                if frame.get("more"):
                    self._fragments[frame["group"]] = text
                else:
                    await self._take(json.loads(text))
            case "ack":
                self.conversation = frame["conversation"]
            case "following" | "messages":
                for message in frame["messages"]:
                    self._message(message)
                if frame["type"] == "following":
                    self._seen = frame["conversation"]["revision"]
                if not frame.get("more"):
                    self._following = True
                    self.revision = self._seen
            case "message":
                self._message(frame["message"])
                if self._following:
                    self.revision = max(self.revision, frame["message"]["revision"])
            case "reset":
                self._positions.pop(frame["stream"], None)
                self.texts[frame["stream"]] = ""
            case "delta":
                await self._delta(frame)

    async def _delta(self, frame: Frame) -> None:
        stream = frame["stream"]
        if frame["from"] == 0:
            self.texts[stream] = ""
        elif self._positions.get(stream) != (frame["epoch"], frame["from"]):
            # The naive reading of the rule: ask again each time, although a `follow` may be on its way.
            await self.follow()
            return
        for event in frame["events"]:
            if event["type"] == "text":
                self.texts[stream] += event["text"]
            elif event["type"] == "rewound":
                self.texts[stream] = event["text"]
        self._positions[stream] = (frame["epoch"], frame["to"])

    def _message(self, message: Frame) -> None:
        known = self.messages.get(message["id"])
        if known is None or known["revision"] <= message["revision"]:
            self.messages[message["id"]] = message
        if message["role"] == "assistant" and message["status"] != "streaming":
            self.ended.set()


@pytest.mark.parametrize(("seconds", "rate"), [(0.05, 40), (0.15, 150)])
async def test_it_follows_again_and_is_cut_and_loses_nothing(
    serve: Callable[..., Any], engine: ScriptedEngine, seconds: float, rate: int
) -> None:
    async with serve() as server, SlowNetwork(server.address, seconds).running() as network:
        client = IndependentClient(f"ws://127.0.0.1:{network.port}/ws")
        await client.connect()
        await client.send(type="send", client_message_id="k", text="Hello")
        run = await engine.asked()
        words = [f"word{n} " for n in range(60)]
        for number, word in enumerate(words):
            run.say(word)
            await asyncio.sleep(1 / rate)
            if number in (15, 25) and client.conversation:
                await client.follow()
            if number == 40:
                network.cut()
                await client.lost()
                await client.connect()
                await client.follow()
        run.say("long " * 60_000)
        run.finish()
        await client.ended.wait()
        (reply,) = [each for each in client.messages.values() if each["role"] == "assistant"]
        whole = "".join(words) + "long " * 60_000
        assert client.texts[reply["id"]] == whole
        assert reply["text"] == whole
        assert client.follows <= 3
        await client.close()
