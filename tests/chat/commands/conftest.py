"""A conversation in which people type commands."""

from collections.abc import Awaitable, Callable

import pytest
from tests.chat.conftest import ADA, ChatServer, RecordingWatcher

from legato.chat.assistant import Assistant
from legato.chat.commands import CommandRequest, CommandResult
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.stream import Usage
from legato.testing.engine import ScriptedEngine, ScriptedGeneration


class Room:
    """One conversation of Ada's, and those who type in it."""

    def __init__(self, server: ChatServer, conversation: str) -> None:
        self.server = server
        self.service = server.service
        self.id = conversation

    async def restart(self) -> None:
        """Another server on the same database."""
        await self.server.stop()
        await self.server.start()
        self.service = self.server.service

    async def offer(self, *models: str) -> None:
        """Let the engine have these models."""
        self.server.engine = ScriptedEngine(models=models, continues=True)
        await self.restart()

    async def type(self, text: str, person: User = ADA, key: str | None = None) -> CommandResult:
        """Give a command."""
        return await self.service.commands.run(CommandRequest(person, text, self.id, client_message_id=key))

    async def ask(self, text: str = "Hello", person: User = ADA) -> ScriptedGeneration:
        """Send a message; the run that the engine was asked for."""
        await self.service.replies.send(person, Submission(conversation=self.id, text=text))
        return await self.server.engine.asked()

    async def exchange(self, text: str = "Hello", answer: str = "Good day.") -> ScriptedGeneration:
        """A message and its whole reply."""
        heard = RecordingWatcher()
        self.service.subscriptions.subscribe(ADA, self.id, heard)
        run = await self.ask(text)
        run.say(answer)
        run.finish(usage=Usage(1000, 20))
        await heard.ended(heard.logs[-1].stream)
        self.service.subscriptions.unfollow(self.id, heard)
        return run


Open = Callable[..., Awaitable[Room]]


@pytest.fixture
def open_room(build: Callable[..., Awaitable[ChatServer]]) -> Open:
    async def one(*assistants: Assistant) -> Room:
        server = await build(*assistants)
        return Room(server, (await server.service.conversations.create(ADA)).id)

    return one


@pytest.fixture
async def room(open_room: Open) -> Room:
    return await open_room()
