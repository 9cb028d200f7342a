"""The wall clock jumps by more than a year, back and forth, at every look: nothing but the times that people read knows it."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

from legato.broker.memory import MemoryBroker
from legato.chat.assistant import Assistant
from legato.chat.commands import make_commands
from legato.chat.reply import ResolvedAssistant
from legato.chat.service import ChatService
from legato.domain.message import text_of
from legato.domain.submission import Submission

from .conftest import ADA, ChatServer, RecordingWatcher


async def test_jumps_of_the_wall_clock_disturb_nothing(server: ChatServer) -> None:
    random = Random(3)

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(days=random.uniform(-400, 400))

    grace = Assistant(name="default", on_unwatched="grace", grace_seconds=600.0)
    speakers = {"default": ResolvedAssistant(grace, server.engine, "scripted")}
    clock = asyncio.get_running_loop().time
    service = ChatService(
        server.storage,
        speakers,
        commands=make_commands,
        broker=MemoryBroker(clock).gateway(),
        clock=clock,
        now=now,
    )
    await service.start()
    started = await service.replies.send(ADA, Submission(None, None, "0"))
    conversation = started.conversation.id
    for n in range(1, 15):
        heard = RecordingWatcher()
        await service.subscriptions.follow(ADA, conversation, heard)
        run = await server.engine.asked()
        service.subscriptions.unfollow(conversation, heard)
        await service.subscriptions.follow(ADA, conversation, heard)
        run.say(f"Answer {n}")
        run.finish()
        message = await heard.ended(started.reply.id)
        assert message.status == "complete"
        assert message.timings is not None
        assert 0 <= (message.timings.total_ms or 0) < 60_000
        assert run.request.turns[-1].parts == started.question.parts if started.question else False
        started = await service.replies.send(ADA, Submission(f"k{n}", conversation, str(n)))
        assert (await service.replies.send(ADA, Submission(f"k{n}", conversation, str(n)))).duplicate
        service.subscriptions.unfollow(conversation, heard)
    (await server.engine.asked()).finish()
    await service.drain(10)
    tree = await service.conversations.get(ADA, conversation)
    stored = [text_of(message.parts) for message in await server.storage.messages(conversation)]
    expected = [text for n in range(15) for text in (str(n), f"Answer {n + 1}" if n < 14 else "")]
    assert stored == [text_of(message.parts) for message in tree.path()] == expected
    seen: set[str] = set()
    before = None
    while page := await service.conversations.page(ADA, 1, before):
        seen.add(page[0].id)
        before = (page[0].updated_at, page[0].id)
    assert conversation in seen
    await service.close()
