"""Words, ends, titles and stops fall into every await of a follow: each viewer has everything exactly once.

The database takes a random number of turns of the loop for each call, from a seed.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import msgspec
import pytest
from sqlalchemy import Connection
from tests.dialects.conftest import Server, Wire

from legato.broker.memory import MemoryBroker
from legato.chat.assistant import Assistant
from legato.chat.commands import make_commands
from legato.chat.reply import ResolvedAssistant
from legato.chat.service import ChatService
from legato.domain.message import text_of
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.storage.sql import SqlStorage, open_storage
from legato.storage.sql.sqlite import SqliteDatabase
from legato.stream import Event, Failed, Finished, ReplySnapshot
from legato.testing.engine import ScriptedEngine

ADA = User("ada")

T = TypeVar("T")


class Hesitant:
    """A database on the loop's own thread, so that a seed tells all: each call takes some turns of the loop, and each time
    another number. Writes are answered in the order of their commits, sometimes several in one turn, as by a real one.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self.random = Random()
        self._answers: deque[asyncio.Future[None]] = deque()
        self._read, self._write = database._read, database._write
        self.open, self.close, self.path = database.open, database.close, database.path

    async def read(self, work: Callable[[Connection], T]) -> T:
        await self._wait()
        found = self._read(work)
        await self._wait()
        return found

    async def search(self, work: Callable[[Connection], T]) -> T:
        return await self.read(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        await self._wait()
        found = self._write(work, math.inf)
        loop = asyncio.get_running_loop()
        if not self._answers:
            loop.call_soon(self._answer)
        answered: asyncio.Future[None] = loop.create_future()
        self._answers.append(answered)
        await answered
        return found

    async def _wait(self) -> None:
        for _ in range(self.random.choice((0, 1, 2, 5, 10))):
            await asyncio.sleep(0)

    def _answer(self) -> None:
        for _ in range(self.random.choice((0, 0, 0, 1, 2, 3))):
            if self._answers and not (answered := self._answers.popleft()).done():
                answered.set_result(None)
        if self._answers:
            asyncio.get_running_loop().call_soon(self._answer)


class Client:
    """What one client has, by the rules of the protocol and nothing else."""

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, Any]] = {}
        self.title = ""
        self.revision = -1
        self.folds: dict[str, ReplySnapshot] = {}
        self.ends: dict[str, int] = {}
        self._at: dict[str, tuple[str, int]] = {}

    def read(self, wire: Wire) -> None:
        for frame in wire.frames:
            match frame["type"]:
                case "following":
                    self._conversation(frame["conversation"])
                    for message in frame.get("messages", ()):
                        self._message(message)
                case "message":
                    self._message(frame["message"])
                case "conversation":
                    self._conversation(frame["conversation"])
                case "reset":
                    self._at.pop(frame["stream"], None)
                case "delta":
                    self._delta(frame)
                case kind:
                    assert kind in ("welcome", "stopped", "people"), frame

    def positions(self) -> list[dict[str, Any]]:
        return [{"stream": name, "epoch": epoch, "offset": at} for name, (epoch, at) in self._at.items()]

    def _conversation(self, view: dict[str, Any]) -> None:
        if view["revision"] >= self.revision:
            self.revision, self.title = view["revision"], view["title"]

    def _message(self, view: dict[str, Any]) -> None:
        known = self.messages.get(view["id"])
        if known is None or view["revision"] >= known["revision"]:
            self.messages[view["id"]] = view

    def _delta(self, frame: dict[str, Any]) -> None:
        stream = frame["stream"]
        if frame["from"] == 0:
            self.folds[stream], self.ends[stream] = ReplySnapshot(), 0
        else:
            assert self._at[stream] == (frame["epoch"], frame["from"]), "a hole, or something twice"
        for event in msgspec.convert(frame["events"], list[Event]):
            self.folds[stream].apply(event)
            self.ends[stream] += isinstance(event, Finished | Failed)
        self._at[stream] = (frame["epoch"], frame["to"])


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[SqlStorage]:
    storage = open_storage(f"sqlite:///{tmp_path / 'legato.db'}")
    await storage.open()
    assert isinstance(storage.database, SqliteDatabase)
    storage.database = Hesitant(storage.database)
    yield storage
    await storage.close()


async def one_run(storage: SqlStorage, seed: int) -> None:
    """A conversation of two turns and a title, and clients that come and go with what they have; perhaps a stop."""
    random = Random(seed)
    engine = ScriptedEngine(continues=True)
    assert isinstance(storage.database, Hesitant)
    storage.database.random = random
    speakers = {"default": ResolvedAssistant(Assistant(name="default"), engine, "scripted")}
    service = ChatService(
        storage,
        speakers,
        commands=make_commands,
        broker=MemoryBroker(asyncio.get_running_loop().time).gateway(),
        clock=asyncio.get_running_loop().time,
    )
    dialect = Server(service, engine, storage).dialect()
    begun = await service.replies.send(ADA, Submission(None, None, "One"))
    conversation = begun.conversation.id

    async def turns(most: int) -> None:
        for _ in range(random.randint(0, most)):
            await asyncio.sleep(0)

    async def writes() -> None:
        while True:
            run = await engine.asked()
            for n in range(random.randint(1, 12)):
                await turns(5)
                if run.state == "running":
                    run.say(f"{n} ")
            if run.state == "running":
                run.finish()

    async def sends() -> None:
        await turns(20)
        await service.replies.send(ADA, Submission(f"k{seed}", conversation, "Two"))
        for n in range(5):
            await turns(20)
            await service.conversations.rename(ADA, conversation, f"Title {n}")

    async def meddles() -> None:
        """Somebody stops, and memory loses the conversation, as it does where there are many."""
        await turns(60)
        if random.random() < 0.3:
            await service.replies.stop(ADA, conversation)
        for _ in range(random.randint(0, 40)):
            service.subscriptions._cache.drop(conversation)
            await turns(8)

    async def watches() -> Client:
        client = Client()
        for _ in range(random.randint(0, 6)):
            wire = connect(client)
            await turns(40)
            client.read(wire)
            wire.cut()
        return client

    def connect(client: Client) -> Wire:
        wire, say = Server(service, engine, storage).connect(dialect)
        since = max(client.revision, 0)
        say("follow", conversation=conversation, since=since, positions=client.positions())
        say("stop", id="end", conversation=conversation, message="none")
        return wire

    writing = asyncio.create_task(writes())
    _, _, *clients = await asyncio.gather(sends(), meddles(), *(watches() for _ in range(3)))
    wires = [connect(client) for client in clients]
    await service.drain(20)
    writing.cancel()
    truth = await storage.messages(conversation)
    kept = await storage.conversation(conversation)
    assert kept is not None
    assert all(message.status in ("complete", "stopped", "interrupted") for message in truth)
    for client, wire in zip(clients, wires, strict=True):
        await wire.until(lambda wire: any(frame["type"] == "stopped" for frame in wire.frames))
        for _ in range(5):
            await asyncio.sleep(0)
        client.read(wire)
        assert client.title == kept.title
        assert client.messages.keys() == {message.id for message in truth}
        for message in truth:
            view, fold = client.messages[message.id], client.folds.get(message.id)
            assert (view["status"], view["text"]) == (message.status, text_of(message.parts))
            if fold is not None:
                assert fold.end is not None
                assert fold.text == text_of(message.parts)
                assert client.ends[message.id] == 1
    await service.close()


@pytest.mark.parametrize(
    "seeds",
    [range(60), pytest.param(range(60, 10_000), marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
    ids=["short", "long"],
)
async def test_every_viewer_has_everything_exactly_once(storage: SqlStorage, seeds: range) -> None:
    for seed in seeds:
        try:
            await one_run(storage, seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
