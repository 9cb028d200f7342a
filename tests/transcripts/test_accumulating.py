"""A: `/ws/assistant`, by a client that was written from the notes alone."""

from collections.abc import Callable

import pytest

from .conftest import MEDICAL, token
from .exchange import Exchange
from .model import HeldModel
from .people import Person, types

Someone = Callable[..., Person]

ORDER = ["message_received", "typing_start", "message_start", "message_complete", "typing_stop"]


def order(person: Person) -> list[str]:
    return [kind for kind in types(person.frames) if kind != "message_chunk"]


async def test_conversation(person: Someone) -> None:
    async with await person().connects("/ws/assistant") as anna:
        await anna.says({"type": "message", "content": "Hello, how are you?"})
        received = await anna.hears("message_received")
        await anna.hears("typing_stop")
        assert order(anna) == ORDER
        assert [f["content"] for f in anna.frames if f["type"] == "message_complete"] == [
            "Hello, how are you?"
        ]
        await anna.says({"type": "message", "message": "And again", "unknown": {"field": 1}})
        again = await anna.hears("message_received")
        assert again["session_id"] == received["session_id"]
        await anna.hears("typing_stop")
        assert order(anna) == ORDER * 2


async def test_context(person: Someone, address: str) -> None:
    """Twenty messages of a session reach the model, the new one included, and the question of the first one, which is an answer."""
    path = "/ws/assistant?session_id=accumulating-context&assistant=model"
    async with await Person(Exchange("before"), address).connects(path) as before:
        for number in range(11):
            await before.says({"type": "message", "content": f"This is {number}."})
            await before.hears("typing_stop")
    async with await person().connects(path) as anna:
        await anna.says({"type": "message", "content": "How many?"})
        told = await anna.hears("message_complete")
        assert told["content"] == "I was given 21, from “This is 1.”."
        await anna.hears("typing_stop")


async def test_error(person: Someone) -> None:
    async with await person().connects("/ws/assistant?assistant=broken") as anna:
        for frame in (
            "no JSON",
            "[1, 2]",
            "null",
            {"type": "dance"},
            {"no": "type"},
            {"type": "message"},
            {"type": "message", "content": ""},
            {"type": "message", "content": 7},
            {"type": "message", "content": "Hi", "session_id": "x" * 129},
        ):
            await anna.says(frame)
            await anna.hears("error")
        await anna.says({"type": "message", "content": "Are you there?"})
        await anna.hears("typing_stop")


async def test_error_after_words(person: Someone) -> None:
    async with await person().connects("/ws/assistant?assistant=model") as anna:
        await anna.says({"type": "message", "content": "Break off."})
        await anna.hears("typing_stop")
        assert order(anna) == ["message_received", "typing_start", "message_start", "error", "typing_stop"]
        await anna.says({"type": "message", "content": "Still there?"})
        await anna.hears("typing_stop")


async def test_backup(person: Someone) -> None:
    async with await person().connects("/ws/assistant?assistant=backed") as anna:
        await anna.says({"type": "message", "content": "Who speaks?"})
        await anna.hears("typing_stop")
        spoke = {frame["model_used"] for frame in anna.frames if "model_used" in frame}
        assert spoke == {"spare"}


async def test_cut(person: Someone, model: HeldModel) -> None:
    """The session goes on where it was, and so does the reply that was being told."""
    path = "/ws/assistant?session_id=accumulating-cut&assistant=model"
    async with await person().connects(path) as anna:
        await anna.says({"type": "message", "content": "Count to four."})
        await anna.hears_text("one two ")
        await anna.is_cut()
        await anna.connects(path)
        await anna.hears_text("one two ")
        model.go_on()
        await anna.hears("typing_stop")
        await anna.says({"type": "message", "content": "How many?"})
        await anna.hears("typing_stop")


async def test_second_participant(person: Someone, model: HeldModel) -> None:
    path = "/ws/assistant?session_id=accumulating-two&assistant=model"
    async with await person("anna").connects(path) as anna, person("ben") as ben:
        await anna.says({"type": "message", "content": "Count to four."})
        await anna.hears_text("one two ")
        await ben.connects(path)
        await ben.hears_text("one two ")
        model.go_on()
        await anna.hears("typing_stop")
        await ben.hears("typing_stop")
        await ben.says({"type": "message", "content": "How many?"})
        await ben.hears("typing_stop")
        await anna.hears("typing_stop")


async def test_stop(person: Someone, model: HeldModel) -> None:
    path = "/ws/assistant?session_id=accumulating-stop&assistant=model"
    async with await person("anna").connects(path) as anna, await person("ben").connects(path) as ben:
        await anna.says({"type": "message", "content": "Count to four."})
        await anna.hears_text("one two ")
        await ben.hears_text("one two ")
        await ben.says({"type": "message", "content": "/stop"})
        await anna.hears("typing_stop")
        await ben.hears("typing_stop")


async def test_disclaimer(person: Someone) -> None:
    async with await person().connects("/ws/assistant?assistant=careful") as anna:
        await anna.says({"type": "message", "content": "Is it bad?"})
        whole = await anna.hears("message_complete")
        assert whole["content"] == f"Is it bad?\n\n{MEDICAL}"
        await anna.hears("typing_stop")


async def test_thinking(person: Someone) -> None:
    async with await person().connects("/ws/assistant?assistant=thinker") as anna:
        await anna.says({"type": "message", "content": "Hello"})
        await anna.hears("typing_stop")


async def test_token(exchange: Exchange, locked: str) -> None:
    for bad in (
        None,
        "nonsense",
        token("anna", lasts=-60),
        token("anna", secret="another secret, long enough for it"),
    ):
        stranger = await Person(exchange, locked, "stranger").connects("/ws/assistant", token=bad)
        assert await stranger.is_closed() == 4001
    async with await Person(exchange, locked, "anna").connects("/ws/assistant", token=token("anna")) as anna:
        await anna.says({"type": "message", "content": "It is me"})
        received = await anna.hears("message_received")
        await anna.hears("typing_stop")
        async with await Person(exchange, locked, "ben").connects(
            f"/ws/assistant?session_id={received['session_id']}", token=token("ben")
        ) as ben:
            await ben.says({"type": "message", "content": "It is me too"})
            await ben.hears("error")


@pytest.mark.parametrize("where", ["query", "frame"])
async def test_named_session(person: Someone, where: str) -> None:
    name = f"accumulating-named-{where}"
    path = f"/ws/assistant?session_id={name}" if where == "query" else "/ws/assistant"
    named = {"session_id": name} if where == "frame" else {}
    async with await person().connects(path) as anna:
        await anna.says({"type": "message", "content": "Hello", **named})
        received = await anna.hears("message_received")
        assert received["session_id"] == name
        await anna.hears("typing_stop")
