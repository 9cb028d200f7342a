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

from .conftest import ADA, BOB, Heard, House


async def say(
    house: House, text: str, conversation: str | None = None, key: str | None = None
) -> tuple[str, str, ScriptedGeneration]:
    """Send a message; its conversation, the reply's id, and the run that the engine was asked for."""
    begun = await house.service.replies.send(ADA, Submission(key, conversation, text))
    return begun.conversation.id, begun.reply.id, await house.engine.asked()


async def exchange(house: House, text: str, answer: str, conversation: str | None = None) -> tuple[str, str]:
    """A whole turn; the conversation and the reply's id."""
    heard = Heard()
    conversation, reply, run = await say(house, text, conversation)
    house.service.subscriptions.subscribe(ADA, conversation, heard)
    run.say(answer)
    run.finish()
    await heard.ended(reply)
    house.service.subscriptions.unfollow(conversation, heard)
    return conversation, reply


async def test_a_message_is_stored_before_its_reply_begins(house: House) -> None:
    begun = await house.service.replies.send(ADA, Submission("k", None, "Hello"))
    stored = await house.storage.messages(begun.conversation.id)
    assert [(m.role, m.status, text_of(m.parts)) for m in stored] == [
        ("user", "complete", "Hello"),
        ("assistant", "streaming", ""),
    ]


async def test_a_reply_is_told_word_by_word_and_stored_whole(house: House) -> None:
    conversation, reply, run = await say(house, "Hello")
    heard = Heard()
    await house.service.subscriptions.follow(ADA, conversation, heard)
    run.think("hm")
    run.say("Good ", "day.")
    (log,) = house.service.subscriptions.logs(conversation)
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
    assert await house.storage.message(reply) == message


async def test_what_looks_finished_is_stored(house: House) -> None:
    """The terminal event comes after the commit, never before."""
    conversation, reply, run = await say(house, "Hello")
    (log,) = house.service.subscriptions.logs(conversation)
    closed = asyncio.Event()
    log.subscribe(lambda: closed.set() if log.closed else None)
    run.say("Yes.")
    run.finish()
    await closed.wait()
    stored = await house.storage.message(reply)
    assert stored is not None
    assert stored.status == "complete"


async def test_the_first_message_gives_the_title(house: House) -> None:
    conversation, _ = await exchange(house, "Why is the sky blue?\nTell me.", "Rayleigh.")
    tree = await house.service.conversations.get(ADA, conversation)
    assert tree.conversation.title == "Why is the sky blue?"


async def test_the_engine_reads_the_history(build: Callable[..., Awaitable[House]]) -> None:
    house = await build(Assistant(name="default", system="Be brief.", history=3))
    conversation, _ = await exchange(house, "one", "1")
    await exchange(house, "two", "2", conversation)
    _, _, run = await say(house, "three", conversation)
    assert run.request.turns == (
        Turn("system", (TextPart("Be brief."),)),
        Turn("user", (TextPart("two"),)),
        Turn("assistant", (TextPart("2"),)),
        Turn("user", (TextPart("three"),)),
    )
    assert run.request.conversation == conversation
    assert run.request.user == "ada"


async def test_sent_twice_it_is_one_message_and_one_reply(house: House) -> None:
    first = await house.service.replies.send(ADA, Submission("key", None, "Hello"))
    again = await house.service.replies.send(ADA, Submission("key", None, "Hello"))
    assert again.duplicate
    assert (again.conversation.id, again.reply.id) == (first.conversation.id, first.reply.id)
    assert len(await house.service.conversations.page(ADA)) == 1


async def test_sent_a_hundred_times_at_once_it_is_one_reply(house: House) -> None:
    begun = await asyncio.gather(
        *(house.service.replies.send(ADA, Submission("key", None, "Hello")) for _ in range(100))
    )
    assert sum(not each.duplicate for each in begun) == 1
    assert len({each.reply.id for each in begun}) == 1
    await house.engine.asked()
    assert len(house.engine.requests) == 1


async def test_the_same_key_with_another_body_is_an_error(house: House) -> None:
    await house.service.replies.send(ADA, Submission("key", None, "Hello"))
    with pytest.raises(ConflictError):
        await house.service.replies.send(ADA, Submission("key", None, "Something else"))


async def test_the_same_key_of_somebody_else_is_another_message(house: House) -> None:
    one = await house.service.replies.send(ADA, Submission("key", None, "Hello"))
    other = await house.service.replies.send(BOB, Submission("key", None, "Hello"))
    assert one.reply.id != other.reply.id


async def test_stop_reaches_the_engine_and_keeps_the_text(house: House) -> None:
    conversation, reply, run = await say(house, "Hello")
    run.say("So ", "far")
    assert await house.service.replies.stop(ADA, conversation) == [reply]
    assert run.cancelled
    stored = await house.storage.message(reply)
    assert stored is not None
    assert (stored.status, text_of(stored.parts)) == ("stopped", "So far")
    assert await house.service.replies.stop(ADA, conversation) == []


async def test_stop_at_any_moment_ends_the_reply_once(house: House) -> None:
    """Before the engine was asked, between words, and at the finish."""
    for turns in range(12):
        begun = await house.service.replies.send(ADA, Submission(None, None, "Hello"))
        conversation = begun.conversation.id
        (log,) = house.service.subscriptions.logs(conversation)
        ending = asyncio.create_task(house.service.replies.stop(ADA, conversation))
        for _ in range(turns):
            await asyncio.sleep(0)
        if house.engine.runs and house.engine.runs[-1].state == "running":
            house.engine.runs[-1].say("word")
            house.engine.runs[-1].finish()
        await ending
        assert log.closed
        assert sum(isinstance(event, Finished | Failed) for event in log.since(0).events) == 1
        stored = await house.storage.message(begun.reply.id)
        assert stored is not None
        assert stored.status in ("stopped", "complete")


async def test_replies_of_one_conversation_come_one_after_the_other(house: House) -> None:
    conversation, first, run = await say(house, "one")
    second = await house.service.replies.send(ADA, Submission(None, conversation, "two"))
    logs = house.service.subscriptions.logs(conversation)
    assert [log.stream for log in logs] == [first, second.reply.id]
    assert logs[1].snapshot().state is not None
    assert logs[1].snapshot().state.phase == "queued"  # type: ignore[union-attr]
    run.say("1")
    run.finish()
    following = await house.engine.asked()
    assert [text_of(turn.parts) for turn in following.request.turns] == ["one", "1", "two"]


async def test_stopping_one_that_waits_leaves_the_one_that_runs(house: House) -> None:
    conversation, first, run = await say(house, "one")
    second = await house.service.replies.send(ADA, Submission(None, conversation, "two"))
    assert await house.service.replies.stop(ADA, conversation, second.reply.id) == [second.reply.id]
    assert run.state == "running"
    assert [log.stream for log in house.service.subscriptions.logs(conversation)] == [first]


async def test_an_engine_that_breaks_leaves_the_text_so_far(house: House) -> None:
    conversation, reply, run = await say(house, "Hello")
    heard = Heard()
    await house.service.subscriptions.follow(ADA, conversation, heard)
    run.say("Half a")
    run.fail(EngineBrokeError("The engine went away. Try again."))
    message = await heard.ended(reply)
    assert (message.status, text_of(message.parts)) == ("interrupted", "Half a")
    assert message.detail == "The engine went away. Try again."


async def test_an_engine_that_says_nothing_is_an_error_not_an_answer(house: House) -> None:
    conversation, reply, run = await say(house, "Hello")
    heard = Heard()
    await house.service.subscriptions.follow(ADA, conversation, heard)
    run.finish()
    message = await heard.ended(reply)
    assert message.status == "interrupted"
    assert "said nothing" in (message.detail or "")


async def test_one_that_comes_to_its_limit_before_a_word_is_told_so(house: House) -> None:
    conversation, reply, run = await say(house, "Hello")
    heard = Heard()
    await house.service.subscriptions.follow(ADA, conversation, heard)
    run.finish("length")
    message = await heard.ended(reply)
    assert message.status == "interrupted"
    assert "limit of its tokens" in (message.detail or "")


async def test_regenerating_is_a_branch_beside_the_first(house: House) -> None:
    conversation, first = await exchange(house, "Hello", "Hi.")
    begun = await house.service.replies.regenerate(ADA, conversation, first)
    run = await house.engine.asked()
    assert [text_of(turn.parts) for turn in run.request.turns] == ["Hello"]
    tree = await house.service.conversations.get(ADA, conversation)
    assert tree.conversation.head == begun.reply.id
    assert tree.messages[begun.reply.id].parent == tree.messages[first].parent
    shown = await house.service.conversations.show(ADA, conversation, first)
    assert shown.head == first


async def test_a_branch_that_there_is_not_is_not_shown(house: House) -> None:
    conversation, reply = await exchange(house, "Hello", "Hi.")
    question = (await house.service.conversations.get(ADA, conversation)).path()[0].id
    await house.service.conversations.rename(ADA, conversation, "Before")
    with pytest.raises(NotFoundError, match="no such message"):
        await house.service.conversations.show(ADA, conversation, "nothing")
    with pytest.raises(NotFoundError, match="no such message"):
        await house.service.conversations.rename_and_show(ADA, conversation, "After", "nothing")
    with pytest.raises(InvalidError):
        await house.service.conversations.rename_and_show(ADA, conversation, " ", question)
    kept = (await house.service.conversations.get(ADA, conversation)).conversation
    assert (kept.title, kept.head) == ("Before", reply)
    changed = await house.service.conversations.rename_and_show(ADA, conversation, "After", question)
    assert (changed.title, changed.head) == ("After", question)


async def test_editing_is_a_branch_with_a_reply_of_its_own(house: House) -> None:
    conversation, _ = await exchange(house, "Helo", "Hi.")
    tree = await house.service.conversations.get(ADA, conversation)
    question = tree.path()[0]
    begun = await house.service.replies.edit(ADA, conversation, question.id, "Hello")
    run = await house.engine.asked()
    assert [text_of(turn.parts) for turn in run.request.turns] == ["Hello"]
    assert begun.question is not None
    assert begun.question.parent == question.parent


async def test_only_replies_are_regenerated_and_only_questions_edited(house: House) -> None:
    conversation, reply = await exchange(house, "Hello", "Hi.")
    question = (await house.service.conversations.get(ADA, conversation)).path()[0].id
    with pytest.raises(InvalidError):
        await house.service.replies.regenerate(ADA, conversation, question)
    with pytest.raises(InvalidError):
        await house.service.replies.edit(ADA, conversation, reply, "Ha")


async def test_everything_of_somebody_else_looks_as_if_it_were_not(house: House) -> None:
    conversation, reply = await exchange(house, "Hello", "Hi.")
    question = (await house.service.conversations.get(ADA, conversation)).path()[0].id

    async def attempts(conversation: str, message: str, stream: str) -> list[str]:
        service = house.service
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
            lambda: service.subscriptions.follow(BOB, conversation, Heard()),
            lambda: service.subscriptions.log(BOB, stream),
        ):
            with pytest.raises(NotFoundError) as refused:
                await attempt()  # type: ignore[no-untyped-call]
            words.append(str(refused.value))
        return words

    assert await attempts(conversation, question, reply) == await attempts("nobody's", "nothing", "none")
    assert await house.service.conversations.search(BOB, "Hello") == []
    assert await house.service.conversations.page(BOB) == []


async def test_deleting_stops_what_runs(house: House) -> None:
    conversation, reply, run = await say(house, "Hello")
    heard = Heard()
    await house.service.subscriptions.follow(ADA, conversation, heard)
    await house.service.conversations.delete(ADA, conversation)
    assert run.cancelled
    assert heard.deleted == [conversation]
    with pytest.raises(NotFoundError):
        await house.service.subscriptions.log(ADA, reply)


async def test_a_follower_gets_what_it_missed_and_then_what_comes(house: House) -> None:
    conversation, _ = await exchange(house, "one", "1")
    heard = Heard()
    told, messages = await house.service.subscriptions.follow(ADA, conversation, heard, since=0)
    assert [text_of(each.parts) for each in messages] == ["one", "1"]
    _, last = await house.service.subscriptions.follow(ADA, conversation, Heard(), told.revision)
    assert [text_of(each.parts) for each in last] == ["1"]
    await house.service.replies.send(ADA, Submission(None, conversation, "two"))
    await heard.until(lambda heard: bool(heard.logs))
    assert [text_of(each.parts) for each in heard.messages] == ["two", ""]
    assert len(heard.logs) == 1


async def test_a_sender_acts_on_the_result_before_anybody_is_told(house: House) -> None:
    """So an acknowledgement goes out before anything of the reply."""
    conversation, _ = await exchange(house, "one", "1")
    heard = Heard()
    await house.service.subscriptions.follow(ADA, conversation, heard)
    started = await house.service.replies.send(ADA, Submission(None, conversation, "two"))
    assert (heard.messages, heard.conversations, heard.logs) == ([], [], [])
    log = house.service.subscriptions.running_log(started.reply.id)
    assert log is not None
    assert log.next == 0
    later = Heard()
    house.service.subscriptions.subscribe(ADA, conversation, later)
    await later.until(lambda heard: bool(heard.logs))
    for each in (heard, later):
        assert [text_of(message.parts) for message in each.messages] == ["two", ""]
        assert each.logs == [log]


async def test_a_finished_reply_can_be_followed_from_any_position(house: House) -> None:
    _, reply = await exchange(house, "one", "1")
    _, log = await house.service.subscriptions.log(ADA, reply)
    assert log.snapshot().text == "1"
    assert log.closed


@pytest.mark.parametrize("policy", ["cancel", "grace"])
async def test_nobody_watching_ends_a_reply_where_that_is_set(
    build: Callable[..., Awaitable[House]], policy: str
) -> None:
    house = await build(Assistant(name="default", on_unwatched=policy, grace_seconds=0.0))  # type: ignore[arg-type]
    conversation = (await house.service.conversations.create(ADA)).id
    heard = Heard()
    await house.service.subscriptions.follow(ADA, conversation, heard)
    _, reply, run = await say(house, "Hello", conversation)
    run.say("word")
    (log,) = house.service.subscriptions.logs(conversation)
    closed = asyncio.Event()
    log.subscribe(lambda: closed.set() if log.closed else None)
    house.service.subscriptions.unfollow(conversation, heard)
    await closed.wait()
    assert run.cancelled
    stored = await house.storage.message(reply)
    assert stored is not None
    assert stored.status == "stopped"


@pytest.mark.parametrize("policy", ["cancel", "grace"])
async def test_a_reply_that_nobody_ever_watched_ends_too(
    build: Callable[..., Awaitable[House]], policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abandonment, "ARRIVAL_SECONDS", 0.0)
    house = await build(Assistant(name="default", on_unwatched=policy, grace_seconds=0.0))  # type: ignore[arg-type]
    begun = await house.service.replies.send(ADA, Submission(None, None, "Hello"))
    log = house.service.subscriptions.running_log(begun.reply.id)
    assert log is not None
    closed = asyncio.Event()
    log.subscribe(lambda: closed.set() if log.closed else None)
    await closed.wait()
    assert log.end is not None
    assert log.end.reason == "stopped"


async def test_a_reply_that_somebody_comes_to_watch_goes_on(build: Callable[..., Awaitable[House]]) -> None:
    house = await build(Assistant(name="default", on_unwatched="cancel"))
    conversation, reply, run = await say(house, "Hello")
    heard = Heard()
    await house.service.subscriptions.follow(ADA, conversation, heard)
    run.say("word")
    run.finish()
    assert (await heard.ended(reply)).status == "complete"


async def test_after_a_restart_viewers_have_the_time_to_come_back(
    build: Callable[..., Awaitable[House]], monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await build(Assistant(name="default", on_unwatched="cancel"))
    conversation, reply, run = await say(house, "Hello")
    run.say("word ")
    await house.stop()
    monkeypatch.setattr(abandonment, "ARRIVAL_SECONDS", 0.0)
    await house.start()
    run = await house.engine.asked()
    heard = Heard()
    await house.service.subscriptions.follow(ADA, conversation, heard)
    run.say("by word")
    run.finish()
    assert text_of((await heard.ended(reply)).parts) == "word by word"


async def test_after_a_restart_nobody_comes_back(
    build: Callable[..., Awaitable[House]], monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await build(Assistant(name="default", on_unwatched="grace", grace_seconds=0.0))
    monkeypatch.setattr(abandonment, "RETURN_SECONDS", 0.0)
    conversation = (await house.service.conversations.create(ADA)).id
    await house.service.subscriptions.follow(ADA, conversation, Heard())
    _, reply, run = await say(house, "Hello", conversation)
    run.say("word")
    await house.stop()
    await house.start()
    await house.service.drain(10)
    stored = await house.storage.message(reply)
    assert stored is not None
    assert (stored.status, text_of(stored.parts)) == ("stopped", "word")


async def test_who_comes_back_within_the_grace_finds_the_reply_running(
    build: Callable[..., Awaitable[House]],
) -> None:
    house = await build(Assistant(name="default", on_unwatched="grace", grace_seconds=3600))
    conversation, reply, run = await say(house, "Hello")
    heard = Heard()
    await house.service.subscriptions.follow(ADA, conversation, heard)
    house.service.subscriptions.unfollow(conversation, heard)
    await house.service.subscriptions.follow(ADA, conversation, heard)
    run.say("word")
    run.finish()
    assert (await heard.ended(reply)).status == "complete"


async def test_by_default_a_reply_goes_on_unwatched(house: House) -> None:
    conversation, _, run = await say(house, "Hello")
    heard = Heard()
    await house.service.subscriptions.follow(ADA, conversation, heard)
    house.service.subscriptions.unfollow(conversation, heard)
    assert run.state == "running"


async def test_the_disclaimer_is_behind_every_reply_once(build: Callable[..., Awaitable[House]]) -> None:
    house = await build(Assistant(name="default", disclaimer="Ask a doctor."))
    conversation, reply, run = await say(house, "Hello")
    heard = Heard()
    await house.service.subscriptions.follow(ADA, conversation, heard)
    run.say("Rest.")
    run.finish()
    assert text_of((await heard.ended(reply)).parts) == "Rest.\n\nAsk a doctor."
    _, stopped, run = await say(house, "More", conversation)
    run.say("Sle")
    await house.service.replies.stop(ADA, conversation)
    assert text_of((await heard.ended(stopped)).parts) == "Sle\n\nAsk a doctor."


async def test_a_draining_server_takes_nothing_new_and_lets_the_old_end(house: House) -> None:
    conversation, reply, run = await say(house, "Hello")
    draining = asyncio.create_task(house.service.drain(3600))
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await house.service.replies.send(ADA, Submission(None, conversation, "more"))
    run.say("Done.")
    run.finish()
    await draining
    stored = await house.storage.message(reply)
    assert stored is not None
    assert stored.status == "complete"


async def test_unknown_assistants_and_parents_are_refused(house: House) -> None:
    with pytest.raises(InvalidError, match="default"):
        await house.service.conversations.create(ADA, "nobody")
    conversation, _ = await exchange(house, "one", "1")
    with pytest.raises(NotFoundError):
        await house.service.replies.send(ADA, Submission(None, conversation, "two", parent="nothing"))
