"""Commands over the native protocol and over REST: answered at once, and nothing of them is stored."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.dialects.conftest import Frame, Server
from tests.gateway.server import calling, serving, settings_for


async def test_a_command_is_answered_instead_of_acknowledged(server: Server) -> None:
    wire, say = server.connect()
    say("send", id="1", client_message_id="k", text="/help")
    answer = await wire.next("command")
    assert (answer["re"], answer["name"]) == ("1", "help")
    assert "`/stat`" in answer["text"]
    assert "failed" not in answer
    assert server.engine.requests == []
    assert await server.storage.conversations("ada") == []


@pytest.mark.parametrize(
    "sent",
    [
        {"text": "/nonsense"},
        {"text": "", "parts": [{"type": "text", "text": "/nonsense"}]},
        {"parts": [{"type": "text", "text": ""}, {"type": "text", "text": "/nonsense"}]},
        {"text": "/nonsense", "parts": [{"type": "image", "data": "data:image/png;base64,AAAA"}]},
    ],
)
async def test_text_that_begins_with_a_slash_reaches_no_model(server: Server, sent: dict[str, Any]) -> None:
    wire, say = server.connect()
    say("send", client_message_id="k", **sent)
    answer = await wire.next("command")
    assert answer["failed"]
    assert "There is no command `/nonsense`." in answer["text"]
    assert server.engine.requests == []


async def test_a_message_cannot_be_edited_into_a_command(server: Server) -> None:
    wire, say = server.connect()
    say("send", client_message_id="k", text="Hello")
    ack = await wire.next("ack")
    run = await server.engine.asked()
    run.finish()
    say("edit", id="2", conversation=ack["conversation"], message=ack["message"], text="/help")
    assert (await wire.next("error", re="2"))["code"] == "invalid"
    assert len(server.engine.requests) == 1


async def test_new_names_the_conversation_to_show(server: Server) -> None:
    wire, say = server.connect()
    say("send", client_message_id="k", text="/new Tides")
    made = (await wire.next("command"))["conversation"]
    say("follow", conversation=made)
    assert (await wire.next("following"))["conversation"]["title"] == "Tides"


def is_whole_reply(frame: Frame) -> bool:
    message = frame["message"] if frame["type"] == "message" else {}
    return (message.get("role"), message.get("status")) == ("assistant", "complete")


async def test_retry_is_followed_from_its_beginning(server: Server) -> None:
    wire, say = server.connect()
    say("send", client_message_id="k", text="Hello")
    conversation = (await wire.next("ack"))["conversation"]
    run = await server.engine.asked()
    run.say("one")
    run.finish()
    await wire.until(lambda wire: any(is_whole_reply(frame) for frame in wire.frames))
    other, say_there = server.connect()
    say_there("send", client_message_id="r", conversation=conversation, text="/retry")
    run = await server.engine.asked()
    run.say("two")
    run.finish()
    await other.next("command")
    said = ""
    while "two" not in said:
        said += "".join(e.get("text", "") for e in (await other.next("delta"))["events"])


@pytest.fixture
async def http(tmp_path: Path) -> Any:
    settings = settings_for(
        tmp_path,
        assistants={
            "default": {"engine": "demo", "model": "demo:echo"},
            "nurse": {"engine": "demo", "model": "demo:markov", "disclaimer": "Ask a doctor."},
        },
    )
    async with serving(settings) as server, calling(server) as http:
        yield http


async def test_rest_answers_a_command_with_200(http: aiohttp.ClientSession) -> None:
    async with http.post("/api/conversations", json={}) as response:
        conversation = (await response.json())["id"]
    path = f"/api/conversations/{conversation}/messages"
    async with http.post(path, json={"text": "/title Tides"}) as response:
        assert response.status == 200
        assert await response.json() == {
            "name": "title",
            "text": "It is called Tides.",
            "failed": False,
            "conversation": None,
            "reply": None,
        }
    async with http.get(path) as response:
        whole = await response.json()
    assert (whole["messages"], whole["conversation"]["title"]) == ([], "Tides")


async def test_rest_lists_all_commands(http: aiohttp.ClientSession) -> None:
    async with http.get("/api/commands") as response:
        listed = {each["name"]: each for each in (await response.json())["commands"]}
    assert listed["help"]["usage"] == "/help [command]"
    assert listed["stat"]["aliases"] == ["status"]
    assert all(each["help"] for each in listed.values())


async def test_info_describes_each_assistant(http: aiohttp.ClientSession) -> None:
    async with http.get("/api/info") as response:
        assistants = {each["name"]: each for each in (await response.json())["assistants"]}
    assert assistants["nurse"] == {
        "name": "nurse",
        "engine": "demo",
        "model": "demo:markov",
        "disclaimer": "Ask a doctor.",
    }


async def test_the_demo_engine_is_switched_by_an_assistants_name_and_by_model(
    http: aiohttp.ClientSession,
) -> None:
    async with http.post("/api/conversations", json={"assistant": "nurse"}) as response:
        conversation = (await response.json())["id"]
    path = f"/api/conversations/{conversation}/messages"
    async with http.post(path, json={"text": "/model echo"}) as response:
        assert "`demo:echo`" in (await response.json())["text"]
    async with http.post(f"{path}/chat", json={"text": "one two"}) as response:
        assert (await response.json())["text"] == "one two\n\nAsk a doctor."
