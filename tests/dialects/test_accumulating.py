"""`/ws/assistant` as its own clients meet it: whole servers, plain sockets."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.server import calling
from websockets.exceptions import ConnectionClosed

from legato.dialects.accumulating import frames
from legato.dialects.accumulating.retention import RETENTION_SECONDS, Retention
from legato.errors import EngineBrokeError, EngineRefusedError, ModelNotFoundError
from legato.stream import Batch, Failed, Finished, Log, Reasoning, ReplySnapshot, State, Text
from legato.testing.engine import ScriptedEngine

from .clients.accumulating import ORDER, Answer, accumulating
from .serving import AUTH, token

Serve = Callable[..., Any]


async def test_a_reply_is_six_kinds_of_frames_in_their_order(serve: Serve) -> None:
    async with serve() as server, accumulating(server.address) as client:
        answer = await client.ask("one two three")
        assert tuple(answer.kinds) == ORDER
        assert answer.bubble == "one two three"
        chunk = answer.chunks[-1]
        assert list(chunk) == ["type", "role", "content", "accumulated_content", "model_used", "timestamp"]
        assert (chunk["role"], chunk["model_used"]) == ("assistant", "demo:echo")
        assert "".join(each["content"] for each in answer.chunks) == chunk["accumulated_content"]
        complete = answer.first("message_complete")
        assert (complete["content"], complete["model_used"]) == ("one two three", "demo:echo")
        assert complete["timing_ms"] == complete["timing"]["total_ms"] > 0
        assert answer.first("message_received")["session_id"] == complete["session_id"]
        for frame in answer.frames:
            assert frame["timestamp"].endswith("Z")
            assert datetime.fromisoformat(frame["timestamp"]).microsecond % 1000 == 0


async def test_text_may_be_in_message_and_unknown_fields_are_ignored(serve: Serve) -> None:
    async with serve() as server, accumulating(server.address) as client:
        await client.socket.send(json.dumps({"type": "message", "message": "Hello", "mood": {"a": [1]}}))
        assert (await client.answer()).bubble == "Hello"


async def test_a_chunk_repeats_the_text_before_it(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, accumulating(server.address) as client:
        await client.say("Hello")
        run = await engine.asked()
        seen = []
        for word in ("One ", "two ", "three"):
            run.say(word)
            seen.append(await client.until("message_chunk"))
        run.finish()
        assert [chunk["accumulated_content"] for chunk in seen] == ["One ", "One two ", "One two three"]
        assert (await client.answer()).bubble == "One two three"


async def test_a_named_session_keeps_its_context(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server:
        async with accumulating(server.address) as client:
            await client.say("I am Ada.", session_id="s-1")
            run = await engine.asked()
            run.say("Hello Ada.")
            run.finish()
            await client.answer()
            assert client.session == "s-1"
        async with accumulating(server.address, session_id="s-1") as client:
            await client.say("Who am I?")
            run = await engine.asked()
            said = [turn.parts[0].text for turn in run.request.turns]  # type: ignore[union-attr]
            assert said == ["I am Ada.", "Hello Ada.", "Who am I?"]


async def test_the_model_reads_the_last_twenty_messages(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, accumulating(server.address) as client:
        for n in range(12):
            await client.say(f"question {n}")
            run = await engine.asked()
            run.say("yes")
            run.finish()
            await client.answer()
        # The first of the last twenty is an answer, so its question comes too: templates demand that a user speaks first.
        assert len(run.request.turns) == 21
        assert run.request.turns[0].role == "user"
        assert run.request.turns[-1].parts[0].text == "question 11"  # type: ignore[union-attr]


async def test_the_session_of_a_frame_overrides_that_of_the_query(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server, accumulating(server.address, session_id="one") as client:
        await client.say("first")
        await client.say("second", session_id="two")
        for word in ("answer one", "answer two"):
            run = await engine.asked()
            run.say(word)
            run.finish()
        one, two = await client.answer(), await client.answer()
        assert (one.bubble, one.first("message_received")["session_id"]) == ("answer one", "one")
        assert (two.bubble, two.first("message_received")["session_id"]) == ("answer two", "two")
        await client.say("third")
        assert (await client.until("message_received"))["session_id"] == "two"


async def test_two_messages_at_once_are_two_replies_that_do_not_mix(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server, accumulating(server.address) as client:
        await client.say("first")
        await client.say("second")
        for word in ("answer one", "answer two"):
            run = await engine.asked()
            run.say(word)
            run.finish()
        answers = [await client.answer(), await client.answer()]
        assert [tuple(answer.kinds) for answer in answers] == [ORDER, ORDER]
        assert [answer.bubble for answer in answers] == ["answer one", "answer two"]


async def test_a_failure_is_one_sentence_and_the_typing_stops(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, accumulating(server.address) as client:
        await client.say("Hello")
        (await engine.asked()).fail(EngineRefusedError("The model is too large. Take a smaller one."))
        answer = await client.answer()
        assert answer.kinds == ["message_received", "typing_start", "error", "typing_stop"]
        assert answer.first("error")["message"] == "The model is too large. Take a smaller one."
        await client.say("Again")
        run = await engine.asked()
        run.say("Half an ans")
        await client.until("message_chunk")
        run.fail(EngineBrokeError("The model fell over. Ask again."))
        assert (await client.answer()).kinds == ["error", "typing_stop"]
        await client.say("And again")
        (await engine.asked()).finish()
        assert (await client.answer()).kinds[-2:] == ["error", "typing_stop"]


@pytest.mark.parametrize(
    "payload",
    [
        "{",
        "[]",
        "null",
        '"message"',
        "{}",
        '{"type":7}',
        '{"type":"dance"}',
        '{"type":"message"}',
        '{"type":"message","content":7}',
        '{"type":"message","content":"x","session_id":7}',
        '{"type":"message","content":"x","session_id":"' + "x" * 129 + '"}',
        "[" * 10_000,
    ],
)
async def test_a_bad_frame_is_an_error_and_the_next_one_is_answered(serve: Serve, payload: str) -> None:
    async with serve() as server, accumulating(server.address) as client:
        await client.socket.send(payload)
        error = await client.next()
        assert (error["type"], bool(error["message"])) == ("error", True)
        assert tuple((await client.ask("Hello")).kinds) == ORDER


async def test_an_empty_message_is_answered_with_an_error_and_nothing_hangs(serve: Serve) -> None:
    async with serve() as server, accumulating(server.address) as client:
        answer = await client.ask("  ")
        assert answer.kinds == ["error", "typing_stop"]
        assert tuple((await client.ask("Hello")).kinds) == ORDER


async def test_a_client_that_reconnects_gets_the_rest_of_the_reply(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server:
        async with accumulating(server.address) as client:
            await client.say("Hello")
            run = await engine.asked()
            run.say("One ")
            await client.until("message_chunk")
            client.cut()
        session = client.session
        assert session is not None
        run.say("two ")
        async with accumulating(server.address, session_id=session) as client:
            answer = Answer()
            caught_up = await client.until("message_chunk", answer)
            assert caught_up["accumulated_content"] == "One two "
            run.say("three")
            run.finish()
            await client.until("typing_stop", answer)
            assert tuple(answer.kinds) == ORDER[1:]
            assert answer.bubble == "One two three"


async def test_a_reply_that_ended_without_a_connection_is_sent_to_the_next_one(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server:
        async with accumulating(server.address, session_id="s") as client:
            await client.say("Hello")
            run = await engine.asked()
            run.say("One ")
            await client.until("message_chunk")
        run.say("two")
        run.finish()
        await run.left()
        async with calling(server) as http:
            status = ""
            while status != "complete":
                async with http.get("/api/conversations/s") as response:
                    status = (await response.json())["messages"][-1]["status"]
        async with accumulating(server.address, session_id="s") as client:
            answer = await client.answer()
            assert tuple(answer.kinds) == ORDER[1:]
            assert answer.bubble == "One two"
            assert answer.first("message_complete")["model_used"] == "demo:echo"
        async with accumulating(server.address, session_id="s") as client:
            await client.socket.send('{"type":"ping"}')
            assert (await client.next())["type"] == "pong"


async def test_a_second_connection_of_a_session_gets_the_reply(serve: Serve, engine: ScriptedEngine) -> None:
    async with (
        serve() as server,
        accumulating(server.address, session_id="s") as first,
    ):
        await first.say("Hello")
        run = await engine.asked()
        run.say("One ")
        await first.until("message_chunk")
        async with accumulating(server.address, session_id="s") as second:
            assert (await second.until("message_chunk"))["accumulated_content"] == "One "
            run.say("two")
            run.finish()
            assert (await second.answer()).bubble == "One two"
            assert (await first.answer()).bubble == "One two"


async def test_stop(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, accumulating(server.address) as client:
        await client.say("Hello")
        run = await engine.asked()
        run.say("So far")
        await client.until("message_chunk")
        await client.say("/stop")
        ended = await client.until("message_complete")
        assert (ended["content"], ended["status"]) == ("So far", "stopped")
        assert run.cancelled
        assert (await client.next())["type"] == "typing_stop"
        answer = await client.answer()
        assert tuple(answer.kinds) == ORDER
        assert answer.chunks[0]["role"] == "system"


async def test_a_command_is_answered_like_a_message_and_reaches_no_model(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server, accumulating(server.address) as client:
        answer = await client.ask("/help")
        assert tuple(answer.kinds) == ORDER
        assert "/help" in answer.bubble
        answer = await client.ask("/nonsense")
        assert "/nonsense" in answer.bubble
        assert not engine.requests


async def test_retry_is_answered_by_another_reply_and_by_nothing_else(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server, accumulating(server.address) as client:
        for ask, word in (("Hello", "One"), ("/retry", "Two")):
            await client.say(ask)
            run = await engine.asked()
            run.say(word)
            run.finish()
            answer = await client.answer()
            assert tuple(answer.kinds) == ORDER
            assert answer.bubble == word
            assert answer.first("message_start")["role"] == "assistant"
        received = answer.first("message_received")
        assert (received["session_id"], received["message_id"]) == (client.session, None)
        await client.socket.send('{"type":"ping"}')
        assert (await client.next())["type"] == "pong"


async def test_the_disclaimer_follows_every_reply_once(serve: Serve) -> None:
    assistants = {"default": {"engine": "demo", "model": "demo:echo", "disclaimer": "Ask a doctor."}}
    async with serve(assistants=assistants) as server, accumulating(server.address) as client:
        answer = await client.ask("Hello")
        assert answer.bubble == "Hello\n\nAsk a doctor."
        assert answer.chunks[-1]["accumulated_content"] == "Hello\n\nAsk a doctor."


async def test_the_backup_model_is_named(serve: Serve, engine: ScriptedEngine) -> None:
    assistants = {"default": {"engine": "demo", "model": "demo:canned", "backup_model": "demo:echo"}}
    async with serve(assistants=assistants) as server, accumulating(server.address) as client:
        await client.say("Hello")
        (await engine.asked()).fail(ModelNotFoundError("It is not there."))
        run = await engine.asked()
        run.say("I can.")
        run.finish()
        answer = await client.answer()
        assert run.request.model == "demo:echo"
        assert answer.chunks[0]["model_used"] == answer.first("message_complete")["model_used"] == "demo:echo"
        assert answer.first("message_start")["model_used"] == "demo:echo"


class TestWhoMayCome:
    @pytest.mark.parametrize(
        "shown",
        [None, "nonsense", token("ada", ttl=-60), token("ada", secret="x" * 40), token("ada", scope="admin")],
        ids=["none", "garbage", "expired", "foreign", "out of scope"],
    )
    async def test_an_invalid_token_is_an_error_and_4001(self, serve: Serve, shown: str | None) -> None:
        async with serve(**AUTH) as server, accumulating(server.address, token=shown) as client:
            assert (await client.next())["type"] == "error"
            with pytest.raises(ConnectionClosed) as closed:
                await client.next()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4001

    async def test_a_session_of_another_user_looks_like_a_missing_one(self, serve: Serve) -> None:
        async with serve(**AUTH) as server:
            async with accumulating(server.address, token=token("ada")) as ada:
                await ada.ask("Hello")
            assert ada.session is not None
            said = []
            for session in (ada.session, "nobody's"):
                async with accumulating(server.address, token=token("bob"), session_id=session) as bob:
                    said.append((await bob.next())["message"])
                    answer = await bob.ask("Hello")
                    assert answer.kinds == ["error", "typing_stop"]
                    said.append(answer.first("error")["message"])
                    assert (await bob.ask("Hello", session_id=session)).kinds == ["error", "typing_stop"]
            assert len(set(said)) == 1

    async def test_a_refused_session_does_not_become_the_current_one(self, serve: Serve) -> None:
        async with serve(**AUTH) as server:
            async with accumulating(server.address, token=token("ada")) as ada:
                await ada.ask("Hello")
            async with accumulating(server.address, token=token("bob")) as bob:
                assert (await bob.ask("Hello", session_id=ada.session)).kinds == ["error", "typing_stop"]
                answer = await bob.ask("one two")
                assert answer.bubble == "one two"
                own = answer.first("message_received")["session_id"]
                assert own != ada.session
                assert (await bob.ask("Hello", session_id=ada.session)).kinds == ["error", "typing_stop"]
                assert (await bob.ask("three")).first("message_received")["session_id"] == own

    async def test_a_deleted_session_ends_with_an_error(self, serve: Serve, engine: ScriptedEngine) -> None:
        async with (
            serve() as server,
            accumulating(server.address, session_id="s") as client,
            calling(server) as http,
        ):
            await client.say("Hello")
            (await engine.asked()).say("One ")
            await client.until("message_chunk")
            async with http.delete("/api/conversations/s"):
                assert (await client.answer()).kinds == ["error", "typing_stop"]
            await client.say("Hello again")
            assert (await client.until("message_received"))["session_id"] != "s"


class TestSessions:
    def test_a_session_without_a_connection_is_evicted_after_five_minutes(self) -> None:
        now, gone = [0.0], list[str]()
        sessions = Retention(lambda: now[0], lambda session: not gone.append(session))
        for session in ("a", "a", "b"):
            assert sessions.enter(session) == []
        sessions.leave("a", [])
        sessions.leave("b", ["reply"])
        now[0] = RETENTION_SECONDS - 1
        sessions.expire()
        assert sessions.enter("b") == ["reply"]
        assert sessions.enter("b") == []
        now[0] = 10 * RETENTION_SECONDS
        sessions.expire()
        assert gone == []
        sessions.leave("a", ["other"])
        now[0] += RETENTION_SECONDS
        sessions.expire()
        assert gone == ["a"]
        assert sessions.enter("a") == []

    def test_a_busy_session_is_evicted_later(self) -> None:
        now, busy = [0.0], [True]
        sessions = Retention(lambda: now[0], lambda session: not busy[0])
        sessions.enter("a")
        sessions.leave("a", ["reply"])
        now[0] = RETENTION_SECONDS
        sessions.expire()
        busy[0] = False
        now[0] *= 1.5
        sessions.expire()
        assert sessions.enter("a") == ["reply"]


class TestChunks:
    @given(st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=12), st.data())
    def test_the_accumulated_text_is_that_of_the_log_for_any_batches(
        self, words: list[str], data: st.DataObject
    ) -> None:
        log = Log("s", "e")
        log.append(State("answering", model="m"))
        for word in words:
            if data.draw(st.integers(0, 9)) == 0:
                log.rewind(data.draw(st.integers(0, log.next)))
            log.append(Text(word))
        at, shown = 0, ""
        while at < log.next:
            batch = log.since(at, data.draw(st.integers(0, 200)))
            for payload in frames.batch_frames(log, batch, "now"):
                frame = json.loads(payload)
                shown = frame["accumulated_content"]
                assert frame["model_used"] == "m"
                assert shown.endswith(frame["content"])
            at = batch.next
        assert shown == ReplySnapshot(log.since(0).events).text

    def test_reasoning_states_and_ends_are_not_chunks(self) -> None:
        log = Log("s", "e")
        events = [State("reading"), Reasoning("Hm"), Finished("stop")]
        assert list(frames.batch_frames(log, Batch(0, 0, list(events)), "now")) == []

    def test_a_failure_is_an_error_and_the_end_of_the_typing(self) -> None:
        log = Log("s", "e")
        log.append(Failed("engine", "It broke."))
        said = [json.loads(each) for each in frames.batch_frames(log, log.since(0), "now")]
        assert [frame["type"] for frame in said] == ["error", "typing_stop"]


async def test_a_session_created_by_another_connection_is_entered_by_one_that_waits_for_it(
    serve: Serve,
) -> None:
    async with serve() as server, accumulating(server.address, session_id="s") as first:
        async with accumulating(server.address, session_id="s") as second:
            await second.say("word " * 2000)
            await second.until("message_received")
            second.cut()
        answer = await first.answer()
        assert answer.bubble == "word " * 2000
