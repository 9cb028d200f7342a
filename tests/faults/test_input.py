"""Whatever a client sends is kept as it is meant or refused with a sentence; the socket lives, and nothing is kept by halves."""

import json
from io import BytesIO
from typing import Any

import pytest
from tests.gateway.server import calling

from legato.gateway.server import Server
from legato.testing.engine import ScriptedEngine

from .conftest import Client, connected

TEXTS = {
    "nul": ("a\0b", "a\ufffdb"),
    "lone high": ("a\ud800b", "a\ufffdb"),
    "lone low": ("\udfff", "\ufffd"),
    "noncharacters": ("\ufffe\uffff\U0010ffff", "\ufffe\uffff\U0010ffff"),
    "emoji": ("👩‍👩‍👧‍👦🏳️‍🌈", "👩‍👩‍👧‍👦🏳️‍🌈"),
    "right to left": ("\u202eשלום \u2066عالم\u2069", "\u202eשלום \u2066عالم\u2069"),
    "line ends": ("a\r\nb\rc\n\u2028d\u2029", "a\r\nb\rc\n\u2028d\u2029"),
    "an event of its own": ("x\n\ndata: {}\nid: 9:9\n\n", "x\n\ndata: {}\nid: 9:9\n\n"),
    "markup": ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    "sql": ("'; DROP TABLE messages; --", "'; DROP TABLE messages; --"),
    "marks": ("e" + "\u0301" * 5000, "e" + "\u0301" * 5000),
    "escapes": ("\\u0000 \\\\u0000 \\", "\\u0000 \\\\u0000 \\"),
}

IDS = ["", "\0", "a\nb", "\ud800", "x" * 129, "../../etc/passwd", "%00", "😀" * 128]


@pytest.mark.parametrize("name", TEXTS)
async def test_any_text_comes_back_as_it_went_by_every_door(
    server: Server, engine: ScriptedEngine, name: str
) -> None:
    text, kept = TEXTS[name]
    async with connected(server) as client, calling(server) as http:
        answer = await client.ask("send", client_message_id="k", text=text)
        run = await engine.asked()
        run.say(text)
        run.finish()
        said, end = await client.text(answer["reply"])
        assert (said, end["type"]) == (kept, "finished")
        async with http.get(f"/api/conversations/{answer['conversation']}") as response:
            whole = await response.json()
        assert [message["text"] for message in whole["messages"]] == [kept, kept]
        async with http.get(f"/api/streams/{answer['reply']}") as response:
            lines = (await response.text()).split("\n\n")
        events = [json.loads(line.partition("data: ")[2])["events"] for line in lines if line]
        assert "".join(e["text"] for batch in events for e in batch if e["type"] == "text") == kept
        async with http.get("/api/conversations", params={"q": kept[:900]}) as response:
            assert response.status == 200
        async with http.get(
            f"/api/conversations/{answer['conversation']}/export", params={"format": "markdown"}
        ) as response:
            assert kept in await response.text()


STRINGS: dict[str, dict[str, Any]] = {
    "follow": {"conversation": None, "positions": [{"stream": None, "epoch": "e", "offset": 0}]},
    "unfollow": {"conversation": None},
    "send": {"client_message_id": None, "text": "Hello"},
    "send to": {"client_message_id": "k", "conversation": None, "text": "Hello"},
    "send behind": {"client_message_id": "k2", "text": "Hello", "parent": None},
    "send as": {"client_message_id": "k3", "text": "Hello", "assistant": None},
    "regenerate": {"conversation": None, "message": None},
    "edit": {"conversation": None, "message": None, "text": "Hello", "client_message_id": None},
    "show": {"conversation": None, "message": None},
    "stop": {"conversation": None, "message": None},
    "hello": {"token": None, "ticket": None},
}


def filled(value: Any, text: str) -> Any:
    match value:
        case None:
            return text
        case dict():
            return {name: filled(each, text) for name, each in value.items()}
        case list():
            return [filled(each, text) for each in value]
    return value


@pytest.mark.parametrize("kind", STRINGS)
async def test_any_name_is_answered_and_the_socket_lives(
    server: Server, engine: ScriptedEngine, kind: str
) -> None:
    async with connected(server) as client:
        for text in [*IDS, "\0" * 100, "x" * 20_000]:
            command = {"type": kind.split()[0], "id": "1", **filled(STRINGS[kind], text)}
            await client.socket.send(json.dumps(command))
            frame = json.loads(await client.socket.recv())
            while frame.get("re") != "1" and frame["type"] != "error":
                frame = json.loads(await client.socket.recv())
            assert frame.get("code", "") not in ("internal", "storage"), frame
            assert frame.get("message", "x").strip()
        assert (await client.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize(("length", "answer"), [(128, "pong"), (129, "error")])
async def test_an_id_has_128_characters_at_most(server: Server, length: int, answer: str) -> None:
    async with connected(server) as client:
        await client.say("ping", id="é" * length)
        assert (await client.next("pong", "error"))["type"] == answer


NUMBERS = ["1e400", "-1", "1" * 300, "NaN", "Infinity", "1.5", "true", "null", '"1"', "9223372036854775808"]


@pytest.mark.parametrize("number", NUMBERS)
async def test_any_number_is_a_number_or_a_sentence(
    server: Server, engine: ScriptedEngine, number: str
) -> None:
    async with connected(server) as client, calling(server) as http:
        ack = await client.ask("send", client_message_id="k", text="Hello")
        (await engine.asked()).say("Hi")
        position = f'[{{"stream":"{ack["reply"]}","epoch":"e","offset":{number}}}]'
        for field in (f'"since":{number}', f'"positions":{position}'):
            raw = f'{{"type":"follow","id":"f","conversation":"{ack["conversation"]}",{field}}}'
            await client.socket.send(raw)
            frame = await client.next("following", "error")
            assert frame.get("code", "invalid") == "invalid"
        assert (await client.ask("ping"))["type"] == "pong"
        params = {"since": number}
        async with http.get(f"/api/conversations/{ack['conversation']}/messages", params=params) as response:
            assert response.status in (200, 400)


DEEP = [b"[" * 60_000, b'{"a":' * 10_000, b'{"type":"ping","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}"]


@pytest.mark.parametrize("raw", DEEP, ids=["lists", "objects", "in a command"])
async def test_deep_json_is_a_sentence(server: Server, raw: bytes) -> None:
    async with connected(server) as client, calling(server) as http:
        await client.socket.send(raw.decode())
        assert (await client.next("error"))["code"] == "invalid"
        assert (await client.ask("ping"))["type"] == "pong"
        deep = b"[" * 1_000_000 + b"]" * 1_000_000
        async with http.post("/api/conversations", data=BytesIO(deep)) as response:
            assert response.status == 400
            assert (await response.json())["error"]["code"] == "invalid"


async def test_200_000_characters_of_four_bytes_go_through_a_reader_that_reads(
    server: Server, engine: ScriptedEngine
) -> None:
    """The frames of it are larger than what a slow reader may owe; a reader that reads is not slow."""
    text = "".join(chr(0x1F300 + n % 500) for n in range(200_000))
    async with calling(server) as http, connected(server) as client:
        async with http.post("/api/conversations", json={}) as response:
            conversation = (await response.json())["id"]
        await client.ask("follow", conversation=conversation)
        body = BytesIO(json.dumps({"text": text}, ensure_ascii=False).encode())
        async with http.post(f"/api/conversations/{conversation}/messages", data=body) as response:
            assert response.status == 201, await response.text()
            taken = await response.json()
        assert (await client.next("message"))["message"]["text"] == text
        run = await engine.asked()
        run.say(text)
        run.finish()
        said, end = await client.text(taken["reply"])
        assert (said == text, end["type"]) == (True, "finished")
        message = (await client.next("message"))["message"]
        assert (message["status"], message["text"] == text) == ("complete", True)
        assert (await client.ask("ping"))["type"] == "pong"
        async with connected(server) as other:
            await other.say("follow", conversation=conversation)
            messages: list[dict[str, Any]] = []
            while True:
                frame = await other.next("following", "messages")
                messages += frame["messages"]
                if not frame.get("more"):
                    break
            assert [message["text"] == text for message in messages] == [True, True]
        body = BytesIO(json.dumps({"text": text + "x"}, ensure_ascii=False).encode())
        async with http.post(f"/api/conversations/{conversation}/messages", data=body) as response:
            assert response.status == 400


async def test_no_field_of_a_command_can_be_another_kind_of_thing(server: Server) -> None:
    """Every field of every command, with every kind of JSON in it."""
    kinds: list[Any] = [None, True, 0, -1, 1.5, "", "x", [], [None], {}, {"type": "text"}]
    fields = {
        "hello": ["token", "ticket"],
        "follow": ["conversation", "since", "positions"],
        "unfollow": ["conversation"],
        "send": ["client_message_id", "conversation", "text", "parts", "parent", "assistant"],
        "regenerate": ["conversation", "message", "client_message_id"],
        "edit": ["conversation", "message", "text", "client_message_id"],
        "show": ["conversation", "message"],
        "stop": ["conversation", "message"],
    }
    good = {"conversation": "none", "client_message_id": "k", "message": "none", "text": ""}
    async with connected(server) as client:
        for kind, names in fields.items():
            for name in names:
                for value in kinds:
                    said = {each: good[each] for each in names if each in good} | {name: value}
                    await client.say(kind, id="1", **said)
                    frame = json.loads(await client.socket.recv())
                    assert frame["type"] in ("error", "unfollowed", "welcome"), (kind, name, value, frame)
                    assert frame.get("code") not in ("internal", "storage")
            await _rests(client)
    async with calling(server) as http, http.get("/api/conversations") as response:
        assert (await response.json())["conversations"] == []


async def _rests(client: Client) -> None:
    """The pace of commands is bounded: let the rest be answered first."""
    assert (await client.ask("ping"))["type"] == "pong"
