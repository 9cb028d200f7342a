"""D: `/ws/conversations/{id}` and its POST, by clients that were written from the notes alone."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect

from .browser import Browser
from .conftest import MEDICAL, token
from .exchange import Exchange, Frame
from .model import HeldModel
from .people import Person

Someone = Callable[..., Person]

PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def message(text: str, own: str | None = None, **more: Any) -> Frame:
    return {"type": "message", "text": text, **({"client_message_id": own} if own else {}), **more}


async def settled(*people: Person) -> None:
    for each in people:
        await each.says({"type": "ping"})
        await each.hears("pong")


async def test_conversation(person: Someone) -> None:
    async with await person().connects("/ws/conversations/chunks-conversation") as anna:
        await anna.says(message("Hello, how are you?", "hello-1"))
        done = await anna.hears("done")
        assert done["messageId"] == done["message"]["id"]
        await anna.says(message("And again"))
        await anna.hears("done")
        await settled(anna)


async def test_once(person: Someone, model: HeldModel) -> None:
    """A message that is sent twice is processed once; who sends it again gets the same reply's stream."""
    path = "/ws/conversations/chunks-once?assistant=model"
    async with await person("anna").connects(path) as anna, await person("phone").connects(path) as phone:
        await settled(anna, phone)
        await anna.says(message("Count to four.", "count"))
        await anna.hears_text("one two ", "data")
        await phone.hears_text("one two ", "data")
        await phone.says(message("Count to four.", "count"))
        await settled(phone)
        model.go_on()
        await anna.hears("done")
        await phone.hears("done")
        await phone.says(message("Count to four.", "count"))
        await phone.hears("done")
        await settled(phone, anna)
        await phone.says(message("Count to five.", "count"))
        await phone.hears("error")
        await settled(phone, anna)


async def test_error(person: Someone) -> None:
    async with await person().connects("/ws/conversations/chunks-error?assistant=broken") as anna:
        for frame in (
            "no JSON",
            "null",
            {"type": "dance"},
            {},
            {"type": "message"},
            {"type": "message", "text": ""},
            {"type": "message", "text": 5},
            {"type": "message", "text": "Hi", "client_message_id": 7},
            {"type": "message", "text": "Hi", "client_message_id": "x" * 129},
            {"type": "resume", "conversationId": "chunks-error", "lastMessageId": "no such message"},
            {"type": "resume", "conversationId": "elsewhere", "lastMessageId": "no such message"},
            {"type": "message", "text": "Hi", "parts": [{"type": "smell"}]},
            {"type": "message", "text": "x" * 70_000},
            {"type": "message", "text": "x" * (1024 * 1024 - 40)},
            {"type": "message", "text": "Are you there?"},
        ):
            await anna.says(frame)
            await anna.hears("error")
            await settled(anna)
        await anna.says({"type": "message", "text": "x" * (1024 * 1024 + 100)})
        await anna.is_closed()


async def test_broken_off(exchange: Exchange, person: Someone, address: str) -> None:
    """What was said is kept, and says that it broke off."""
    async with await person().connects("/ws/conversations/chunks-broken-off?assistant=careful-model") as anna:
        await anna.says(message("Break off."))
        await anna.hears("error")
        await settled(anna)
    async with Browser(exchange, address, "rest") as rest:
        thread = await rest.gets("/api/conversations/chunks-broken-off", show=False)
        last = thread["messages"][-1]
        assert (last["status"], last["text"]) == ("interrupted", f"one two \n\n{MEDICAL}")


async def test_cut(person: Someone, model: HeldModel) -> None:
    """The reply is told again from its beginning under its id, then goes on."""
    path = "/ws/conversations/chunks-cut?assistant=model"
    async with await person().connects(path) as anna:
        await anna.says(message("Count to four."))
        await anna.hears_text("one two ", "data")
        reply = anna.frames[-1]["messageId"]
        await anna.is_cut()
        await anna.connects(path)
        await anna.says({"type": "resume", "conversationId": "chunks-cut", "lastMessageId": reply})
        while not anna.frames[-1].get("data"):
            await anna.next()
        model.go_on()
        await anna.hears("done")
        await settled(anna)
        await anna.says({"type": "resume", "conversationId": "chunks-cut", "lastMessageId": reply})
        await anna.hears("done")
        await settled(anna)


async def test_cut_with_position(person: Someone, model: HeldModel) -> None:
    """A client that tells its position gets what is behind it, and nothing twice."""
    path = "/ws/conversations/chunks-position?assistant=model"
    async with await person().connects(path) as anna:
        await anna.says(message("Count to four."))
        await anna.hears_text("one two ", "data")
        last = anna.frames[-1]
        await anna.is_cut()
        await anna.connects(path)
        resume = {"type": "resume", "conversationId": "chunks-position", "lastMessageId": last["messageId"]}
        await anna.says({**resume, "position": last["to"]})
        await settled(anna)
        model.go_on()
        await anna.hears("done")
        await settled(anna)
        first = anna.frames[0]["from"]
        await anna.says({**resume, "position": first})
        assert (await anna.hears("chunk"))["from"] == first
        await anna.hears("done")
        await settled(anna)
        for wrong in (-1, 10_000, "far"):
            await anna.says({**resume, "position": wrong})
            await anna.hears(lambda frame: frame["type"] in {"done", "error"})
            await settled(anna)


async def test_second_participant(person: Someone, model: HeldModel) -> None:
    path = "/ws/conversations/chunks-two?assistant=model"
    async with await person("anna").connects(path) as anna, await person("ben").connects(path) as ben:
        await settled(anna, ben)
        await anna.says(message("Count to four."))
        await anna.hears_text("one two ", "data")
        await ben.hears_text("one two ", "data")
        async with await person("cleo").connects(path) as cleo:
            await cleo.hears_text("one two ", "data")
            model.go_on()
            for each in (anna, ben, cleo):
                await each.hears("done")
            await settled(cleo)
        await ben.says(message("How many?"))
        await ben.hears("done")
        await anna.hears("done")
        await settled(ben, anna)


async def test_stop(person: Someone, model: HeldModel) -> None:
    async with await person().connects("/ws/conversations/chunks-stop?assistant=careful-model") as anna:
        await anna.says(message("Count to four."))
        await anna.hears_text("one two ", "data")
        await anna.says(message("/stop"))
        stopped = await anna.hears("done")
        assert stopped["message"]["status"] == "stopped"
        await settled(anna)


async def test_disclaimer(exchange: Exchange, person: Someone, address: str) -> None:
    """Streamed or not, once, and stored."""
    async with await person().connects("/ws/conversations/chunks-disclaimer?assistant=careful") as anna:
        await anna.says(message("Is it bad?"))
        done = await anna.hears("done")
        assert done["message"]["text"] == f"Is it bad?\n\n{MEDICAL}"
        await settled(anna)
        async with Browser(exchange, address, "post") as post:
            path = "/api/conversations/chunks-disclaimer/messages/chat?assistant=careful"
            told = await post.posts(path, {"text": "And now?"})
            assert told["text"] == f"And now?\n\n{MEDICAL}"
        await anna.hears("done")
        await settled(anna)


async def test_post(exchange: Exchange, person: Someone, address: str) -> None:
    """The same rules without streaming: the message itself comes back, once for each `client_message_id`."""
    path = "/api/conversations/chunks-post/messages/chat"
    async with Browser(exchange, address, "post") as post:
        first = await post.posts(path, {"text": "Hello", "client_message_id": "post-1"})
        again = await post.posts(path, {"text": "Hello", "client_message_id": "post-1"})
        assert first == again
        for wrong in (
            {"text": "Other", "client_message_id": "post-1"},
            {},
            {"text": ""},
            {"text": 5},
            [],
            "no JSON",
        ):
            await post.posts(path, wrong)
    async with await person("socket").connects("/ws/conversations/chunks-post") as socket:
        await socket.says(message("Hello", "post-1"))
        done = await socket.hears("done")
        assert done["message"] == first
        await settled(socket)


async def test_post_error(exchange: Exchange, address: str) -> None:
    async with Browser(exchange, address, "post") as post:
        await post.posts(
            "/api/conversations/chunks-post-error/messages/chat?assistant=broken", {"text": "Hello"}
        )


async def test_parts(person: Someone) -> None:
    async with await person().connects("/ws/conversations/chunks-parts") as anna:
        await anna.says(message("What is this?", parts=[{"type": "image", "data": PNG}]))
        await anna.hears(lambda frame: frame["type"] in {"done", "error"})
        await settled(anna)
        await anna.says(message("And this?", parts=[{"type": "audio", "attachment": "nothing"}]))
        await anna.hears("error")
        await settled(anna)


async def test_token(exchange: Exchange, locked: str) -> None:
    for bad in (None, "nonsense", token("anna", lasts=-60)):
        stranger = await Person(exchange, locked, "stranger").connects("/ws/conversations/any", token=bad)
        assert await stranger.is_closed() == 4001
    async with Browser(exchange, locked, "rest", token=token("anna")) as rest:
        mine = (await rest.posts("/api/conversations", {}, show=False))["id"]
    async with await Person(exchange, locked, "anna").connects(
        f"/ws/conversations/{mine}", token=token("anna")
    ) as anna:
        await anna.says(message("It is me"))
        await anna.hears("done")
        ben = await Person(exchange, locked, "ben").connects(f"/ws/conversations/{mine}", token=token("ben"))
        assert await ben.is_closed() == 4003
        await ben.connects("/ws/conversations/nobody-has-it", token=token("ben"))
        assert await ben.is_closed() == 4003
        async with Browser(exchange, locked, "ben-posts", token=token("ben")) as post:
            await post.posts(f"/api/conversations/{mine}/messages/chat", {"text": "Me too"})
        await settled(anna)


async def test_bad_request(person: Someone) -> None:
    for path in (f"/ws/conversations/{'x' * 129}", "/ws/conversations/chunks-bad?assistant=nobody"):
        anna = await person("anna").connects(path)
        assert await anna.is_closed() == 4000


@pytest.mark.parametrize("sockets", [1, 10])
async def test_a_hundred_times_at_once(address: str, sockets: int) -> None:
    """One message, one reply, and every one of the hundred is told it."""
    name = f"chunks-hundred-{sockets}"
    url = address.replace("http", "ws") + f"/ws/conversations/{name}"
    open_ones = [await connect(url) for _ in range(sockets)]
    same = json.dumps(message("Say it once, please.", name))
    await asyncio.gather(*(open_ones[n % sockets].send(same) for n in range(100)))
    replies = set()
    for each in open_ones:
        text, dones = "", 0
        await each.send('{"type":"ping"}')
        while True:
            frame = json.loads(await asyncio.wait_for(each.recv(), 20))
            assert frame["type"] != "error", frame
            if frame["type"] == "done":
                dones += 1
                assert frame["message"]["text"] == "Say it once, please."
                replies.add(frame["messageId"])
            elif frame["type"] == "chunk":
                text = text[: frame["from"]] + frame["data"]
            elif frame["type"] == "pong":
                break
        while not dones:
            frame = json.loads(await asyncio.wait_for(each.recv(), 20))
            dones += frame["type"] == "done"
            if frame["type"] == "done":
                replies.add(frame["messageId"])
        await each.close()
    assert len(replies) == 1
    async with aiohttp.ClientSession(address) as rest, rest.get(f"/api/conversations/{name}") as answer:
        thread = await answer.json()
    assert [each["role"] for each in thread["messages"]] == ["user", "assistant"]
