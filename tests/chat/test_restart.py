"""A server ends in the middle of a reply; the next one on the same database goes on, or says honestly that it cannot."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from legato.chat.assistant import Assistant
from legato.domain.message import text_of
from legato.domain.submission import Submission
from legato.engines.base import Capabilities
from legato.errors import StorageError
from legato.stream import ReplySnapshot, Span, State, Text

from .conftest import ADA, ChatServer, RecordingWatcher

Build = Callable[..., Awaitable[ChatServer]]


async def half_said(server: ChatServer, *words: str) -> tuple[str, str]:
    started = await server.service.replies.send(ADA, Submission(None, None, "Tell me"))
    run = await server.engine.asked()
    run.say(*words)
    return started.conversation.id, started.reply.id


async def test_the_next_server_goes_on_behind_the_text_so_far(build: Build) -> None:
    first = await build()
    conversation, reply = await half_said(first, "One ", "two ")
    await first.service.close()

    second = await build()
    run = await second.engine.asked()
    assert run.request.prefix == "One two "
    assert [text_of(turn.parts) for turn in run.request.turns] == ["Tell me"]
    heard = RecordingWatcher()
    await second.service.subscriptions.follow(ADA, conversation, heard)
    run.say("three.")
    run.finish()
    assert text_of((await heard.ended(reply)).parts) == "One two three."


async def test_a_stop_that_was_stored_is_kept_over_the_restart(build: Build) -> None:
    first = await build()
    conversation, reply = await half_said(first, "One ", "two ")
    assert await first.storage.request_stop(conversation) == [reply]
    await first.service.close()

    second = await build()
    await second.service.drain(10)
    message = await second.storage.message(reply)
    assert message is not None
    assert (message.status, text_of(message.parts)) == ("stopped", "One two ")
    assert second.engine.runs == []


async def test_the_log_has_another_epoch(build: Build) -> None:
    first = await build()
    conversation, _ = await half_said(first, "One ")
    (before,) = first.service.subscriptions.logs(conversation)
    await first.service.close()
    second = await build()
    (after,) = second.service.subscriptions.logs(conversation)
    assert after.stream == before.stream
    assert after.epoch != before.epoch
    assert after.snapshot().text == "One "


async def test_where_the_engine_cannot_go_on_the_reply_is_interrupted(build: Build) -> None:
    first = await build()
    conversation, reply = await half_said(first, "One ")
    await first.service.close()
    second = ChatServer(first.url)
    second.engine.can = Capabilities(supports_prefill=False)
    await second.start()
    heard = RecordingWatcher()
    _, messages = await second.service.subscriptions.follow(ADA, conversation, heard)
    message = await heard.ended(reply) if messages[-1].status == "streaming" else messages[-1]
    assert (message.status, text_of(message.parts)) == ("interrupted", "One ")
    assert "restarted" in (message.detail or "")
    await second.stop()


async def test_a_reply_that_had_said_nothing_begins_again(build: Build) -> None:
    first = await build()
    await half_said(first)
    await first.service.close()
    second = await build()
    second.engine.can = Capabilities(supports_prefill=False)
    run = await second.engine.asked()
    assert run.request.prefix == ""


async def test_killed_again_and_again_nothing_is_doubled(build: Build) -> None:
    server = await build()
    conversation, reply = await half_said(server, "0 ")
    for turn in range(1, 5):
        await server.service.close()
        server = await build()
        run = await server.engine.asked()
        assert run.request.prefix == "".join(f"{n} " for n in range(turn))
        run.say(f"{turn} ")
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, conversation, heard)
    run.say("end")
    run.finish()
    assert text_of((await heard.ended(reply)).parts) == "0 1 2 3 4 end"


async def test_a_reply_that_stood_at_its_disclaimer_is_complete(build: Build) -> None:
    careful = Assistant(name="default", disclaimer="Ask a doctor.")
    first = await build(careful)
    conversation, reply = await half_said(first, "Rest.")
    (log,) = first.service.subscriptions.logs(conversation)
    log.append(Text("\n\nAsk a doctor."))
    await first.service.close()
    second = await build(careful)
    heard = RecordingWatcher()
    _, messages = await second.service.subscriptions.follow(ADA, conversation, heard)
    message = await heard.ended(reply) if messages[-1].status == "streaming" else messages[-1]
    assert (message.status, text_of(message.parts)) == ("complete", "Rest.\n\nAsk a doctor.")


async def test_an_assistant_that_is_gone_ends_its_replies_honestly(build: Build) -> None:
    first = await build(Assistant(name="default"), Assistant(name="other"))
    started = await first.service.replies.send(ADA, Submission(None, None, "Tell me", assistant="other"))
    (await first.engine.asked()).say("One ")
    await first.service.close()
    second = await build()
    heard = RecordingWatcher()
    _, messages = await second.service.subscriptions.follow(ADA, started.conversation.id, heard)
    message = await heard.ended(started.reply.id) if messages[-1].status == "streaming" else messages[-1]
    assert (message.status, text_of(message.parts)) == ("interrupted", "One ")


async def test_a_tick_of_the_journal_holds_what_was_said(server: ChatServer) -> None:
    _, reply = await half_said(server, "One ", "two ")
    ticked = asyncio.Event()
    journal = server.storage.append_journal

    async def watched(gateway, entries):  # type: ignore[no-untyped-def]
        row = await journal(gateway, entries)
        ticked.set()
        return row

    server.storage.append_journal = watched  # type: ignore[method-assign]
    await ticked.wait()
    (unfinished,) = await server.storage.adopt("local", ["local"])
    assert unfinished.message.id == reply
    assert ReplySnapshot(unfinished.events).text == "One two "


async def test_a_database_that_fails_for_a_while_loses_no_ending(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = await server.service.replies.send(ADA, Submission(None, None, "Tell me"))
    run = await server.engine.asked()
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, started.conversation.id, heard)
    finish, failures = server.storage.finish, []

    async def failing(message, owner, now):  # type: ignore[no-untyped-def]
        if len(failures) < 2:
            failures.append(message)
            raise StorageError("The disk is full.")
        return await finish(message, owner, now)

    monkeypatch.setattr(server.storage, "finish", failing)
    run.say("All of it.")
    run.finish()
    assert text_of((await heard.ended(started.reply.id)).parts) == "All of it."
    assert len(failures) == 2


async def test_who_wrote_what_is_kept_over_the_restart(build: Build) -> None:
    first = await build()
    conversation, reply = await half_said(first)
    run = first.engine.runs[-1]
    run.out.state(State("reading", model="m", agent="left"))
    run.say("One ", "two ")
    await first.service.close()

    second = await build()
    run = await second.engine.asked()
    heard = RecordingWatcher()
    await second.service.subscriptions.follow(ADA, conversation, heard)
    run.out.state(State("reading", model="m", agent="right"))
    run.say("three.")
    run.finish()
    message = await heard.ended(reply)
    assert message.spans == (Span(0, 8, "m", "left"), Span(8, 14, "m", "right"))
    assert await second.storage.message(reply) == message
