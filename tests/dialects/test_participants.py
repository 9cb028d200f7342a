"""Several people in one conversation over real sockets of the native protocol."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.dialects.serving import AUTH, token
from tests.faults.conftest import Client, connected
from tests.gateway.server import calling

from legato.gateway.server import Server
from legato.testing.engine import ScriptedEngine


class Room:
    """A conversation of Ada's on a server with several people, each with as many sockets as they like."""

    def __init__(self, server: Server, sockets: AsyncExitStack) -> None:
        self.server = server
        self.sockets = sockets
        self.id = ""

    async def connect(self, user: str) -> Client:
        return await self.sockets.enter_async_context(
            connected(self.server, Authorization=f"Bearer {token(user, name=user.title())}")
        )

    async def come(self, user: str) -> Client:
        """A socket that follows, and was told who is here."""
        client = await self.connect(user)
        assert (await client.ask("follow", conversation=self.id))["type"] == "following"
        await client.next("people")
        return client

    async def call(self, user: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
        async with (
            calling(self.server, token(user, name=user.title())) as http,
            http.request(method, path.format(c=self.id), json=body) as response,
        ):
            return response.status, await response.json() if response.status != 204 else None

    async def let_in(self, user: str, standing: str = "member") -> None:
        status, made = await self.call(
            "ada", "POST", "/api/conversations/{c}/invitations", {"standing": standing}
        )
        assert status == 201
        assert (await self.call(user, "POST", f"/api/invitations/{made['secret']}"))[0] == 200


@pytest.fixture
async def room(serve: Callable[..., Any], engine: ScriptedEngine) -> AsyncIterator[Room]:
    async with serve(**AUTH) as server, AsyncExitStack() as sockets:
        room = Room(server, sockets)
        room.id = (await room.call("ada", "POST", "/api/conversations"))[1]["id"]
        yield room


async def people(client: Client, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The people, by user, once they are as wanted: as the client was told last, or will be."""
    told = [frame for frame in client.frames if frame["type"] == "people"]
    frame = told[-1] if told else await client.next("people")
    while not wanted(here := {each["user"]: each for each in frame["people"]}):
        frame = await client.next("people")
    return here


async def test_presence_is_sent_after_following_and_when_it_changes(room: Room) -> None:
    await room.let_in("bob")
    await room.let_in("eve", "viewer")
    ada = await room.connect("ada")
    following = await ada.ask("follow", conversation=room.id)
    assert following["conversation"]["standing"] == "owner"
    told = await ada.next("people")
    assert told["conversation"] == room.id
    assert told["people"] == [
        {"user": "ada", "standing": "owner", "name": "Ada", "present": True, "connections": 1},
        {"user": "bob", "standing": "member", "name": "Bob"},
        {"user": "eve", "standing": "viewer", "name": "Eve"},
    ]
    first = await room.come("bob")
    second = await room.come("bob")
    here = await people(ada, lambda here: here["bob"].get("connections") == 2)
    assert here["bob"]["present"] is True
    await first.socket.close()
    await people(ada, lambda here: here["bob"].get("connections") == 1)
    assert (await second.ask("unfollow", conversation=room.id))["type"] == "unfollowed"
    here = await people(ada, lambda here: "present" not in here["bob"])
    assert here["bob"]["standing"] == "member"


async def test_all_participants_follow_a_reply_live_and_from_its_middle(
    room: Room, engine: ScriptedEngine
) -> None:
    await room.let_in("bob")
    await room.let_in("eve", "viewer")
    ada, bob = await room.come("ada"), await room.come("bob")
    ack = await bob.ask("send", client_message_id="k", conversation=room.id, text="All of you?")
    run = await engine.asked()
    run.say("All ")
    asked = await ada.next("message")
    assert (asked["message"]["author"], asked["message"]["text"]) == ("bob", "All of you?")
    while not any(event.get("text") == "All " for event in (await ada.next("delta"))["events"]):
        pass
    eve = await room.connect("eve")
    following = await eve.ask("follow", conversation=room.id)
    assert following["conversation"]["standing"] == "viewer"
    await eve.next("people")
    run.say("of us.")
    run.finish()
    assert (await eve.text(ack["reply"]))[0] == "All of us."
    assert (await bob.text(ack["reply"]))[0] == "All of us."
    assert (await ada.text(ack["reply"]))[0] == "of us."


async def branch(room: Room) -> list[str]:
    """The texts of the messages of users in the shown branch."""
    whole = (await room.call("ada", "GET", "/api/conversations/{c}"))[1]
    by_id, path, at = {each["id"]: each for each in whole["messages"]}, [], whole["head"]
    while at is not None:
        path.append(by_id[at])
        at = by_id[at]["parent"]
    return [each["text"] for each in reversed(path) if each["role"] == "user"]


async def test_messages_sent_at_once_behind_the_same_message_stand_one_after_the_other(
    room: Room, engine: ScriptedEngine
) -> None:
    await room.let_in("bob")
    ada, bob = await room.come("ada"), await room.come("bob")
    first = await ada.ask("send", client_message_id="1", conversation=room.id, text="One")
    run = await engine.asked()
    run.say("Well.")
    run.finish()
    where = {"conversation": room.id, "parent": first["reply"]}
    await ada.say("send", client_message_id="2", text="Two", **where)
    await bob.say("send", client_message_id="2", text="Three", **where)
    await ada.next("ack")
    await bob.next("ack")
    shown = await branch(room)
    assert (shown[0], sorted(shown[1:])) == ("One", ["Three", "Two"])
    for _ in range(2):
        run = await engine.asked()
        run.say("Yes.")
        run.finish()
    assert len(engine.requests[-1].turns) == 5, "the second reply has read the first"
    # What ada sent a second time is what it was.
    again = await ada.ask("send", client_message_id="2", text="Two", **where)
    assert again["duplicate"] is True
    assert await branch(room) == shown


async def test_an_explicit_branch_stays_one(room: Room, engine: ScriptedEngine) -> None:
    await room.let_in("bob")
    ada, bob = await room.come("ada"), await room.come("bob")
    first = await ada.ask("send", client_message_id="1", conversation=room.id, text="One")
    (await engine.asked()).finish()
    where = {"conversation": room.id, "parent": first["reply"]}
    await ada.ask("send", client_message_id="2", conversation=room.id, text="Two")
    # Ada has written behind it herself, and Bob says that he means it.
    await ada.ask("send", client_message_id="3", text="Not two", **where)
    assert await branch(room) == ["One", "Not two"]
    await bob.ask("send", client_message_id="4", text="Not that", append=False, **where)
    assert await branch(room) == ["One", "Not that"]
    await bob.ask("send", client_message_id="5", text="And that", append=True, **where)
    assert await branch(room) == ["One", "Not that", "And that"]
    # Another branch is shown by now: the message goes where its author was.
    await bob.ask("show", conversation=room.id, message=first["reply"])
    await ada.ask("send", client_message_id="6", text="Else", append=True, **where)
    assert await branch(room) == ["One", "Else"]
    status, _ = await room.call(
        "bob", "POST", "/api/conversations/{c}/messages", {"text": "By HTTP", "parent": first["reply"]}
    )
    assert (status, await branch(room)) == (201, ["One", "Else", "By HTTP"])


async def test_typing_that_changes_all_the_time_is_joined(room: Room) -> None:
    await room.let_in("bob")
    ada, bob = await room.come("ada"), await room.come("bob")
    for n in range(101):
        await bob.say("typing", conversation=room.id, typing=n % 2 == 0)
    assert (await bob.ask("ping"))["type"] == "pong"
    told: list[bool] = []
    while len(told) < 7 or not told[-1]:
        told.append((await ada.next("typing"))["typing"])
    assert len(told) < 20
    assert told == [n % 2 == 0 for n in range(len(told))]


async def test_typing_is_sent_to_the_others(room: Room, engine: ScriptedEngine) -> None:
    await room.let_in("bob")
    ada, bob = await room.come("ada"), await room.come("bob")
    await bob.say("typing", conversation=room.id, typing=True)
    told = {"type": "typing", "conversation": room.id, "user": "bob", "name": "Bob"}
    assert await ada.next("typing") == {**told, "typing": True}
    await bob.say("typing", conversation=room.id, typing=False)
    assert await ada.next("typing") == {**told, "typing": False}
    await bob.say("typing", conversation=room.id)
    assert (await ada.next("typing"))["typing"] is True
    await bob.ask("send", client_message_id="k", conversation=room.id, text="There.")
    assert (await ada.next("typing"))["typing"] is False
    (await engine.asked()).finish()
    assert (await bob.ask("ping"))["type"] == "pong"
    assert not [frame for frame in bob.frames if frame["type"] == "typing"]


async def test_typing_is_refused_without_permission(room: Room) -> None:
    await room.let_in("eve", "viewer")
    eve, mallory = await room.come("eve"), await room.connect("mallory")
    assert (await eve.ask("typing", conversation=room.id))["code"] == "forbidden"
    said = await mallory.ask("typing", conversation=room.id)
    assert {**said, "re": ""} == {**await mallory.ask("typing", conversation="nothing"), "re": ""}
    assert said["code"] == "not_found"


async def test_a_viewer_cannot_write(room: Room, engine: ScriptedEngine) -> None:
    ada = await room.come("ada")
    ack = await ada.ask("send", client_message_id="k", conversation=room.id, text="Mine")
    run = await engine.asked()
    await room.let_in("eve", "viewer")
    eve = await room.come("eve")
    message = {"conversation": room.id, "message": ack["reply"]}
    for kind, fields in (
        ("send", {"client_message_id": "e", "conversation": room.id, "text": "x"}),
        ("regenerate", message),
        ("edit", {"conversation": room.id, "message": ack["message"], "text": "x"}),
        ("show", message),
        ("stop", {"conversation": room.id}),
        ("stop", message),
        ("approve", {**message, "call": "c"}),
        ("typing", {"conversation": room.id}),
    ):
        refused = await eve.ask(kind, **fields)
        assert (refused["type"], refused.get("code")) == ("error", "forbidden"), (kind, refused)
    for method, path, body in (
        ("PATCH", "", {"title": "Hers"}),
        ("PATCH", "", {"head": ack["message"]}),
        ("DELETE", "", None),
        ("POST", "/messages", {"text": "x"}),
        ("POST", "/stop", {}),
        ("POST", "/invitations", {}),
        ("GET", "/invitations", None),
        ("DELETE", "/invitations/x", None),
        ("PATCH", "/participants/eve", {"standing": "member"}),
        ("DELETE", "/participants/ada", None),
    ):
        status, answer = await room.call("eve", method, "/api/conversations/{c}" + path, body)
        assert (status, answer["error"]["code"]) == (403, "forbidden"), (method, path)
    run.say("Still here")
    run.finish()
    assert (await eve.text(ack["reply"]))[0] == "Still here"


async def test_a_removed_participant_is_notified_and_gets_nothing_more(
    room: Room, engine: ScriptedEngine
) -> None:
    await room.let_in("bob")
    ada, bob, also = await room.come("ada"), await room.come("bob"), await room.come("bob")
    ack = await ada.ask("send", client_message_id="k", conversation=room.id, text="Go on")
    run = await engine.asked()
    run.say("For all ")
    await bob.next("delta")
    await also.next("delta")
    assert (await room.call("ada", "DELETE", "/api/conversations/{c}/participants/bob"))[0] == 204
    run.say("but Bob")
    run.finish()
    assert (await ada.text(ack["reply"]))[0].endswith("but Bob")
    for socket in (bob, also):
        assert (await socket.next("deleted"))["conversation"] == room.id
        told = len(socket.frames)
        assert (await socket.ask("follow", conversation=room.id))["code"] == "not_found"
        assert len(socket.frames) == told + 1
        assert "but Bob" not in str(socket.frames)
    here = await people(ada, lambda here: "bob" not in here)
    assert list(here) == ["ada"]


async def test_a_member_who_becomes_a_viewer_stays_and_cannot_write(room: Room) -> None:
    await room.let_in("bob")
    bob = await room.come("bob")
    status, listed = await room.call(
        "ada", "PATCH", "/api/conversations/{c}/participants/bob", {"standing": "viewer"}
    )
    assert (status, [each["standing"] for each in listed["participants"]]) == (200, ["owner", "viewer"])
    await people(bob, lambda here: here["bob"]["standing"] == "viewer")
    refused = await bob.ask("send", client_message_id="k", conversation=room.id, text="x")
    assert refused["code"] == "forbidden"


async def test_a_transferred_conversation_notifies_everyone(room: Room) -> None:
    await room.let_in("bob")
    ada, bob = await room.come("ada"), await room.come("bob")
    await room.call("ada", "PATCH", "/api/conversations/{c}/participants/bob", {"standing": "owner"})
    assert (await bob.next("conversation"))["conversation"]["standing"] == "owner"
    assert (await ada.next("conversation"))["conversation"]["standing"] == "member"
    assert (await room.call("ada", "DELETE", "/api/conversations/{c}/participants/ada"))[0] == 204
    assert (await ada.next("deleted"))["conversation"] == room.id
    here = await people(bob, lambda here: "ada" not in here)
    assert here["bob"]["standing"] == "owner"


async def test_without_auth_presence_counts_sockets(
    serve: Callable[..., Any], engine: ScriptedEngine
) -> None:
    async with serve() as server, connected(server) as one, connected(server) as other:
        ack = await one.ask("send", client_message_id="k", text="Hello")
        (await engine.asked()).finish()
        await other.ask("follow", conversation=ack["conversation"])
        here = await people(one, lambda here: here["local"]["connections"] == 2)
        assert list(here) == ["local"]
