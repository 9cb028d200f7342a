"""A whole server in the test's loop with an engine under the test's hand, and clients with a plain socket."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets
from tests.doubles.engines import replace_demo
from tests.gateway.server import serving, settings_for
from websockets.asyncio.client import ClientConnection

from legato.gateway.server import Server
from legato.protocol.messages import PROTOCOL
from legato.testing.engine import ScriptedEngine

Frame = dict[str, Any]


class Client:
    """A socket, and all frames that came, in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.frames: list[Frame] = []
        self._ids = 0
        self._fragments: dict[str, str] = {}

    async def _receive(self) -> Frame:
        frame: Frame = json.loads(await self.socket.recv())
        while frame["type"] == "fragment":
            text = self._fragments.pop(frame["group"], "") + frame["text"]
            if frame.get("more"):
                self._fragments[frame["group"]] = text
                frame = json.loads(await self.socket.recv())
            else:
                frame = json.loads(text)
        self.frames.append(frame)
        return frame

    async def say(self, kind: str, **fields: object) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def next(self, *kinds: str) -> Frame:
        """The next frame of one of these types; the others are passed over."""
        while True:
            frame = await self._receive()
            if frame["type"] in kinds:
                return frame

    async def ask(self, kind: str, **fields: object) -> Frame:
        """A command, and the answer to it; a frame that cannot be read at all is answered without its id."""
        self._ids += 1
        await self.say(kind, id=str(self._ids), **fields)
        while True:
            frame = await self._receive()
            if frame.get("re") == str(self._ids) or (frame["type"] == "error" and "re" not in frame):
                return frame

    async def text(self, stream: str) -> tuple[str, Frame]:
        """What this stream says from here to its end, and the end."""
        said = ""
        while True:
            frame = await self.next("delta")
            if frame["stream"] != stream:
                continue
            if frame["from"] == 0:
                said = ""
            for event in frame["events"]:
                if event["type"] == "text":
                    said += event["text"]
                elif event["type"] in ("finished", "failed"):
                    return said, event


@asynccontextmanager
async def connected(server: Server, **headers: str) -> AsyncIterator[Client]:
    """A client that was welcomed."""
    url = server.address.replace("http", "ws", 1) + "/ws"
    protocol = [websockets.Subprotocol(PROTOCOL)]
    async with websockets.connect(
        url, subprotocols=protocol, additional_headers=headers, max_size=None, max_queue=None
    ) as socket:
        client = Client(socket)
        await client.next("welcome")
        yield client


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """What answers in the place of the demo engine."""
    engine = ScriptedEngine("demo", models=(), continues=True)
    replace_demo(monkeypatch, engine)
    return engine


@pytest.fixture
async def server(tmp_path: Path, engine: ScriptedEngine) -> AsyncIterator[Server]:
    async with serving(settings_for(tmp_path)) as server:
        yield server


@pytest.fixture
def serve(tmp_path: Path, engine: ScriptedEngine) -> Callable[..., Any]:
    """Serve with settings of the test's own."""
    return lambda **sections: serving(settings_for(tmp_path, **sections))
