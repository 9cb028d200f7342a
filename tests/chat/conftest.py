"""A chat service on a real database, with an engine that does as the test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from legato.broker.memory import MemoryBroker
from legato.chat.assistant import Assistant
from legato.chat.attachments import Attachments
from legato.chat.commands import make_commands
from legato.chat.reply import ResolvedAssistant
from legato.chat.service import ChatService, utc
from legato.domain.conversation import Conversation
from legato.domain.message import Message
from legato.domain.user import User
from legato.engines.transcription import Transcriber
from legato.storage.base import Storage
from legato.storage.directory_blobs import DirectoryBlobStore
from legato.storage.sql import open_storage
from legato.stream import Log
from legato.testing.engine import ScriptedEngine

ADA = User("ada")
BOB = User("bob")


class RecordingWatcher:
    """A watcher that keeps what it hears, and lets a test wait for it."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.conversations: list[Conversation] = []
        self.deleted: list[str] = []
        self.logs: list[Log] = []
        self.people = 0
        self.typing: list[tuple[str, bool]] = []
        self._news = asyncio.Event()

    def on_message(self, message: Message) -> None:
        self.messages.append(message)
        self._news.set()

    def on_conversation(self, conversation: Conversation) -> None:
        self.conversations.append(conversation)
        self._news.set()

    def on_deleted(self, conversation: str) -> None:
        self.deleted.append(conversation)
        self._news.set()

    def on_stream(self, log: Log) -> None:
        self.logs.append(log)
        self._news.set()

    def on_people(self, conversation: str) -> None:
        self.people += 1
        self._news.set()

    def on_typing(self, conversation: str, user: str, name: str | None, typing: bool) -> None:
        self.typing.append((user, typing))
        self._news.set()

    async def until(self, condition: Callable[["RecordingWatcher"], bool]) -> None:
        while not condition(self):
            self._news.clear()
            await self._news.wait()

    async def ended(self, message: str) -> Message:
        """The message as it was told once its reply ended."""
        await self.until(
            lambda heard: any(m.id == message and m.status != "streaming" for m in heard.messages)
        )
        return next(m for m in reversed(self.messages) if m.id == message)


class ChatServer:
    """One server's chat, which can be killed and started again on the same database."""

    def __init__(self, url: str, *assistants: Assistant) -> None:
        self.url = url
        self.engine = ScriptedEngine(continues=True)
        self.assistants = assistants or (Assistant(name="default"),)
        self.transcriber: Transcriber | None = None
        self.files = DirectoryBlobStore(Path(url.removeprefix("sqlite:///")).parent / "attachments")
        self.attachments: Attachments
        self.storage: Storage
        self.service: ChatService

    async def start(self) -> None:
        self.storage = open_storage(self.url)
        await self.storage.open()
        speakers = {each.name: ResolvedAssistant(each, self.engine, "scripted") for each in self.assistants}
        self.attachments = Attachments(self.storage, self.files, now=utc, new_id=lambda: str(uuid4()))
        self.service = ChatService(
            self.storage,
            speakers,
            commands=make_commands,
            broker=MemoryBroker(asyncio.get_running_loop().time).gateway(),
            clock=asyncio.get_running_loop().time,
            attachments=self.attachments,
            transcriber=self.transcriber,
        )
        await self.service.start()

    async def stop(self) -> None:
        await self.service.close()
        await self.storage.close()


@pytest.fixture
async def build(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[ChatServer]]]:
    servers: list[ChatServer] = []

    async def one(*assistants: Assistant) -> ChatServer:
        server = ChatServer(f"sqlite:///{tmp_path / 'legato.db'}", *assistants)
        await server.start()
        servers.append(server)
        return server

    yield one
    for server in servers:
        await server.stop()


@pytest.fixture
async def server(build: Callable[..., Awaitable[ChatServer]]) -> ChatServer:
    return await build()
