"""The dialect `tokens` on a whole server, met by a client that knows its description and nothing of ours."""

import asyncio
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.dialects.clients.tokens import bubble, chat, raw_chat
from tests.dialects.serving import AUTH, token
from tests.gateway.server import calling
from websockets.exceptions import ConnectionClosed

from legato.dialects.timestamps import TimestampFormatter
from legato.dialects.tokens.frames import reply_frames
from legato.errors import EngineBrokeError
from legato.stream import Event, Log, Reasoning, Text, ToolAsked, ToolFinished, ToolStarted
from legato.testing.engine import ScriptedEngine, ScriptedGeneration

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

Serve = Callable[..., Any]


def finish(run: ScriptedGeneration, *words: str) -> None:
    run.say(*words)
    run.finish()


async def test_a_conversation_in_order(serve: Serve) -> None:
    async with serve() as server, raw_chat(server.address) as client:
        connected = await client.next()
        assert connected.keys() == {"type", "client_id", "timestamp"}
        await client.say("One word after another")
        frames = await client.answer()
        assert [frame["type"] for frame in frames] == ["token"] * 4 + ["complete"]
        assert bubble(frames) == "One word after another"
        assert all(TIME.fullmatch(frame["timestamp"]) for frame in [connected, *frames])
        assert frames[-1].keys() == {"type", "conversation_id", "timestamp"}


async def test_one_token_per_piece_while_the_client_keeps_up(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, chat(server.address) as client:
        await client.say("Hello")
        run = await engine.asked()
        for piece in ["C", " and", " G"]:
            run.say(piece)
            assert (await client.next())["content"] == piece
        run.say("a", "b")
        assert [(await client.next())["content"] for _ in range(2)] == ["a", "b"]
        run.finish()
        assert (await client.next())["type"] == "complete"


async def test_a_conversation_continues_by_its_id_on_another_socket(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server:
        async with chat(server.address) as client:
            await client.say("First")
            finish(await engine.asked(), "1")
            await client.answer()
            await client.say("Second")
            finish(await engine.asked(), "2")
            first = client.conversation
            await client.answer()
            assert client.conversation == first
        async with chat(server.address) as client:
            await client.say("Third", conversation_id=first)
            run = await engine.asked()
            finish(run, "3")
            assert bubble(await client.answer()) == "3"
            said = [part.text for turn in run.request.turns for part in turn.parts]
            assert said == ["First", "1", "Second", "2", "Third"]


def framed(*events: Event) -> list[dict[str, Any]]:
    """Return the frames of a reply without their times."""
    now = TimestampFormatter(lambda: datetime(2031, 5, 6, 7, 8, 9, 10_999, UTC))
    log = Log("r", "e")
    for event in events:
        log.append(event)
    frames = [json.loads(frame) for frame in reply_frames(log, log.since(0), now)]
    assert all(frame.pop("timestamp") == "2031-05-06T07:08:09.010Z" for frame in frames)
    return frames


def test_tools_are_sent_in_place_and_reasoning_is_not_a_token() -> None:
    assert framed(
        Reasoning("Where was it?"),
        Text("I look. "),
        ToolStarted("c1", "find_documents", '{"name":"Ann"}'),
        Reasoning("One."),
        ToolFinished("c1", "[1]"),
        Text("It is one."),
    ) == [
        {"type": "token", "content": "I look. "},
        {"type": "tool_start", "tool_name": "find_documents", "input": '{"name":"Ann"}'},
        {"type": "tool_end", "tool_name": "find_documents", "output": "[1]"},
        {"type": "token", "content": "It is one."},
    ]


def test_a_tool_that_waits_for_approval_is_sent_once() -> None:
    asked = ToolAsked("c1", "refund", "{}")
    assert framed(asked, ToolStarted("c1", "refund", "{}"), ToolFinished("c1", "done")) == [
        {"type": "tool_start", "tool_name": "refund", "input": "{}"},
        {"type": "tool_end", "tool_name": "refund", "output": "done"},
    ]
    assert framed(asked, ToolFinished("c1", "refused", failed=True))[1]["output"] == "refused"


async def test_two_messages_at_once_are_answered_one_after_the_other(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server, chat(server.address) as client:
        await client.say("One", conversation_id="a")
        await client.say("Two", conversation_id="b")
        one, two = await engine.asked(), await engine.asked()
        two.say("2 ")
        one.say("1 ")
        finish(two, "2")
        finish(one, "1")
        assert bubble(await client.answer()) == "1 1"
        assert client.conversation == "a"
        assert bubble(await client.answer()) == "2 2"
        assert client.conversation == "b"


async def test_two_messages_at_once_in_one_conversation(serve: Serve) -> None:
    async with serve() as server, chat(server.address) as client:
        for text in ("one two", "three four"):
            await client.say(text)
        # The first message made the conversation, the second is in it.
        assert bubble(await client.answer()) == "one two"
        conversation = client.conversation
        assert bubble(await client.answer()) == "three four"
        assert client.conversation == conversation


async def test_an_engine_that_breaks_is_one_error_and_the_socket_stays(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server, chat(server.address) as client:
        await client.say("Hello")
        run = await engine.asked()
        run.say("Half a ")
        run.fail(EngineBrokeError("The engine broke off."))
        frames = await client.answer()
        assert [frame["type"] for frame in frames] == ["token", "error"]
        assert frames[-1]["message"] == "The engine broke off."
        await client.say("Again")
        finish(await engine.asked(), "Whole")
        assert [frame["type"] for frame in await client.answer()] == ["token", "complete"]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("{", "not JSON"),
        ("[]", "object"),
        ("[" * 60_000, "nested"),
        ('{"message":"no type"}', "type"),
        ('{"type":"shout"}', "shout"),
        ('{"type":"message"}', "`message`"),
        ('{"type":"message","message":7}', "`message`"),
        ('{"type":"message","message":"  "}', "empty"),
        (json.dumps({"type": "message", "message": "x", "conversation_id": "y" * 129}), "conversation_id"),
        (json.dumps({"type": "message", "message": "x" * 70_000}), "65,536"),
    ],
)
async def test_a_bad_frame_is_an_error_and_the_socket_stays(serve: Serve, sent: str, said: str) -> None:
    async with serve() as server, chat(server.address) as client:
        await client.socket.send(sent)
        error = await client.next()
        assert error["type"] == "error"
        assert said in error["message"]
        await client.send("ping", what="ever")
        assert (await client.next()).keys() == {"type", "timestamp"}
        assert await client.ask("still here", colour="red") == "still here"


async def test_a_much_too_large_frame_closes_the_socket(serve: Serve) -> None:
    async with serve() as server, chat(server.address) as client:
        await client.socket.send("x" * (1024 * 1024 + 1))
        with pytest.raises(ConnectionClosed):
            await client.next()
        assert client.socket.close_code == 1009


async def test_after_a_cut_the_reply_goes_on_and_is_in_the_history(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server:
        async with chat(server.address) as client:
            await client.say("Tell me", conversation_id="c")
            run = await engine.asked()
            run.say("It was ")
            await client.until("token")
            client.cut()
        async with chat(server.address) as client:
            await client.say("And then?", conversation_id="c")
            finish(run, "once.")
            next_run = await engine.asked()
            finish(next_run, "The end.")
            # What was asked for on the socket that was cut is not the answer to what is asked on this one.
            assert bubble(await client.answer()) == "The end."
            said = [part.text for turn in next_run.request.turns for part in turn.parts]
            assert said == ["Tell me", "It was once.", "And then?"]


async def test_a_client_that_reconnects_with_its_conversation_gets_the_running_reply(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server:
        async with chat(server.address) as client:
            await client.say("Tell me", conversation_id="c")
            run = await engine.asked()
            run.say("It was ")
            await client.until("token")
            client.cut()
        async with chat(server.address, conversation_id="c") as client:
            assert (await client.next())["content"] == "It was "
            finish(run, "once.")
            assert bubble(await client.answer()) == "once."
            assert client.conversation == "c"


async def test_a_message_sent_again_after_a_cut_gets_the_same_reply(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server:
        async with chat(server.address) as client:
            await client.say("Tell me", client_message_id="m1")
            run = await engine.asked()
            run.say("It was ")
            await client.until("token")
            client.cut()
        for _ in range(2):
            async with chat(server.address) as client:
                await client.say("Tell me", client_message_id="m1")
                assert (await client.next())["content"] == "It was " if run.state == "running" else True
                if run.state == "running":
                    finish(run, "once.")
                assert bubble(await client.answer()).endswith("once.")
        assert len(engine.runs) == 1


async def test_a_second_participant_gets_the_first_one_s_replies_live(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server, chat(server.address) as ann, chat(server.address) as bob:
        await ann.say("Hello", conversation_id="c")
        finish(await engine.asked(), "Hi.")
        await ann.answer()
        await bob.say("Hello from me too", conversation_id="c")
        run = await engine.asked()
        for word in ("Hi ", "both."):
            run.say(word)
            for each in (ann, bob):
                assert (await each.next())["content"] == word
        run.finish()
        for each in (ann, bob):
            assert (await each.next())["conversation_id"] == "c"


async def test_stop_is_a_command_and_the_text_so_far_stays(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, chat(server.address) as client:
        await client.say("Go on for ever", conversation_id="c")
        run = await engine.asked()
        run.say("And on ")
        assert (await client.next())["content"] == "And on "
        await client.say("/stop")
        assert (await client.next())["type"] == "complete"
        assert run.cancelled
        assert [frame["type"] for frame in await client.answer()] == ["token", "complete"]
        async with calling(server) as http, http.get("/api/conversations/c") as answer:
            reply = (await answer.json())["messages"][-1]
        assert (reply["text"], reply["status"]) == ("And on ", "stopped")


async def test_leaving_stops_a_reply_if_the_assistant_says_so(serve: Serve, engine: ScriptedEngine) -> None:
    assistant = {"engine": "demo", "model": "demo:echo", "on_unwatched": "cancel"}
    async with serve(assistants={"default": assistant}) as server:
        async with chat(server.address) as client:
            await client.say("Go on for ever")
            run = await engine.asked()
            run.say("And on ")
            await client.until("token")
            client.cut()
        await run.left()
        assert run.cancelled


async def test_commands_are_answered_in_turn_and_reach_no_model(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, chat(server.address) as client:
        await client.say("Hello", conversation_id="c")
        run = await engine.asked()
        await client.say("/help")
        await client.say("/nonsense")
        run.say("Hi.")
        assert (await client.next())["content"] == "Hi."
        run.finish()
        assert (await client.next())["type"] == "complete"
        assert "/help" in bubble(await client.answer())
        assert "no command" in bubble(await client.answer())
        assert len(engine.requests) == 1


async def test_commands_that_start_something(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, chat(server.address) as client:
        await client.say("Hello", conversation_id="c")
        finish(await engine.asked(), "Hi.")
        await client.answer()
        await client.say("/retry")
        finish(await engine.asked(), "Good day.")
        assert bubble(await client.answer()) == "Good day."
        await client.say("/new")
        await client.answer()
        assert client.conversation != "c"
        await client.say("Hello")
        run = await engine.asked()
        finish(run, "Hi.")
        assert len(run.request.turns) == 1
        assert bubble(await client.answer()) == "Hi."


async def test_the_disclaimer_ends_every_answer(serve: Serve, engine: ScriptedEngine) -> None:
    assistant = {"engine": "demo", "model": "demo:echo", "disclaimer": "No advice."}
    async with serve(assistants={"default": assistant}) as server, chat(server.address) as client:
        await client.say("Hello", conversation_id="c")
        run = await engine.asked()
        run.say("Hi.")
        run.finish()
        assert bubble(await client.answer()) == "Hi.\n\nNo advice."
        await client.say("Again")
        run = await engine.asked()
        run.say("Half")
        await client.until("token")
        await client.say("/stop")
        assert bubble(await client.answer()) == "\n\nNo advice."


async def test_the_assistant_of_a_conversation(serve: Serve) -> None:
    echo = {"engine": "demo", "model": "demo:echo"}
    assistants = {name: {**echo, "disclaimer": name} for name in ("default", "guest", "other")}
    async with serve(assistants=assistants, dialects={"tokens": "guest"}) as server:
        async with chat(server.address) as client:
            assert await client.ask("Hi") == "Hi\n\nguest"
        async with chat(server.address, assistant="other") as client:
            assert await client.ask("Hi") == "Hi\n\nother"
        async with chat(server.address, assistant="nobody") as client:
            await client.say("Hi")
            assert "nobody" in (await client.next())["message"]


async def test_a_deleted_conversation_is_an_error_and_is_left(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, chat(server.address) as client, calling(server) as http:
        await client.say("Hello", conversation_id="c")
        (await engine.asked()).say("Hi ")
        await client.until("token")
        assert (await http.delete("/api/conversations/c")).status == 204
        assert "deleted" in (await client.next())["message"]
        await client.say("Hello again")
        finish(await engine.asked(), "Hi.")
        assert bubble(await client.answer()) == "Hi."
        assert client.conversation != "c"


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"token": "nonsense"},
        {"token": token("ann", ttl=-60)},
        {"token": token("ann", secret="another secret that is long enough")},
        {"token": token("ann", scope="admin")},
    ],
    ids=["none", "nonsense", "expired", "foreign", "of another scope"],
)
@pytest.mark.parametrize("where", ["query", "header"])
async def test_an_invalid_token_is_an_error_and_4001(serve: Serve, shown: dict[str, str], where: str) -> None:
    headers = {"authorization": f"Bearer {shown['token']}"} if where == "header" and shown else None
    query = shown if where == "query" else {}
    async with serve(**AUTH) as server, raw_chat(server.address, headers, **query) as client:
        assert (await client.next())["type"] == "error"
        with pytest.raises(ConnectionClosed):
            await client.next()
        assert client.socket.close_code == 4001


async def test_a_token_is_read_from_the_header_and_the_query(serve: Serve) -> None:
    async with serve(**AUTH) as server:
        async with chat(server.address, token=token("ann")) as client:
            assert await client.ask("Hello") == "Hello"
        bearer = {"authorization": f"Bearer {token('ann')}"}
        async with raw_chat(server.address, bearer) as client:
            assert (await client.next())["type"] == "connected"
            assert await client.ask("Hello") == "Hello"


async def test_another_user_s_conversation_looks_like_a_missing_one(serve: Serve) -> None:
    async with serve(**AUTH) as server, chat(server.address, token=token("ann")) as ann:
        await ann.ask("Hello")
        async with chat(server.address, token=token("bob")) as bob:
            errors = []
            for conversation in (ann.conversation, "nobody-has-this"):
                await bob.say("Hello", conversation_id=conversation)
                errors.append((await bob.next())["message"])
            assert errors[0] == errors[1]


async def test_a_socket_does_not_outlive_its_token(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("legato.gateway.server.EXPIRY_SECONDS", 0.05)
    brief = {"auth": {**AUTH["auth"], "leeway": 0}}
    async with serve(**brief) as server, chat(server.address, token=token("ann", ttl=1.2)) as client:
        assert (await client.next())["type"] == "error"
        with pytest.raises(ConnectionClosed):
            await client.next()
        assert client.socket.close_code == 4001


async def test_a_slow_reader_gets_everything_in_order(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, chat(server.address) as client:
        await client.say("One", conversation_id="c")
        await client.say("Two")
        word = "many words " * 1000
        run = await engine.asked()
        for _ in range(500):
            run.say(word)
            await asyncio.sleep(0)
        run.finish()
        finish(await engine.asked(), "2")
        assert bubble(await client.answer()) == word * 500
        assert bubble(await client.answer()) == "2"
