"""A conversation as its people live it: sending, watching, stopping, branching."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from legato.chat import abandonment
from legato.chat.assistant import Assistant
from legato.domain.message import TextPart, text_of
from legato.domain.submission import Submission
from legato.engines.base import Turn
from legato.errors import BusyError, ConflictError, EngineBrokeError, InvalidError, NotFoundError
from legato.stream import Failed, Finished, Usage
from legato.testing.engine import ScriptedGeneration

from .conftest import ADA, BOB, ChatServer, RecordingWatcher


async def say(
    server: ChatServer, text: str, conversation: str | None = None, key: str | None = None
) -> tuple[str, str, ScriptedGeneration]:
    """Send a message; its conversation, the reply's id, and the run that the engine was asked for."""
    started = await server.service.replies.send(ADA, Submission(key, conversation, text))
    return started.conversation.id, started.reply.id, await server.engine.asked()


async def exchange(
    server: ChatServer, text: str, answer: str, conversation: str | None = None
) -> tuple[str, str]:
    """A whole turn; the conversation and the reply's id."""
    heard = RecordingWatcher()
    conversation, reply, run = await say(server, text, conversation)
    server.service.subscriptions.subscribe(ADA, conversation, heard)
    run.say(answer)
    run.finish()
    await heard.ended(reply)
    server.service.subscriptions.unfollow(conversation, heard)
    return conversation, reply


async def test_a_message_is_stored_before_its_reply_begins(server: ChatServer) -> None:
    started = await server.service.replies.send(ADA, Submission("k", None, "Hello"))
    stored = await server.storage.messages(started.conversation.id)
    assert [(m.role, m.status, text_of(m.parts)) for m in stored] == [
        ("user", "complete", "Hello"),
        ("assistant", "streaming", ""),
    ]


async def test_a_reply_is_told_word_by_word_and_stored_whole(server: ChatServer) -> None:
    conversation, reply, run = await say(server, "Hello")
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, conversation, heard)
    run.think("hm")
    run.say("Good ", "day.")
    (log,) = server.service.subscriptions.logs(conversation)
    assert log.text_at(log.next) == "Good day."
    run.finish(usage=Usage(3, 2))
    message = await heard.ended(reply)
    assert text_of(message.parts) == "Good day."
    assert message.reasoning == "hm"
    assert message.status == "complete"
    assert message.model == "scripted"
    assert message.usage == Usage(3, 2)
    assert message.timings is not None
    assert message.timings.first_token_ms is not None
    assert await server.storage.message(reply) == message


async def test_what_looks_finished_is_stored(server: ChatServer) -> None:
    """The terminal event comes after the commit, never before."""
    conversation, reply, run = await say(server, "Hello")
    (log,) = server.service.subscriptions.logs(conversation)
    closed = asyncio.Event()
    log.subscribe(lambda: closed.set() if log.closed else None)
    run.say("Yes.")
    run.finish()
    await closed.wait()
    stored = await server.storage.message(reply)
    assert stored is not None
    assert stored.status == "complete"


async def test_the_first_message_gives_the_title(server: ChatServer) -> None:
    conversation, _ = await exchange(server, "Why is the sky blue?\nTell me.", "Rayleigh.")
    tree = await server.service.conversations.get(ADA, conversation)
    assert tree.conversation.title == "Why is the sky blue?"


async def test_the_engine_reads_the_history(build: Callable[..., Awaitable[ChatServer]]) -> None:
    server = await build(Assistant(name="default", system="Be brief.", history=3))
    conversation, _ = await exchange(server, "one", "1")
    await exchange(server, "two", "2", conversation)
    _, _, run = await say(server, "three", conversation)
    assert run.request.turns == (
        Turn("system", (TextPart("Be brief."),)),
        Turn("user", (TextPart("two"),)),
        Turn("assistant", (TextPart("2"),)),
        Turn("user", (TextPart("three"),)),
    )
    assert run.request.conversation == conversation
    assert run.request.user == "ada"


async def test_sent_twice_it_is_one_message_and_one_reply(server: ChatServer) -> None:
    first = await server.service.replies.send(ADA, Submission("key", None, "Hello"))
    again = await server.service.replies.send(ADA, Submission("key", None, "Hello"))
    assert again.duplicate
    assert (again.conversation.id, again.reply.id) == (first.conversation.id, first.reply.id)
    assert len(await server.service.conversations.page(ADA)) == 1


async def test_sent_a_hundred_times_at_once_it_is_one_reply(server: ChatServer) -> None:
    started = await asyncio.gather(
        *(server.service.replies.send(ADA, Submission("key", None, "Hello")) for _ in range(100))
    )
    assert sum(not each.duplicate for each in started) == 1
    assert len({each.reply.id for each in started}) == 1
    await server.engine.asked()
    assert len(server.engine.requests) == 1


async def test_the_same_key_with_another_body_is_an_error(server: ChatServer) -> None:
    await server.service.replies.send(ADA, Submission("key", None, "Hello"))
    with pytest.raises(ConflictError):
        await server.service.replies.send(ADA, Submission("key", None, "Something else"))


async def test_the_same_key_of_somebody_else_is_another_message(server: ChatServer) -> None:
    one = await server.service.replies.send(ADA, Submission("key", None, "Hello"))
    other = await server.service.replies.send(BOB, Submission("key", None, "Hello"))
    assert one.reply.id != other.reply.id


async def test_stop_reaches_the_engine_and_keeps_the_text(server: ChatServer) -> None:
    conversation, reply, run = await say(server, "Hello")
    run.say("So ", "far")
    assert await server.service.replies.stop(ADA, conversation) == [reply]
    assert run.cancelled
    stored = await server.storage.message(reply)
    assert stored is not None
    assert (stored.status, text_of(stored.parts)) == ("stopped", "So far")
    assert await server.service.replies.stop(ADA, conversation) == []


async def test_stop_at_any_moment_ends_the_reply_once(server: ChatServer) -> None:
    """Before the engine was asked, between words, and at the finish."""
    for turns in range(12):
        started = await server.service.replies.send(ADA, Submission(None, None, "Hello"))
        conversation = started.conversation.id
        (log,) = server.service.subscriptions.logs(conversation)
        ending = asyncio.create_task(server.service.replies.stop(ADA, conversation))
        for _ in range(turns):
            await asyncio.sleep(0)
        if server.engine.runs and server.engine.runs[-1].state == "running":
            server.engine.runs[-1].say("word")
            server.engine.runs[-1].finish()
        await ending
        assert log.closed
        assert sum(isinstance(event, Finished | Failed) for event in log.since(0).events) == 1
        stored = await server.storage.message(started.reply.id)
        assert stored is not None
        assert stored.status in ("stopped", "complete")


async def test_replies_of_one_conversation_come_one_after_the_other(server: ChatServer) -> None:
    conversation, first, run = await say(server, "one")
    second = await server.service.replies.send(ADA, Submission(None, conversation, "two"))
    logs = server.service.subscriptions.logs(conversation)
    assert [log.stream for log in logs] == [first, second.reply.id]
    assert logs[1].snapshot().state is not None
    assert logs[1].snapshot().state.phase == "queued"  # type: ignore[union-attr]
    run.say("1")
    run.finish()
    following = await server.engine.asked()
    assert [text_of(turn.parts) for turn in following.request.turns] == ["one", "1", "two"]


async def test_stopping_one_that_waits_leaves_the_one_that_runs(server: ChatServer) -> None:
    conversation, first, run = await say(server, "one")
    second = await server.service.replies.send(ADA, Submission(None, conversation, "two"))
    assert await server.service.replies.stop(ADA, conversation, second.reply.id) == [second.reply.id]
    assert run.state == "running"
    assert [log.stream for log in server.service.subscriptions.logs(conversation)] == [first]


async def test_an_engine_that_breaks_leaves_the_text_so_far(server: ChatServer) -> None:
    conversation, reply, run = await say(server, "Hello")
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, conversation, heard)
    run.say("Half a")
    run.fail(EngineBrokeError("The engine went away. Try again."))
    message = await heard.ended(reply)
    assert (message.status, text_of(message.parts)) == ("interrupted", "Half a")
    assert message.detail == "The engine went away. Try again."


async def test_an_engine_that_says_nothing_is_an_error_not_an_answer(server: ChatServer) -> None:
    conversation, reply, run = await say(server, "Hello")
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, conversation, heard)
    run.finish()
    message = await heard.ended(reply)
    assert message.status == "interrupted"
    assert "said nothing" in (message.detail or "")


async def test_one_that_comes_to_its_limit_before_a_word_is_told_so(server: ChatServer) -> None:
    conversation, reply, run = await say(server, "Hello")
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, conversation, heard)
    run.finish("length")
    message = await heard.ended(reply)
    assert message.status == "interrupted"
    assert "limit of its tokens" in (message.detail or "")


async def test_regenerating_is_a_branch_beside_the_first(server: ChatServer) -> None:
    conversation, first = await exchange(server, "Hello", "Hi.")
    started = await server.service.replies.regenerate(ADA, conversation, first)
    run = await server.engine.asked()
    assert [text_of(turn.parts) for turn in run.request.turns] == ["Hello"]
    tree = await server.service.conversations.get(ADA, conversation)
    assert tree.conversation.head == started.reply.id
    assert tree.messages[started.reply.id].parent == tree.messages[first].parent
    shown = await server.service.conversations.show(ADA, conversation, first)
    assert shown.head == first


async def test_a_branch_that_there_is_not_is_not_shown(server: ChatServer) -> None:
    conversation, reply = await exchange(server, "Hello", "Hi.")
    question = (await server.service.conversations.get(ADA, conversation)).path()[0].id
    await server.service.conversations.rename(ADA, conversation, "Before")
    with pytest.raises(NotFoundError, match="no such message"):
        await server.service.conversations.show(ADA, conversation, "nothing")
    with pytest.raises(NotFoundError, match="no such message"):
        await server.service.conversations.rename_and_show(ADA, conversation, "After", "nothing")
    with pytest.raises(InvalidError):
        await server.service.conversations.rename_and_show(ADA, conversation, " ", question)
    kept = (await server.service.conversations.get(ADA, conversation)).conversation
    assert (kept.title, kept.head) == ("Before", reply)
    changed = await server.service.conversations.rename_and_show(ADA, conversation, "After", question)
    assert (changed.title, changed.head) == ("After", question)


async def test_editing_is_a_branch_with_a_reply_of_its_own(server: ChatServer) -> None:
    conversation, _ = await exchange(server, "Helo", "Hi.")
    tree = await server.service.conversations.get(ADA, conversation)
    question = tree.path()[0]
    started = await server.service.replies.edit(ADA, conversation, question.id, "Hello")
    run = await server.engine.asked()
    assert [text_of(turn.parts) for turn in run.request.turns] == ["Hello"]
    assert started.question is not None
    assert started.question.parent == question.parent


async def test_only_replies_are_regenerated_and_only_questions_edited(server: ChatServer) -> None:
    conversation, reply = await exchange(server, "Hello", "Hi.")
    question = (await server.service.conversations.get(ADA, conversation)).path()[0].id
    with pytest.raises(InvalidError):
        await server.service.replies.regenerate(ADA, conversation, question)
    with pytest.raises(InvalidError):
        await server.service.replies.edit(ADA, conversation, reply, "Ha")


async def test_everything_of_somebody_else_looks_as_if_it_were_not(server: ChatServer) -> None:
    conversation, reply = await exchange(server, "Hello", "Hi.")
    question = (await server.service.conversations.get(ADA, conversation)).path()[0].id

    async def attempts(conversation: str, message: str, stream: str) -> list[str]:
        service = server.service
        words = []
        for attempt in (
            lambda: service.conversations.get(BOB, conversation),
            lambda: service.conversations.rename(BOB, conversation, "mine"),
            lambda: service.conversations.show(BOB, conversation, message),
            lambda: service.conversations.delete(BOB, conversation),
            lambda: service.replies.send(BOB, Submission(None, conversation, "hi")),
            lambda: service.replies.regenerate(BOB, conversation, message),
            lambda: service.replies.edit(BOB, conversation, message, "hi"),
            lambda: service.replies.stop(BOB, conversation),
            lambda: service.subscriptions.follow(BOB, conversation, RecordingWatcher()),
            lambda: service.subscriptions.log(BOB, stream),
        ):
            with pytest.raises(NotFoundError) as refused:
                await attempt()  # type: ignore[no-untyped-call]
            words.append(str(refused.value))
        return words

    assert await attempts(conversation, question, reply) == await attempts("nobody's", "nothing", "none")
    assert await server.service.conversations.search(BOB, "Hello") == []
    assert await server.service.conversations.page(BOB) == []


async def test_deleting_stops_what_runs(server: ChatServer) -> None:
    conversation, reply, run = await say(server, "Hello")
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, conversation, heard)
    await server.service.conversations.delete(ADA, conversation)
    assert run.cancelled
    assert heard.deleted == [conversation]
    with pytest.raises(NotFoundError):
        await server.service.subscriptions.log(ADA, reply)


async def test_a_follower_gets_what_it_missed_and_then_what_comes(server: ChatServer) -> None:
    conversation, _ = await exchange(server, "one", "1")
    heard = RecordingWatcher()
    told, messages = await server.service.subscriptions.follow(ADA, conversation, heard, since=0)
    assert [text_of(each.parts) for each in messages] == ["one", "1"]
    _, last = await server.service.subscriptions.follow(ADA, conversation, RecordingWatcher(), told.revision)
    assert [text_of(each.parts) for each in last] == ["1"]
    await server.service.replies.send(ADA, Submission(None, conversation, "two"))
    await heard.until(lambda heard: bool(heard.logs))
    assert [text_of(each.parts) for each in heard.messages] == ["two", ""]
    assert len(heard.logs) == 1


async def test_a_sender_acts_on_the_result_before_anybody_is_told(server: ChatServer) -> None:
    """So an acknowledgement goes out before anything of the reply."""
    conversation, _ = await exchange(server, "one", "1")
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, conversation, heard)
    started = await server.service.replies.send(ADA, Submission(None, conversation, "two"))
    assert (heard.messages, heard.conversations, heard.logs) == ([], [], [])
    log = server.service.subscriptions.running_log(started.reply.id)
    assert log is not None
    assert log.next == 0
    later = RecordingWatcher()
    server.service.subscriptions.subscribe(ADA, conversation, later)
    await later.until(lambda heard: bool(heard.logs))
    for each in (heard, later):
        assert [text_of(message.parts) for message in each.messages] == ["two", ""]
        assert each.logs == [log]


async def test_a_finished_reply_can_be_followed_from_any_position(server: ChatServer) -> None:
    _, reply = await exchange(server, "one", "1")
    _, log = await server.service.subscriptions.log(ADA, reply)
    assert log.snapshot().text == "1"
    assert log.closed


@pytest.mark.parametrize("policy", ["cancel", "grace"])
async def test_nobody_watching_ends_a_reply_where_that_is_set(
    build: Callable[..., Awaitable[ChatServer]], policy: str
) -> None:
    server = await build(Assistant(name="default", on_unwatched=policy, grace_seconds=0.0))  # type: ignore[arg-type]
    conversation = (await server.service.conversations.create(ADA)).id
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, conversation, heard)
    _, reply, run = await say(server, "Hello", conversation)
    run.say("word")
    (log,) = server.service.subscriptions.logs(conversation)
    closed = asyncio.Event()
    log.subscribe(lambda: closed.set() if log.closed else None)
    server.service.subscriptions.unfollow(conversation, heard)
    await closed.wait()
    assert run.cancelled
    stored = await server.storage.message(reply)
    assert stored is not None
    assert stored.status == "stopped"


@pytest.mark.parametrize("policy", ["cancel", "grace"])
async def test_a_reply_that_nobody_ever_watched_ends_too(
    build: Callable[..., Awaitable[ChatServer]], policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abandonment, "ARRIVAL_SECONDS", 0.0)
    server = await build(Assistant(name="default", on_unwatched=policy, grace_seconds=0.0))  # type: ignore[arg-type]
    started = await server.service.replies.send(ADA, Submission(None, None, "Hello"))
    log = server.service.subscriptions.running_log(started.reply.id)
    assert log is not None
    closed = asyncio.Event()
    log.subscribe(lambda: closed.set() if log.closed else None)
    await closed.wait()
    assert log.end is not None
    assert log.end.reason == "stopped"


async def test_a_reply_that_somebody_comes_to_watch_goes_on(
    build: Callable[..., Awaitable[ChatServer]],
) -> None:
    server = await build(Assistant(name="default", on_unwatched="cancel"))
    conversation, reply, run = await say(server, "Hello")
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, conversation, heard)
    run.say("word")
    run.finish()
    assert (await heard.ended(reply)).status == "complete"


async def test_after_a_restart_viewers_have_the_time_to_come_back(
    build: Callable[..., Awaitable[ChatServer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await build(Assistant(name="default", on_unwatched="cancel"))
    conversation, reply, run = await say(server, "Hello")
    run.say("word ")
    await server.stop()
    monkeypatch.setattr(abandonment, "ARRIVAL_SECONDS", 0.0)
    await server.start()
    run = await server.engine.asked()
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, conversation, heard)
    run.say("by word")
    run.finish()
    assert text_of((await heard.ended(reply)).parts) == "word by word"


async def test_after_a_restart_nobody_comes_back(
    build: Callable[..., Awaitable[ChatServer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await build(Assistant(name="default", on_unwatched="grace", grace_seconds=0.0))
    monkeypatch.setattr(abandonment, "RETURN_SECONDS", 0.0)
    conversation = (await server.service.conversations.create(ADA)).id
    await server.service.subscriptions.follow(ADA, conversation, RecordingWatcher())
    _, reply, run = await say(server, "Hello", conversation)
    run.say("word")
    await server.stop()
    await server.start()
    await server.service.drain(10)
    stored = await server.storage.message(reply)
    assert stored is not None
    assert (stored.status, text_of(stored.parts)) == ("stopped", "word")


async def test_who_comes_back_within_the_grace_finds_the_reply_running(
    build: Callable[..., Awaitable[ChatServer]],
) -> None:
    server = await build(Assistant(name="default", on_unwatched="grace", grace_seconds=3600))
    conversation, reply, run = await say(server, "Hello")
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, conversation, heard)
    server.service.subscriptions.unfollow(conversation, heard)
    await server.service.subscriptions.follow(ADA, conversation, heard)
    run.say("word")
    run.finish()
    assert (await heard.ended(reply)).status == "complete"


async def test_by_default_a_reply_goes_on_unwatched(server: ChatServer) -> None:
    conversation, _, run = await say(server, "Hello")
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, conversation, heard)
    server.service.subscriptions.unfollow(conversation, heard)
    assert run.state == "running"


async def test_the_disclaimer_is_behind_every_reply_once(build: Callable[..., Awaitable[ChatServer]]) -> None:
    server = await build(Assistant(name="default", disclaimer="Ask a doctor."))
    conversation, reply, run = await say(server, "Hello")
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, conversation, heard)
    run.say("Rest.")
    run.finish()
    assert text_of((await heard.ended(reply)).parts) == "Rest.\n\nAsk a doctor."
    _, stopped, run = await say(server, "More", conversation)
    run.say("Sle")
    await server.service.replies.stop(ADA, conversation)
    assert text_of((await heard.ended(stopped)).parts) == "Sle\n\nAsk a doctor."


async def test_a_draining_server_takes_nothing_new_and_lets_the_old_end(server: ChatServer) -> None:
    conversation, reply, run = await say(server, "Hello")
    draining = asyncio.create_task(server.service.drain(3600))
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await server.service.replies.send(ADA, Submission(None, conversation, "more"))
    run.say("Done.")
    run.finish()
    await draining
    stored = await server.storage.message(reply)
    assert stored is not None
    assert stored.status == "complete"


async def test_unknown_assistants_and_parents_are_refused(server: ChatServer) -> None:
    with pytest.raises(InvalidError, match="default"):
        await server.service.conversations.create(ADA, "nobody")
    conversation, _ = await exchange(server, "one", "1")
    with pytest.raises(NotFoundError):
        await server.service.replies.send(ADA, Submission(None, conversation, "two", parent="nothing"))
