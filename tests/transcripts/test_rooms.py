"""B: `/ws/sessions`, by clients that were written from the notes alone."""

from collections.abc import Callable

import pytest

from .browser import Browser
from .conftest import MEDICAL, Start, token
from .exchange import Exchange, Frame
from .model import HeldModel
from .people import Person

Someone = Callable[..., Person]

ANYONE = '[rooms]\njoin = "anyone"\n'


def says(role: str, content: str | None = None) -> Callable[[Frame], bool]:
    return lambda frame: (
        frame["type"] == "message" and frame["role"] == role and content in {None, frame["content"]}
    )


def typing(on: bool) -> Callable[[Frame], bool]:
    return lambda frame: frame["type"] == "typing" and frame["typing"] is on


async def joined(who: Person, session: str, assistant: str = "", **more: object) -> Person:
    await who.connects("/ws/sessions" + (f"?assistant={assistant}" if assistant else ""))
    await who.hears("connection_established")
    await who.says({"type": "join_session", "session_id": session, **more})
    await who.hears("session_joined")
    return who


async def settled(*people: Person) -> None:
    """Nothing more is under way to any of them: what comes before a pong came before it."""
    for each in people:
        await each.says({"type": "ping"})
        await each.hears("pong")


async def test_conversation(person: Someone) -> None:
    async with await joined(person(), "rooms-conversation") as anna:
        await anna.says({"type": "chat_message", "content": "Hello room"})
        await anna.hears(typing(True))
        await anna.hears(typing(False))
        await settled(anna)
        await anna.says({"type": "chat_message", "message": "Once more", "session_id": "rooms-conversation"})
        await anna.hears(typing(False))
        await settled(anna)
        said = [(f["role"], f["content"]) for f in anna.frames if says("user")(f) or says("assistant")(f)]
        assert said == [
            ("user", "Hello room"),
            ("assistant", "Hello room"),
            ("user", "Once more"),
            ("assistant", "Once more"),
        ]


async def test_live(person: Someone, model: HeldModel) -> None:
    """Who asks for it follows the reply as it is written, the others get it when it is finished."""
    async with (
        await joined(person("anna"), "rooms-live", "model", stream=True) as anna,
        await joined(person("ben"), "rooms-live", "model") as ben,
    ):
        await anna.says({"type": "chat_message", "content": "Count to four."})
        await anna.hears_text("one two ")
        async with await joined(person("cleo"), "rooms-live", "model", stream=True) as cleo:
            await cleo.hears_text("one two ")
            model.go_on()
            for each in (anna, ben, cleo):
                await each.hears(typing(False))
            await settled(anna, ben, cleo)
        for each in (anna, ben):
            await each.hears(says("system"))
        await settled(anna, ben)


async def test_error(person: Someone) -> None:
    async with await person().connects("/ws/sessions?assistant=broken") as anna:
        await anna.hears("connection_established")
        for frame in (
            "no JSON",
            "[]",
            {"type": "dance"},
            {},
            {"type": "join_session"},
            {"type": "join_session", "session_id": 5},
            {"type": "chat_message", "content": "I have not joined"},
            {"type": "chat_message", "content": "Nor here", "session_id": "rooms-elsewhere"},
            {"type": "leave_session"},
        ):
            await anna.says(frame)
            await anna.hears("error")
        await anna.says({"type": "join_session", "session_id": "rooms-error"})
        await anna.hears("session_joined")
        await anna.says({"type": "chat_message"})
        await anna.hears("error")
        await anna.says({"type": "chat_message", "content": "Are you there?"})
        await anna.hears("error")
        await settled(anna)
        await anna.says({"type": "leave_session"})
        await settled(anna)
        await anna.says({"type": "chat_message", "content": "I have left", "session_id": "rooms-error"})
        await anna.hears("error")
        await settled(anna)


async def test_cut(person: Someone, model: HeldModel) -> None:
    """The one who asked drops out; the reply goes on for who watches, and for the one who asked on their return."""
    async with await joined(person("ben"), "rooms-cut", "model") as ben:
        anna = await joined(person("anna"), "rooms-cut", "model", stream=True)
        await settled(ben)
        await anna.says({"type": "chat_message", "content": "Count to four."})
        await anna.hears_text("one two ")
        await ben.hears(typing(True))
        await anna.is_cut()
        async with await joined(anna, "rooms-cut", "model", stream=True):
            await anna.hears_text("one two ")
            model.go_on()
            await anna.hears(typing(False))
            await ben.hears(typing(False))
            await settled(anna)
            await ben.says({"type": "ping"})
            await ben.hears("pong")


async def test_second_participant(person: Someone, model: HeldModel) -> None:
    """Two who speak at once get two replies, and all hear everything in one order."""
    async with (
        await joined(person("anna"), "rooms-two", "model") as anna,
        await joined(person("ben"), "rooms-two", "model") as ben,
    ):
        await anna.says({"type": "chat_message", "content": "Count to four."})
        await anna.hears(typing(True))
        await ben.says({"type": "chat_message", "content": "How many?"})
        await ben.hears(says("user", "How many?"))
        model.go_on()
        for each in (anna, ben):
            await each.hears(says("assistant", "I was given 3, from “Count to four.”."))
            await each.hears(typing(False))
        await settled(anna, ben)
        heard = [
            [f["id"] for f in each.frames if says("user")(f) or says("assistant")(f)] for each in (anna, ben)
        ]
        assert heard[0] == heard[1]
        assert len(heard[0]) == 4


async def test_stop(person: Someone, model: HeldModel) -> None:
    async with (
        await joined(person("anna"), "rooms-stop", "model") as anna,
        await joined(person("ben"), "rooms-stop", "model", stream=True) as ben,
    ):
        await anna.says({"type": "chat_message", "content": "Count to four."})
        await ben.hears_text("one two ")
        await ben.says({"type": "chat_message", "content": "/stop"})
        await ben.hears("command_response")
        await settled(ben, anna)


async def test_commands(person: Someone) -> None:
    async with (
        await joined(person("anna"), "rooms-commands") as anna,
        await joined(person("ben"), "rooms-commands") as ben,
    ):
        for text in ("/help", "/stat", "/status", "/dance"):
            await anna.says({"type": "chat_message", "content": text})
            await anna.hears("command_response")
        await settled(anna, ben)
        assert not [f for f in anna.frames + ben.frames if says("user")(f) or says("assistant")(f)]


async def test_disclaimer(person: Someone) -> None:
    async with await joined(person(), "rooms-disclaimer", "careful", stream=True) as anna:
        await anna.says({"type": "chat_message", "content": "Is it bad?"})
        told = await anna.hears(says("assistant"))
        assert told["content"] == f"Is it bad?\n\n{MEDICAL}"
        await settled(anna)


async def test_token(exchange: Exchange, locked: str) -> None:
    for bad in (
        None,
        "nonsense",
        token("anna", lasts=-60),
        token("a", secret="another secret, long enough for it"),
    ):
        stranger = await Person(exchange, locked, "stranger").connects("/ws/sessions", token=bad)
        assert await stranger.is_closed() == 4001


@pytest.mark.parametrize("join", ["members", "anyone"])
@pytest.mark.parametrize("auth", ["open", "auth"])
async def test_join(exchange: Exchange, start: Start, auth: str, join: str) -> None:
    """Who may join: a session that nobody has, and one that is somebody else's."""
    server = start(ANYONE if join == "anyone" else "", auth=auth == "auth")
    made = []
    if auth == "auth":
        async with Browser(exchange, server, "anna", token=token("anna")) as rest:
            made.append((await rest.posts("/api/conversations", {}, show=False))["id"])
    people = [Person(exchange, server, name) for name in ("anna", "ben")]
    for each in people:
        await each.connects("/ws/sessions", token=token(each.name) if auth == "auth" else None)
        await each.hears("connection_established")
        for session in (f"rooms-{auth}-{join}", *made):
            await each.says({"type": "join_session", "session_id": session})
            await each.hears(lambda frame: frame["type"] in {"session_joined", "error"})
            await settled(*people[: people.index(each) + 1])
    for each in people:
        await each.says({"type": "chat_message", "content": f"{each.name} is here"})
        await each.hears(lambda frame: says("assistant")(frame) or frame["type"] == "error")
        await settled(*people)
    for each in people:
        await each.leave()


@pytest.mark.parametrize("join", ["members", "anyone"])
async def test_session_in_the_path(exchange: Exchange, start: Start, join: str) -> None:
    server = start(ANYONE if join == "anyone" else "", auth=True)
    for name in ("anna", "ben"):
        each = Person(exchange, server, name)
        await each.connects(f"/ws/sessions/rooms-path-{join}", token=token(name))
        first = await each.hears(lambda frame: frame["type"] in {"session_joined", "error"})
        if first["type"] == "error":
            assert await each.is_closed() == 4003
        else:
            await settled(each)
            await each.leave()
