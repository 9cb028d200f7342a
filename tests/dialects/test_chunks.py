"""The dialect `chunks` on a whole server, met by a client that knows its description and nothing of ours."""

import asyncio
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.dialects.clients.chunks import ChunksClient, thread
from tests.dialects.serving import AUTH, token
from tests.gateway.server import calling
from websockets.exceptions import ConnectionClosed

from legato.domain.message import ImagePart, TextPart
from legato.errors import EngineBrokeError, EngineRefusedError
from legato.gateway.server import Server
from legato.testing.engine import ScriptedEngine, ScriptedGeneration

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
WORDS = ["It ", "was ", "a ", "dark ", "and ", "stormy ", "night."]
MEDICAL = (
    "⚠️ **Medical Disclaimer**: This information is for educational purposes only and should not replace professional "
    "medical advice. Please consult with a healthcare provider for medical concerns."
)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

Serve = Callable[..., Any]


def finish(run: ScriptedGeneration, *words: str) -> None:
    run.say(*words)
    run.finish()


async def stored(server: Server, conversation: str = "c") -> list[dict[str, Any]]:
    async with calling(server) as http, http.get(f"/api/conversations/{conversation}") as answer:
        messages: list[dict[str, Any]] = (await answer.json())["messages"]
        return messages


async def begun(client: ChunksClient, engine: ScriptedEngine, *words: str) -> tuple[ScriptedGeneration, str]:
    """A reply that has said these words, and its id."""
    await client.say("Tell me", client_message_id="m1")
    run = await engine.asked()
    for word in words:
        run.say(word)
        await client.until("chunk", data=word)
    return run, client.chunks[-1]["messageId"]


async def test_a_conversation(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, thread(server.address, "c") as client:
        run, reply = await begun(client, engine, "One ", "two")
        run.finish()
        done = await client.until("chunk", "done")
        assert done["type"] == "done"
        assert done["messageId"] == done["message"]["id"] == reply
        assert client.bubbles[reply] == done["message"]["text"] == "One two"
        assert TIME.fullmatch(done["message"]["created_at"])
        assert done["message"] == (await stored(server))[-1]
        assert [message["role"] for message in await stored(server)] == ["user", "assistant"]


async def test_a_chunk_has_its_position(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, thread(server.address, "c") as client:
        await begun(client, engine, *WORDS)
        assert client.chunks[0].keys() == {"type", "messageId", "data", "from", "to", "epoch"}
        for before, after in zip(client.chunks, client.chunks[1:], strict=False):
            assert before["from"] < before["to"] <= after["from"]


@pytest.mark.parametrize("cut", range(1, len(WORDS) + 1))
@pytest.mark.parametrize("way", ["told again", "from", "to", "to of an epoch"])
async def test_a_reply_cut_anywhere_and_resumed_is_the_same_text(
    serve: Serve, engine: ScriptedEngine, cut: int, way: str
) -> None:
    async with serve() as server:
        async with thread(server.address, "c") as client:
            run, reply = await begun(client, engine, *WORDS[:cut])
            last = client.chunks[-1]
            kept = "".join(chunk["data"] for chunk in client.chunks)
            client.cut()
        run.say(*WORDS[cut : cut + 2])
        async with thread(server.address, "c") as client:
            where: dict[str, Any] = {}
            if way == "from":
                where, kept = {"position": last["from"]}, kept.removesuffix(last["data"])
            elif way != "told again":
                where = {"position": last["to"]}
                where |= {"epoch": last["epoch"]} if "epoch" in way else {}
            await client.resume("c", reply, **where)
            await client.send("ping")
            await client.until("pong")
            finish(run, *WORDS[cut + 2 :])
            done = await client.until("done")
            told = client.bubbles.get(reply, "")
            assert (told if way == "told again" else kept + told) == "".join(WORDS)
            assert done["message"]["text"] == "".join(WORDS)
            if way == "from":
                assert client.chunks[0]["from"] == last["from"]


@pytest.mark.parametrize("where", [{}, {"position": 3}, {"position": 3, "epoch": "another"}])
async def test_resuming_a_finished_reply_sends_its_done(
    serve: Serve, engine: ScriptedEngine, where: dict[str, Any]
) -> None:
    async with serve() as server:
        async with thread(server.address, "c") as client:
            run, reply = await begun(client, engine, "One ")
            client.cut()
        finish(run, "two")
        await run.left()
        async with thread(server.address, "c") as client:
            for _ in range(2):
                await client.resume("c", reply, **where)
                done = await client.until("done")
                assert done["messageId"] == reply
                assert done["message"]["text"] == "One two"
            if "position" not in where:
                assert client.bubbles[reply] == "One two"


@pytest.mark.parametrize("own", [True, False])
async def test_a_resume_tells_nothing_again_to_a_socket_that_has_heard_it(
    serve: Serve, engine: ScriptedEngine, own: bool
) -> None:
    async with serve() as server, thread(server.address, "c") as ann, thread(server.address, "c") as bob:
        await bob.send("ping")
        await bob.until("pong")
        client = ann if own else bob
        run, reply = await begun(ann, engine, "One ")
        await client.resume("c", reply)
        await client.resume("c", None)
        await client.send("ping")
        await client.until("pong")
        finish(run, "two")
        assert (await client.until("done"))["message"]["text"] == client.bubbles[reply] == "One two"
        for _ in range(2):
            await client.resume("c", reply)
            assert (await client.next())["message"]["text"] == "One two"
        await client.resume("c", reply, position=0)
        assert (await client.next())["data"] == "One two"


async def test_a_reply_resumes_on_another_server(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, thread(server.address, "c") as client:
        run, reply = await begun(client, engine, "One ")
        finish(run, "two")
        await client.until("done")
        epoch = client.chunks[-1]["epoch"]
    async with serve() as server, thread(server.address, "c") as client:
        # A number alone may be of a text that was lost: the reply is told from its beginning.
        for where in ({"position": 2}, {"position": 2, "epoch": epoch}):
            await client.resume("c", reply, **where)
            first = await client.next()
            assert (first["from"], first["data"]) == (0, "")
            await client.until("done")
            assert client.bubbles.pop(reply) == "One two"


@pytest.mark.parametrize("with_epoch", [True, False])
async def test_a_reply_that_outlives_its_server_is_sent_from_its_beginning(
    serve: Serve, engine: ScriptedEngine, with_epoch: bool
) -> None:
    async with serve() as server, thread(server.address, "c") as client:
        _, reply = await begun(client, engine, "One ")
        last = client.chunks[-1]
    async with serve() as server, thread(server.address, "c") as client:
        run = await engine.asked()
        where = {"position": last["to"]} | ({"epoch": last["epoch"]} if with_epoch else {})
        await client.resume("c", reply, **where)
        first = await client.next()
        assert (first["from"], first["data"]) == (0, "")
        finish(run, "two")
        assert (await client.until("done"))["message"]["text"] == "One two"
        assert client.bubbles[reply] == "One two"


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ({"conversationId": "c", "lastMessageId": "nobody"}, "no such reply"),
        ({"conversationId": "another", "lastMessageId": "x"}, "another conversation"),
        ({"conversationId": "c", "lastMessageId": 7}, "lastMessageId"),
        ({"conversationId": "c"}, "lastMessageId"),
    ],
)
async def test_an_invalid_resume_is_an_error(serve: Serve, frame: dict[str, Any], said: str) -> None:
    async with serve() as server, thread(server.address, "c") as client:
        await client.send("resume", **frame)
        assert said in (await client.next())["error"]
        assert (await client.ask("still here"))["text"] == "still here"


async def test_an_invalid_position_is_an_error(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, thread(server.address, "c") as client:
        _, reply = await begun(client, engine, "One ")
        await client.resume("c", reply, position="there")
        assert "position" in (await client.until("error"))["error"]


async def test_the_same_message_a_hundred_times_is_stored_once(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(thread(server.address, "c")) for _ in range(10)]
        for client in clients:
            await client.send("ping")
            await client.until("pong")

        async def ten_times(client: ChunksClient) -> None:
            for _ in range(10):
                await client.say("Tell me", client_message_id="m1")

        await asyncio.gather(*map(ten_times, clients))
        run = await engine.asked()
        run.say("One ")
        for client in clients:
            await client.until("chunk")
            # Every socket's ten messages are taken in before the reply ends.
            await client.send("ping")
            await client.until("pong")
        finish(run, "two")
        replies = {(await client.until("done"))["messageId"] for client in clients}
        assert len(replies) == 1
        for client in clients:
            await client.send("ping")
            await client.until("pong")
            assert list(client.bubbles.values()) == ["One two"]
        assert len(engine.runs) == 1
        assert [message["role"] for message in await stored(server)] == ["user", "assistant"]


async def test_the_same_message_a_hundred_times_at_once_during_its_reply(serve: Serve) -> None:
    async with serve() as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(thread(server.address, "c")) for _ in range(20)]
        for client in clients:
            await client.send("ping")
            await client.until("pong")
        await asyncio.gather(*(client.say("one two three", client_message_id="m1") for client in clients))
        for client in clients:
            await client.until("done")
            await client.send("ping")
            await client.until("pong")
            assert list(client.bubbles.values()) == ["one two three"]
        assert len(await stored(server)) == 2


async def test_a_message_sent_again_on_the_same_socket_gets_the_same_reply(serve: Serve) -> None:
    async with serve() as server, thread(server.address, "c") as client:
        first = await client.ask("Hello", client_message_id="m1")
        assert await client.ask("Hello", client_message_id="m1") == first
        await client.say("Something else", client_message_id="m1")
        assert "client_message_id" in (await client.next())["error"]
        async with thread(server.address, "c") as other:
            assert await other.ask("Hello", client_message_id="m1") == first


async def test_several_users_get_each_other_s_replies(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, thread(server.address, "c") as ann, thread(server.address, "c") as bob:
        await bob.send("ping")
        await bob.until("pong")
        run, reply = await begun(ann, engine, "One ")
        assert (await bob.next())["messageId"] == reply
        finish(run, "two")
        assert (await bob.until("done"))["message"] == (await ann.until("done"))["message"]


async def test_a_client_that_connects_during_a_reply_gets_it_from_its_beginning(
    serve: Serve, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legato.dialects.chunks.handler.HOLD_SECONDS", 0.01)
    async with serve() as server, thread(server.address, "c") as ann:
        run, reply = await begun(ann, engine, "One ", "two ")
        async with thread(server.address, "c") as bob:
            assert (await bob.next())["data"] == "One two "
            finish(run, "three")
            await bob.until("done")
            assert bob.bubbles[reply] == "One two three"


@pytest.mark.parametrize("way", ["resumed", "from a position", "sent again", "just watched"])
async def test_a_held_reply_that_ends_is_sent_before_its_done(
    serve: Serve, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "just watched":
        monkeypatch.setattr("legato.dialects.chunks.handler.HOLD_SECONDS", 0.2)
    async with serve() as server, thread(server.address, "c") as ann:
        run, reply = await begun(ann, engine, "One ", "two ")
        async with thread(server.address, "c") as back:
            await back.send("ping")
            await back.until("pong")
            finish(run, "three")
            await ann.until("done")
            if way == "sent again":
                await back.say("Tell me", client_message_id="m1")
            elif way != "just watched":
                where = {"position": ann.chunks[1]["from"]} if way == "from a position" else {}
                await back.resume("c", reply, **where)
            done = await back.until("done")
            assert done["message"]["text"] == "One two three"
            assert back.bubbles[reply] == ("two three" if way == "from a position" else "One two three")
            await back.send("ping")
            assert (await back.next())["type"] == "pong"


async def test_a_broken_reply_that_is_resumed_is_sent_to_its_done(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server, thread(server.address, "c") as ann:
        run, reply = await begun(ann, engine, "Half a ")
        async with thread(server.address, "c") as back:
            await back.send("ping")
            await back.until("pong")
            run.fail(EngineBrokeError("The engine broke off."))
            await ann.until("error")
            await back.resume("c", reply)
            assert [(await back.next())["type"] for _ in range(3)] == ["chunk", "error", "done"]
            assert back.bubbles[reply] == "Half a "
            await back.send("ping")
            assert (await back.next())["type"] == "pong"


async def test_an_error_during_a_reply(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server:
        async with thread(server.address, "c") as client:
            run, reply = await begun(client, engine, "Half a ")
            run.fail(EngineBrokeError("The engine broke off."))
            assert await client.next() == {
                "type": "error",
                "error": "The engine broke off.",
                "messageId": reply,
            }
            await client.say("Again")
            finish(await engine.asked(), "Whole")
            assert (await client.until("done"))["message"]["text"] == "Whole"
        broken = (await stored(server))[1]
        assert (broken["text"], broken["status"]) == ("Half a ", "interrupted")
        async with thread(server.address, "c") as client:
            await client.resume("c", reply)
            assert (await client.until("done"))["message"] == broken


async def test_a_picture_beside_the_text_reaches_the_model(serve: Serve, engine: ScriptedEngine) -> None:
    picture = f"data:image/png;base64,{PIXEL}"
    async with serve() as server, thread(server.address, "c") as client:
        await client.say("What is this?", parts=[{"type": "image", "data": picture}])
        run = await engine.asked()
        finish(run, "A dot.")
        await client.until("done")
        text, image = run.request.turns[-1].parts
        assert (text, image) == (TextPart("What is this?"), ImagePart(picture, image.attachment))
        assert [part["type"] for part in (await stored(server))[0]["parts"]] == ["text", "image"]


async def test_stop_is_a_command(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, thread(server.address, "c") as client:
        run, reply = await begun(client, engine, "And on ")
        await client.say("/stop")
        done = await client.until("done", messageId=reply)
        assert (done["message"]["text"], done["message"]["status"]) == ("And on ", "stopped")
        assert run.cancelled
        assert (await client.until("done"))["message"]["role"] == "system"


async def test_a_command_is_answered_by_a_message_that_is_not_stored(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server, thread(server.address, "c") as client:
        message = await client.ask("/help")
        assert message["role"] == "system"
        assert client.bubbles[message["id"]] == message["text"]
        assert "/help" in message["text"]
        assert await stored(server) == []
        assert engine.requests == []


async def test_retry_is_answered_by_another_reply(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, thread(server.address, "c") as client:
        run, reply = await begun(client, engine, "One")
        run.finish()
        await client.until("done")
        for _ in range(2):
            await client.say("/retry", client_message_id="m2")
            if len(engine.runs) < 2:
                finish(await engine.asked(), "Two")
            done = await client.until("done")
            assert done["messageId"] != reply
            assert done["message"]["text"] == "Two"
        assert len(engine.runs) == 2


async def test_the_disclaimer_follows_a_blank_line(serve: Serve, engine: ScriptedEngine) -> None:
    assistant = {"engine": "demo", "model": "demo:echo", "disclaimer": MEDICAL}
    async with serve(assistants={"default": assistant}) as server, thread(server.address, "c") as client:
        run, reply = await begun(client, engine, "Drink water.")
        run.finish()
        message = (await client.until("done"))["message"]
        assert client.bubbles[reply] == message["text"] == f"Drink water.\n\n{MEDICAL}"
        async with calling(server) as http:
            posted = asyncio.create_task(
                http.post("/api/conversations/c/messages/chat", json={"text": "And?"})
            )
            finish(await engine.asked(), "Sleep.")
            assert (await (await posted).json())["text"] == f"Sleep.\n\n{MEDICAL}"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("{", "not JSON"),
        ('{"type":"shout"}', "shout"),
        ('{"text":"x"}', "type"),
        ('{"type":"message"}', "empty"),
        ('{"type":"message","text":["x"]}', "`text`"),
        ('{"type":"message","text":"x","parts":[{"type":"smell"}]}', "parts"),
        ('{"type":"message","text":"x","client_message_id":""}', ""),
        ("x" * 65537, "65,536"),
        ("x" * 1024 * 1024, "65,536"),
    ],
)
async def test_a_bad_frame_is_an_error_and_the_socket_stays(serve: Serve, sent: str, said: str) -> None:
    async with serve() as server, thread(server.address, "c") as client:
        await client.socket.send(sent)
        first = await client.next()
        assert first["type"] == ("error" if said else "chunk")
        assert said in first.get("error", "")
        assert (await client.ask("still here", colour="red"))["role"] == "assistant"


async def test_a_much_too_large_frame_closes_the_socket(serve: Serve) -> None:
    async with serve() as server, thread(server.address, "c") as client:
        await client.socket.send("x" * (1024 * 1024 + 1))
        with pytest.raises(ConnectionClosed):
            await client.next()
        assert client.socket.close_code == 1009


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
    async with serve(**AUTH) as server, thread(server.address, "c", headers, **query) as client:
        assert (await client.next())["type"] == "error"
        assert await closed(client) == 4001


async def closed(client: ChunksClient) -> int | None:
    with pytest.raises(ConnectionClosed):
        await client.next()
    return client.socket.close_code


async def test_another_user_s_conversation_and_a_missing_one_are_the_same_4003(serve: Serve) -> None:
    async with serve(**AUTH) as server:
        bearer = {"authorization": f"Bearer {token('ann')}"}
        async with calling(server, token("ann")) as http, http.post("/api/conversations", json={}) as made:
            mine = (await made.json())["id"]
        async with thread(server.address, mine, bearer) as client:
            assert (await client.ask("Hello"))["text"] == "Hello"
        errors = []
        for conversation in (mine, "nobody-has-this"):
            async with thread(server.address, conversation, token=token("bob")) as client:
                errors.append(await client.next())
                assert await closed(client) == 4003
        assert errors[0] == errors[1]


async def test_an_invalid_address_is_4000(serve: Serve) -> None:
    async with serve() as server:
        for conversation, query in (("y" * 129, {}), ("c", {"assistant": "nobody"})):
            async with thread(server.address, conversation, **query) as client:
                assert (await client.next())["type"] == "error"
                assert await closed(client) == 4000


async def test_a_deleted_conversation_closes_its_sockets_with_4003(serve: Serve) -> None:
    async with serve() as server, thread(server.address, "c") as client, calling(server) as http:
        await client.ask("Hello")
        await http.delete("/api/conversations/c")
        assert "deleted" in (await client.next())["error"]
        assert await closed(client) == 4003


class TestPosting:
    URL = "/api/conversations/c/messages/chat"

    async def test_the_answer_is_the_stored_reply(self, serve: Serve) -> None:
        async with serve() as server, calling(server) as http:
            async with http.post(self.URL, json={"text": "one two", "colour": "red"}) as answer:
                assert answer.status == 200
                message = await answer.json()
            assert message["text"] == "one two"
            assert message == (await stored(server))[-1]

    async def test_a_posted_message_reaches_sockets_and_is_idempotent(
        self, serve: Serve, engine: ScriptedEngine
    ) -> None:
        async with serve() as server, thread(server.address, "c") as client, calling(server) as http:
            run, reply = await begun(client, engine, "One ")
            body = {"text": "Tell me", "client_message_id": "m1"}
            posts = [asyncio.create_task(http.post(self.URL, json=body)) for _ in range(5)]
            finish(run, "two")
            done = await client.until("done")
            for post in posts:
                assert await (await post).json() == done["message"]
            assert done["messageId"] == reply
            async with http.post(self.URL, json=body | {"text": "Tell me more"}) as answer:
                assert answer.status == 409
            async with http.post(self.URL, json=body) as answer:
                assert await answer.json() == done["message"]

    async def test_a_client_that_goes_away_does_not_stop_the_reply(
        self, serve: Serve, engine: ScriptedEngine
    ) -> None:
        async with serve() as server:
            async with calling(server) as http:
                post = asyncio.create_task(http.post(self.URL, json={"text": "Hello"}))
                run = await engine.asked()
                post.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await post
            finish(run, "Hi.")
            await run.left()
            async with thread(server.address, "c") as client:
                await client.resume("c", (await stored(server))[-1]["id"])
                message = (await client.until("done"))["message"]
            assert (message["text"], message["status"]) == ("Hi.", "complete")

    async def test_a_broken_reply_is_answered_with_the_stored_message(
        self, serve: Serve, engine: ScriptedEngine
    ) -> None:
        async with serve() as server, calling(server) as http:
            post = asyncio.create_task(http.post(self.URL, json={"text": "Hello"}))
            run = await engine.asked()
            run.say("Half")
            run.fail(EngineBrokeError("The engine broke off."))
            async with await post as answer:
                assert answer.status == 200
                message = await answer.json()
            assert (message["text"], message["status"]) == ("Half", "interrupted")
            assert message["detail"] == "The engine broke off."

    async def test_a_reply_that_broke_off_without_text_is_an_error(
        self, serve: Serve, engine: ScriptedEngine
    ) -> None:
        async with serve() as server, calling(server) as http:
            body = {"text": "Hello", "client_message_id": "m1"}
            post = asyncio.create_task(http.post(self.URL, json=body))
            (await engine.asked()).fail(EngineRefusedError("The engine refuses that."))
            for answer in (await post, await http.post(self.URL, json=body)):
                assert answer.status == 502
                told = await answer.json()
                assert told.pop("error") == {"code": "engine", "message": "The engine refuses that."}
                assert told == (await stored(server))[-1]
                assert (told["text"], told["status"]) == ("", "interrupted")

    async def test_a_command_is_answered_and_not_stored(self, serve: Serve) -> None:
        async with serve() as server, calling(server) as http:
            async with http.post(self.URL, json={"text": "/help"}) as answer:
                assert (await answer.json())["role"] == "system"
            assert await stored(server) == []

    async def test_a_command_that_starts_a_reply_is_answered_by_it(self, serve: Serve) -> None:
        async with serve() as server, calling(server) as http:
            async with http.post(self.URL, json={"text": "one two"}) as answer:
                assert answer.status == 200
            replies = []
            for _ in range(2):
                body = {"text": "/retry", "client_message_id": "m2"}
                async with http.post(self.URL, json=body) as answer:
                    replies.append(await answer.json())
            assert replies[0] == replies[1] == (await stored(server))[-1]
            assert replies[0]["text"] == "one two"

    async def test_a_key_that_was_used_in_another_conversation_is_refused_there(self, serve: Serve) -> None:
        async with serve() as server, calling(server) as http:
            body = {"text": "/retry", "client_message_id": "m3"}
            said = []
            for conversation in ("c", "d"):
                url = self.URL.replace("/c/", f"/{conversation}/")
                async with http.post(url, json={"text": "one two"}) as answer:
                    assert answer.status == 200
                async with http.post(url, json=body) as answer:
                    said.append(await answer.json())
            assert [each["role"] for each in said] == ["assistant", "system"]
            assert "client_message_id" in said[1]["text"]

    async def test_a_conversation_deleted_during_the_request_is_not_found(
        self, serve: Serve, engine: ScriptedEngine
    ) -> None:
        async with serve() as server, calling(server) as http:
            post = asyncio.create_task(http.post(self.URL, json={"text": "Hello"}))
            await engine.asked()
            async with http.delete("/api/conversations/c"), await post as answer:
                assert answer.status == 404

    async def test_requests_without_permission_are_refused(self, serve: Serve) -> None:
        async with serve(**AUTH) as server:
            async with calling(server) as http, http.post(self.URL, json={"text": "x"}) as answer:
                assert answer.status == 401
            async with (
                calling(server, token("ann")) as http,
                http.post(self.URL, json={"text": "x"}) as answer,
            ):
                assert answer.status == 404
