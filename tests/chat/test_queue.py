"""Many messages wait in one conversation: each is answered in its turn, and the queue has a bound."""

import asyncio

import pytest

from legato.chat.running_replies import MAX_WAITING
from legato.domain.submission import Submission
from legato.errors import BusyError

from .conftest import ADA, ChatServer


async def fill(server: ChatServer) -> list[str]:
    """Send as many messages to one conversation as can run and wait there. Return its id and the ids of the replies."""
    send = server.service.replies.send
    first = await send(ADA, Submission(None, None, "0"))
    replies = [first.reply.id]
    for number in range(MAX_WAITING):
        started = await send(ADA, Submission(None, first.conversation.id, str(number + 1)))
        replies.append(started.reply.id)
    return [first.conversation.id, *replies]


async def test_more_than_the_queue_holds_is_refused_and_stores_nothing(server: ChatServer) -> None:
    conversation, *_ = await fill(server)
    before = len(await server.storage.messages(conversation))
    with pytest.raises(BusyError, match=f"{MAX_WAITING} messages") as refused:
        await server.service.replies.send(ADA, Submission(None, conversation, "one more"))
    assert refused.value.retry_after > 0
    assert len(await server.storage.messages(conversation)) == before
    run = await server.engine.asked()
    run.say("answer")
    run.finish()
    await server.engine.asked()
    await server.service.replies.send(ADA, Submission(None, conversation, "one more"))


async def test_the_places_of_n_replies_do_not_cost_n_squared_events(server: ChatServer) -> None:
    conversation, *replies = await fill(server)
    logs = [server.service.subscriptions.running_log(reply) for reply in replies]
    for _ in replies:
        run = await server.engine.asked()
        run.say("answer")
        run.finish()
    while server.service.replies.running:
        await asyncio.sleep(0)
    assert all(log is not None and log.closed for log in logs)
    events = sum(log.next for log in logs if log is not None)
    assert events < 30 * len(replies)
    messages = await server.storage.messages(conversation)
    assert [message.status for message in messages if message.role == "assistant"] == ["complete"] * len(
        replies
    )
