"""C: `/ws/chat`, by a client that was written from the notes alone."""

from collections.abc import Callable

from .conftest import MEDICAL, token
from .exchange import Exchange
from .model import HeldModel
from .people import Person, types

Someone = Callable[..., Person]


async def chatting(who: Person, query: str = "") -> Person:
    await who.connects(f"/ws/chat{query}")
    await who.hears("connected")
    return who


async def settled(who: Person) -> None:
    await who.says({"type": "ping"})
    await who.hears("pong")


async def test_conversation(person: Someone) -> None:
    async with await chatting(person()) as anna:
        await anna.says({"type": "message", "message": "Hello, how are you?"})
        first = await anna.hears("complete")
        await anna.says(
            {
                "type": "message",
                "message": "And again",
                "conversation_id": first["conversation_id"],
                "more": 1,
            }
        )
        second = await anna.hears("complete")
        assert second["conversation_id"] == first["conversation_id"]
        await settled(anna)
        assert set(types(anna.frames)) == {"connected", "token", "complete", "pong"}


async def test_two_at_once(person: Someone, model: HeldModel) -> None:
    """Tokens carry no id, so the second is answered when the first is."""
    async with await chatting(person(), "?assistant=model") as anna:
        await anna.says({"type": "message", "message": "Count to four.", "conversation_id": "tokens-first"})
        await anna.says({"type": "message", "message": "Me too", "conversation_id": "tokens-second"})
        await anna.hears_text("one two ")
        await settled(anna)
        model.go_on()
        await anna.hears("complete")
        await anna.hears("complete")
        await settled(anna)


async def test_error(person: Someone) -> None:
    async with await chatting(person(), "?assistant=broken") as anna:
        for frame in (
            "no JSON",
            "7",
            {"type": "dance"},
            {},
            {"type": "message"},
            {"type": "message", "message": ""},
            {"type": "message", "message": ["Hi"]},
            {"type": "message", "message": "Hi", "conversation_id": 5},
            {"type": "message", "message": "Are you there?"},
        ):
            await anna.says(frame)
            await anna.hears("error")
            await settled(anna)


async def test_cut(person: Someone, model: HeldModel) -> None:
    query = "?assistant=model"
    async with await chatting(person(), query) as anna:
        await anna.says({"type": "message", "message": "Count to four.", "conversation_id": "tokens-cut"})
        await anna.hears_text("one two ")
        await anna.is_cut()
        await chatting(anna, query + "&conversation_id=tokens-cut")
        await anna.hears_text("one two ")
        model.go_on()
        await anna.hears("complete")
        await anna.says({"type": "message", "message": "How many?", "conversation_id": "tokens-cut"})
        await anna.hears("complete")
        await settled(anna)


async def test_second_participant(person: Someone) -> None:
    """Somebody else in the same conversation has its context."""
    async with await chatting(person("anna"), "?assistant=model") as anna:
        await anna.says({"type": "message", "message": "I am Anna", "conversation_id": "tokens-two"})
        await anna.hears("complete")
        async with await chatting(person("ben"), "?assistant=model") as ben:
            await ben.says({"type": "message", "message": "How many?", "conversation_id": "tokens-two"})
            await ben.hears("complete")
            await settled(ben)
        await settled(anna)


async def test_stop(person: Someone, model: HeldModel) -> None:
    async with await chatting(person(), "?assistant=model") as anna:
        await anna.says({"type": "message", "message": "Count to four.", "conversation_id": "tokens-stop"})
        await anna.hears_text("one two ")
        await anna.says({"type": "message", "message": "/stop", "conversation_id": "tokens-stop"})
        await anna.hears("complete")
        await settled(anna)


async def test_disclaimer(person: Someone) -> None:
    async with await chatting(person(), "?assistant=careful") as anna:
        await anna.says({"type": "message", "message": "Is it bad?"})
        await anna.hears("complete")
        said = "".join(frame["content"] for frame in anna.frames if frame["type"] == "token")
        assert said == f"Is it bad?\n\n{MEDICAL}"


async def test_tools(person: Someone) -> None:
    async with await chatting(person(), "?assistant=tools") as anna:
        for text in (
            '!tool moon {"day": "Monday"}',
            '!tool tide {"day": "Monday"}',
            '!tool rain {"day": "Monday"}',
        ):
            await anna.says({"type": "message", "message": text})
            await anna.hears("complete")
            await settled(anna)
        shown = [frame for frame in anna.frames if frame["type"] in {"tool_start", "tool_end"}]
        assert all(isinstance(frame.get("input", frame.get("output")), str) for frame in shown)


async def test_thinking(person: Someone) -> None:
    async with await chatting(person(), "?assistant=thinker") as anna:
        await anna.says({"type": "message", "message": "Hello"})
        await anna.hears("complete")
        said = "".join(frame["content"] for frame in anna.frames if frame["type"] == "token")
        assert said == "You said: Hello"


async def test_token(exchange: Exchange, locked: str) -> None:
    for bad in (None, "nonsense", token("anna", lasts=-60)):
        stranger = await Person(exchange, locked, "stranger").connects("/ws/chat", token=bad)
        assert await stranger.is_closed() == 4001
    async with await Person(exchange, locked, "anna").connects("/ws/chat", token=token("anna")) as anna:
        await anna.says({"type": "message", "message": "It is me"})
        mine = (await anna.hears("complete"))["conversation_id"]
        async with await Person(exchange, locked, "ben").connects("/ws/chat", token=token("ben")) as ben:
            await ben.says({"type": "message", "message": "It is me too", "conversation_id": mine})
            await ben.hears("error")
            await settled(ben)
