"""Whatever an engine, a watcher or a database does, a reply has one end, and it is kept."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import pytest

from legato.chat import runner, running_replies
from legato.chat.reply import PIECE
from legato.domain.message import Message, text_of
from legato.domain.submission import Submission
from legato.engines.base import Outcome, Request
from legato.errors import EngineBrokeError, StorageError
from legato.storage.base import ReplyOwner, TurnStarted
from legato.stream import Finished, Log, Reasoning, Span, State, Text

from .conftest import ADA, ChatServer, RecordingWatcher

Build = Callable[..., Awaitable[ChatServer]]


async def ask(
    server: ChatServer, conversation: str | None = None
) -> tuple[RecordingWatcher, TurnStarted, Log]:
    """Send something, and follow what becomes of it."""
    started = await server.service.replies.send(ADA, Submission(None, conversation, "Hello"))
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, started.conversation.id, heard)
    log = server.service.subscriptions.running_log(started.reply.id)
    assert log is not None
    return heard, started, log


async def stored(server: ChatServer, reply: str) -> Message:
    message = await server.storage.message(reply)
    assert message is not None
    return message


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("a\0b", "a\ufffdb"),
        ("half \ud83d", "half \ufffd"),
        ("\udc00", "\ufffd"),
        ("a pair \ud83d\ude00", "a pair 😀"),
        ("\u202eרטל\r\n\x1b[31m", "\u202eרטל\r\n\x1b[31m"),
        ("😀" * 100, "😀" * 100),
    ],
)
async def test_whatever_characters_a_model_writes_the_reply_ends_and_is_kept(
    server: ChatServer, said: str, kept: str
) -> None:
    heard, started, log = await ask(server)
    run = await server.engine.asked()
    run.think("thinks " + said)
    run.say(said)
    run.finish()
    message = await heard.ended(started.reply.id)
    assert (message.status, text_of(message.parts)) == ("complete", kept)
    assert message.reasoning == "thinks " + kept
    assert log.snapshot().text == kept
    assert await stored(server, started.reply.id) == message


async def test_what_an_engine_calls_itself_is_kept_as_a_database_takes_it(server: ChatServer) -> None:
    heard, started, _ = await ask(server)
    run = await server.engine.asked()
    run.out.state(State("answering", model="mo\0del", agent="a\ud800", detail="de\0tail"))
    run.say("Hello.")
    run.fail(EngineBrokeError("It said \0 and \ud800."))
    message = await heard.ended(started.reply.id)
    assert (message.status, message.model) == ("interrupted", "mo\ufffddel")
    assert message.detail == "It said \ufffd and \ufffd."
    assert text_of(message.parts) == "Hello."


async def test_a_very_long_piece_comes_in_events_of_a_bounded_size(server: ChatServer) -> None:
    text = "".join(chr(0x1F600 + n % 60) for n in range(3 * PIECE + 7))
    heard, started, log = await ask(server)
    run = await server.engine.asked()
    run.think(text)
    run.say(text)
    run.finish()
    assert text_of((await heard.ended(started.reply.id)).parts) == text
    events = [event for at in range(log.next) for event in log.since(at, 1).events]
    assert max(len(event.text) for event in events if isinstance(event, Text | Reasoning)) == PIECE
    _, again = await server.service.subscriptions.log(ADA, started.reply.id)
    assert again.snapshot().text == text


class Broken:
    """An engine with a bug: it does what it is given."""

    name = "broken"

    def __init__(self, server: ChatServer, does: Callable[[Request], Awaitable[Outcome]]) -> None:
        self._does = does
        self._house = server

    async def generate(self, request: Request, out: object) -> Outcome:
        out.text("So far")  # type: ignore[attr-defined]
        return await self._does(request)


async def _raises(request: Request) -> Outcome:
    raise ZeroDivisionError


async def _cancels_itself(request: Request) -> Outcome:
    inner = asyncio.create_task(asyncio.Event().wait())
    inner.cancel()
    await inner
    return Outcome("stop", "m")


async def _returns_nonsense(request: Request) -> Outcome:
    return None  # type: ignore[return-value]


@pytest.mark.parametrize("does", [_raises, _cancels_itself, _returns_nonsense])
async def test_a_bug_in_an_engine_ends_its_reply_honestly(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, does: Callable[[Request], Awaitable[Outcome]]
) -> None:
    broken = Broken(server, does)
    monkeypatch.setattr(server.engine, "generate", broken.generate)
    heard, started, log = await ask(server)
    message = await heard.ended(started.reply.id)
    assert message.status == "interrupted"
    assert text_of(message.parts) == "So far"
    assert "log" in (message.detail or "")
    assert log.closed
    assert server.service.replies.running == 0


async def test_an_engine_that_does_not_stop_at_once_adds_nothing_behind_the_stop(server: ChatServer) -> None:
    _, started, log = await ask(server)
    run = await server.engine.asked()
    run.hold()
    run.say("So far")
    stopping = asyncio.create_task(server.service.replies.stop(ADA, started.conversation.id))
    while not run.cancelled:
        await asyncio.sleep(0)
    run.out.text(", and on and on")
    run.release()
    assert await stopping == [started.reply.id]
    assert log.snapshot().text == "So far"
    assert text_of((await stored(server, started.reply.id)).parts) == "So far"


async def test_an_engine_that_swallows_its_cancellation_is_stopped_all_the_same(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def stubborn(request: Request, out: object) -> Outcome:
        out.text("So far")  # type: ignore[attr-defined]
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return Outcome("stop", "m")
        raise AssertionError

    monkeypatch.setattr(server.engine, "generate", stubborn)
    _, started, log = await ask(server)
    await asked.wait()
    assert await server.service.replies.stop(ADA, started.conversation.id) == [started.reply.id]
    assert isinstance(log.end, Finished)
    assert log.end.reason == "stopped"
    assert (await stored(server, started.reply.id)).status == "stopped"


async def test_stopping_a_line_starts_none_of_those_who_wait(server: ChatServer) -> None:
    heard, first, _ = await ask(server)
    run = await server.engine.asked()
    run.hold()
    later = [await ask(server, first.conversation.id) for _ in range(3)]
    stopping = asyncio.create_task(server.service.replies.stop(ADA, first.conversation.id))
    for _, started, _ in later:
        assert text_of((await heard.ended(started.reply.id)).parts) == ""
    run.release()
    assert len(await stopping) == 4
    assert len(server.engine.requests) == 1


async def test_what_ended_by_itself_was_not_stopped(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, started, _ = await ask(server)
    finish, recording, may = server.storage.finish, asyncio.Event(), asyncio.Event()

    async def slow(message: Message, owner: ReplyOwner, now: datetime) -> Message | None:
        recording.set()
        await may.wait()
        return await finish(message, owner, now)

    monkeypatch.setattr(server.storage, "finish", slow)
    run = await server.engine.asked()
    run.say("Done.")
    run.finish()
    await recording.wait()
    stopping = asyncio.create_task(server.service.replies.stop(ADA, started.conversation.id))
    may.set()
    assert await stopping == []
    assert (await stored(server, started.reply.id)).status == "complete"


async def test_a_watcher_that_fails_harms_nobody(
    server: ChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    class Raising(RecordingWatcher):
        def on_message(self, message: Message) -> None:
            raise ZeroDivisionError

        def on_stream(self, log: Log) -> None:
            raise ZeroDivisionError

    _, first, _ = await ask(server)
    run = await server.engine.asked()
    server.service.subscriptions.subscribe(ADA, first.conversation.id, Raising())
    heard, started, _ = await ask(server, first.conversation.id)
    run.say("One")
    run.finish()
    assert text_of((await heard.ended(first.reply.id)).parts) == "One"
    run = await server.engine.asked()
    run.say("Two")
    run.finish()
    assert text_of((await heard.ended(started.reply.id)).parts) == "Two"
    assert "A watcher of conversation" in caplog.text


async def test_a_reply_runs_whatever_becomes_of_its_acknowledgement(server: ChatServer) -> None:
    async def send() -> None:
        await server.service.replies.send(ADA, Submission(None, None, "Hello"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await send()
    (await server.engine.asked()).finish()
    (conversation,) = await server.service.conversations.page(ADA)
    await server.service.drain(10)
    _, reply = await server.storage.messages(conversation.id)
    assert reply.status == "interrupted"


async def test_an_end_that_cannot_be_stored_still_ends_the_stream(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug below must not leave viewers before a stream that never ends."""

    async def broken(message: Message, now: object) -> Message | None:
        raise ZeroDivisionError

    monkeypatch.setattr(server.storage, "finish", broken)
    _, started, log = await ask(server)
    run = await server.engine.asked()
    run.say("So far")
    run.finish()
    await server.service.drain(10)
    assert log.closed
    assert (log.snapshot().text, getattr(log.end, "code", None)) == ("So far", "internal")
    assert f"The turn of reply {started.reply.id} failed" in caplog.text


async def test_a_reply_that_no_database_takes_is_stored_without_its_words(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be written for ever."""
    finish = server.storage.finish

    async def picky(message: Message, owner: ReplyOwner, now: datetime) -> Message | None:
        if message.parts:
            raise ValueError("There is something odd in it.")
        return await finish(message, owner, now)

    monkeypatch.setattr(server.storage, "finish", picky)
    _, started, log = await ask(server)
    run = await server.engine.asked()
    run.say("So far")
    run.finish()
    await server.service.drain(10)
    assert (log.snapshot().text, getattr(log.end, "code", None)) == ("So far", "internal")
    stored = await server.storage.message(started.reply.id)
    assert stored is not None
    assert (stored.status, stored.parts) == ("interrupted", ())
    assert "Ask again" in (stored.detail or "")


async def test_a_stop_before_the_engine_was_asked_ends_a_reply_that_was_cut_off(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken up after a restart, while it is being asked whether the engine can go on."""
    server = await build()
    _, started, _ = await ask(server)
    (await server.engine.asked()).say("So far")
    await server.stop()

    asked, never = asyncio.Event(), asyncio.Event()

    async def silent(model: str) -> object:
        asked.set()
        return await never.wait()

    monkeypatch.setattr(server.engine, "capabilities", silent)
    await server.start()
    heard = RecordingWatcher()
    await server.service.subscriptions.follow(ADA, started.conversation.id, heard)
    await asked.wait()
    assert await server.service.replies.stop(ADA, started.conversation.id) == [started.reply.id]
    message = await stored(server, started.reply.id)
    assert (message.status, text_of(message.parts)) == ("stopped", "So far")


async def test_a_server_ends_though_a_stopped_reply_cannot_be_stored(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LEAVE_SECONDS", 0.05)
    server = await build()
    _, started, _ = await ask(server)
    (await server.engine.asked()).say("So far")
    trying = asyncio.Event()

    async def locked(message: Message, owner: ReplyOwner, now: object) -> Message | None:
        trying.set()
        raise StorageError("Locked.")

    with monkeypatch.context() as patched:
        patched.setattr(server.storage, "finish", locked)
        stopping = asyncio.create_task(server.service.replies.stop(ADA, started.conversation.id))
        await trying.wait()
        await server.stop()
        await stopping
    await server.start()
    # The stop itself was stored: the next server ends the reply, and does not go on with it.
    await server.service.drain(10)
    message = await server.storage.message(started.reply.id)
    assert message is not None
    assert (message.status, text_of(message.parts)) == ("stopped", "So far")


async def test_who_stops_a_reply_is_told_where_it_cannot_be_stored_yet(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_replies, "STORED_SECONDS", 0.05)
    server = await build()
    heard, started, _ = await ask(server)
    run = await server.engine.asked()
    run.say("So far")

    async def locked(message: Message, owner: ReplyOwner, now: object) -> Message | None:
        raise StorageError("Locked.")

    with monkeypatch.context() as patched:
        patched.setattr(server.storage, "finish", locked)
        with pytest.raises(StorageError, match="was stopped, but"):
            await server.service.replies.stop(ADA, started.conversation.id)
        assert run.cancelled
    assert (await heard.ended(started.reply.id)).status == "stopped"


async def test_an_engine_that_never_stops_does_not_keep_the_server(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LEAVE_SECONDS", 0.05)
    server = await build()
    _, started, _ = await ask(server)
    run = await server.engine.asked()
    run.hold()
    run.say("So far")
    await server.stop()
    run.release()
    await run.left()
    await server.start()
    assert (await server.engine.asked()).request.prefix == "So far"
    assert (await stored(server, started.reply.id)).status == "streaming"


async def test_the_text_of_a_reply_in_line_is_told_when_its_turn_comes(server: ChatServer) -> None:
    heard, first, _ = await ask(server)
    _, second, log = await ask(server, first.conversation.id)
    assert log.since(0).events == [State("queued", place=1)]
    run = await server.engine.asked()
    run.say("One")
    run.finish()
    run = await server.engine.asked()
    run.say("Two")
    run.finish()
    await heard.ended(second.reply.id)
    assert Text("Two") in log.since(0).events


async def test_who_wrote_which_span_is_kept(server: ChatServer) -> None:
    heard, started, _ = await ask(server)
    run = await server.engine.asked()
    run.out.state(State("reading", model="m", agent="left"))
    run.say("one ", "two ")
    run.out.state(State("reading", model="m", agent="right"))
    run.say("three")
    run.finish()
    message = await heard.ended(started.reply.id)
    assert message.spans == (Span(0, 8, "m", "left"), Span(8, 13, "m", "right"))
    assert (await stored(server, started.reply.id)).spans == message.spans


async def test_where_the_model_says_it_all_there_are_no_spans(server: ChatServer) -> None:
    heard, started, _ = await ask(server)
    run = await server.engine.asked()
    run.say("one")
    run.finish()
    assert (await heard.ended(started.reply.id)).spans == ()


async def test_to_a_mark_what_is_behind_it_is_taken_back_however_long_it_was(server: ChatServer) -> None:
    heard, started, log = await ask(server)
    run = await server.engine.asked()
    run.out.state(State("reading", model="m", agent="left"))
    run.say("one ")
    mark = run.out.mark()
    run.out.state(State("reading", model="m", agent="right"))
    run.say("poison ", "poison ")
    log.compact(log.next)
    assert run.out.rewind(mark)
    run.out.state(State("reading", model="m", agent="last"))
    run.say("two")
    run.finish()
    message = await heard.ended(started.reply.id)
    assert (text_of(message.parts), message.status) == ("one two", "complete")
    assert message.spans == (Span(0, 4, "m", "left"), Span(4, 7, "m", "last"))
