"""The native dialect on a real service and database, with a socket that records its frames."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.doubles.engines import replace_demo
from tests.gateway.server import serving, settings_for

from legato.broker.memory import MemoryBroker
from legato.chat.assistant import Assistant
from legato.chat.commands import make_commands
from legato.chat.reply import ResolvedAssistant
from legato.chat.service import ChatService
from legato.dialects.base import Handshake
from legato.dialects.context import DialectContext
from legato.dialects.dialect import DialectSessions
from legato.dialects.native.dialect_type import NATIVE
from legato.dialects.session import DialectSession
from legato.domain.user import User
from legato.errors import UnauthenticatedError
from legato.settings_types import SettingsSection
from legato.storage.sql import open_storage
from legato.stream import Flusher
from legato.testing.engine import ScriptedEngine

Frame = dict[str, Any]


class Wire:
    """A `Socket` that records every frame. Closing it calls the session, as a real one does."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.closed: int | None = None
        self.writable = True
        self.session: DialectSession[Any] | None = None
        self._news = asyncio.Event()

    @staticmethod
    def frame(payload: bytes) -> bytes:
        return payload

    def write(self, data: bytes) -> None:
        self.send(data)

    def flush(self) -> None:
        self._news.set()

    def send(self, payload: bytes) -> None:
        if self.closed is None:
            self.frames.append(msgspec.json.decode(payload))
            self._news.set()

    def limit_message(self, limit: int | None) -> None:
        """Take messages of any length."""

    def close(self, code: int, reason: str = "") -> None:
        if self.closed is None:
            self.closed = code
            self._news.set()
            if self.session is not None:
                self.session.closed()

    def cut(self) -> None:
        """Break the connection without a close frame."""
        self.close(1006)

    def resume(self) -> None:
        self.writable = True
        if self.session is not None:
            self.session.resumed()

    async def until(self, condition: Callable[["Wire"], bool]) -> None:
        while not condition(self):
            self._news.clear()
            await self._news.wait()

    async def next(self, kind: str, **fields: object) -> Frame:
        """Wait for the first frame of this type, with these fields, and remove it."""

        def fits(frame: Frame) -> bool:
            return frame["type"] == kind and all(frame.get(name) == value for name, value in fields.items())

        await self.until(lambda wire: any(fits(frame) for frame in wire.frames))
        index = next(i for i, frame in enumerate(self.frames) if fits(frame))
        return self.frames.pop(index)


class Server:
    """A service, its engine, and sockets of the native dialect."""

    def __init__(self, service: ChatService, engine: ScriptedEngine, storage: Any) -> None:
        self.service = service
        self.engine = engine
        self.storage = storage
        self.anyone: User | None = User("ada")
        self.tokens = {
            "ada's": User("ada"),
            "bob's": User("bob"),
            "reader's": User("eve", scopes=frozenset()),
        }

    async def authenticate(self, *, token: str | None = None, ticket: str | None = None) -> User:
        if token not in self.tokens:
            raise UnauthenticatedError("This token is not valid here.")
        return self.tokens[token]

    def dialect(self) -> DialectSessions:
        context = DialectContext(
            service=self.service,
            flusher=Flusher(asyncio.get_running_loop().call_soon),
            authenticate=self.authenticate,
            anyone=self.anyone,
            version="test",
        )
        return DialectSessions(NATIVE, SettingsSection(), context)

    def connect(
        self, dialect: DialectSessions | None = None, **headers: str
    ) -> tuple[Wire, Callable[..., None]]:
        """A socket, and what sends a message on it."""
        wire = Wire()
        session = (dialect or self.dialect()).open(
            Handshake("/ws", {}, {}, headers, "legato.v1", "127.0.0.1"), wire
        )
        wire.session = session

        def say(kind: str, **fields: object) -> None:
            session.received(msgspec.json.encode({"type": kind, **fields}))

        return wire, say


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    storage = open_storage(f"sqlite:///{tmp_path / 'legato.db'}")
    await storage.open()
    engine = ScriptedEngine(continues=True)
    speakers = {"default": ResolvedAssistant(Assistant(name="default"), engine, "scripted")}
    service = ChatService(
        storage,
        speakers,
        commands=make_commands,
        broker=MemoryBroker(asyncio.get_running_loop().time).gateway(),
        clock=asyncio.get_running_loop().time,
    )
    await service.start()
    yield Server(service, engine, storage)
    await service.close()
    await storage.close()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """The engine of whole servers, in place of the demo engine."""
    engine = ScriptedEngine("demo", models=(), continues=True)
    replace_demo(monkeypatch, engine)
    return engine


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Any]:
    """Serve with settings of the test; the demo engine answers, or the scripted one if the test uses it."""
    return lambda **sections: serving(settings_for(tmp_path, **sections))
