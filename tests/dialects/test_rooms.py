"""`/ws/sessions` as its own clients meet it: whole servers, plain sockets, several people."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from tests.gateway.server import calling

from legato.chat.conversation_presence import ParticipantPresence
from legato.dialects.rooms.presence_notices import PresenceNotices, PresenceNoticesRegistry
from legato.errors import EngineBrokeError, EngineRefusedError
from legato.testing.engine import ScriptedEngine

from .clients.rooms import RoomClient, room
from .serving import AUTH, token

Serve = Callable[..., Any]

ANYONE: dict[str, Any] = {**AUTH, "rooms": {"join": "anyone"}}


async def close_code(client: RoomClient) -> int | None:
    await client.socket.wait_closed()
    return client.socket.close_code


@asynccontextmanager
async def people(
    server: Any, *names: str, session: str = "s", **fields: Any
) -> AsyncIterator[list[RoomClient]]:
    """These people, each with a socket of their own, in one session."""
    async with AsyncExitStack() as stack:
        clients = []
        for name in names:
            client = await stack.enter_async_context(
                room(server.address, token=token(name, name=name.title()))
            )
            await client.join(session, **fields)
            clients.append(client)
        yield clients


async def test_a_conversation(serve: Serve) -> None:
    async with serve() as server, room(server.address) as client:
        assert (await client.next())["type"] == "connection_established"
        joined = await client.join("s")
        assert (joined["session_id"], joined["messages"]) == ("s", [])
        assert joined["participants"] == [
            {"user": "local", "name": "local", "standing": "owner", "present": True}
        ]
        await client.chat("one two")
        asked = await client.until("message", role="user")
        assert asked == {
            "type": "message",
            "role": "user",
            "id": asked["id"],
            "session_id": "s",
            "content": "one two",
            "timestamp": asked["timestamp"],
            "sender": "local",
            "status": "complete",
        }
        assert (await client.until("typing"))["typing"] is True
        reply = await client.reply()
        assert (reply["content"], reply["sender"], reply["session_id"]) == ("one two", "default", "s")
        assert not any(frame["type"] == "message_chunk" for frame in client.seen)


async def test_text_may_be_in_message_and_ping_is_answered_with_pong(serve: Serve) -> None:
    async with serve() as server, room(server.address) as client:
        await client.join("s")
        await client.send("chat_message", message="Hello", session_id="s", mood=1)
        assert (await client.reply())["content"] == "Hello"
        await client.send("ping")
        assert (await client.until("pong"))["timestamp"].endswith("Z")


async def test_everyone_gets_every_message(serve: Serve) -> None:
    async with serve(**ANYONE) as server, people(server, "ada", "bob") as (ada, bob):
        await ada.chat("Hello")
        for client in (ada, bob):
            assert (await client.until("message", role="user"))["sender"] == "Ada"
            assert (await client.reply())["content"] == "Hello"


async def test_everyone_is_notified_of_who_joins_and_leaves(serve: Serve) -> None:
    async with serve(**ANYONE) as server, people(server, "ada", "bob") as (ada, bob):
        for client in (ada, bob):
            notice = await client.until("message", role="system", content="Bob joined.")
            assert notice["session_id"] == "s"
        await bob.send("leave_session")
        await ada.until("message", role="system", content="Bob left.")
        await bob.join("s")
        await ada.until("message", role="system", content="Bob joined.")
        bob.cut()
        await ada.until("message", role="system", content="Bob left.")


async def test_with_stream_a_reply_arrives_in_chunks(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, room(server.address) as client, room(server.address) as other:
        await client.join("s", stream=True)
        await other.join("s")
        await client.chat("Hello")
        run = await engine.asked()
        said = []
        for word in ("One ", "two"):
            run.say(word)
            said.append(await client.until("message_chunk"))
        run.finish()
        reply = await client.reply()
        assert [chunk["content"] for chunk in said] == ["One ", "two"]
        assert list(said[0]) == ["type", "role", "content", "model_used", "timestamp", "id"]
        assert {chunk["id"] for chunk in said} == {reply["id"]}
        assert (await other.reply())["content"] == reply["content"] == "One two"
        assert not any(frame["type"] == "message_chunk" for frame in other.seen)


async def test_a_user_who_joins_during_a_reply_gets_all_of_it(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve(**ANYONE) as server, people(server, "ada", stream=True) as (ada,):
        await ada.chat("Hello")
        run = await engine.asked()
        run.say("One ")
        await ada.until("message_chunk")
        async with people(server, "bob", stream=True) as (bob,):
            assert [each["content"] for each in bob.seen[-1]["messages"]] == ["Hello"]
            assert (await bob.until("typing"))["typing"] is True
            assert (await bob.until("message_chunk"))["content"] == "One "
            run.say("two")
            run.finish()
            assert (await bob.reply())["content"] == "One two"


async def test_a_reply_goes_on_when_the_user_who_asked_disconnects(
    serve: Serve, engine: ScriptedEngine
) -> None:
    assistants = {"default": {"engine": "demo", "model": "demo:echo", "on_unwatched": "cancel"}}
    async with serve(**ANYONE, assistants=assistants) as server, people(server, "ada", "bob") as (ada, bob):
        await ada.chat("Hello")
        run = await engine.asked()
        run.say("One ")
        ada.cut()
        await bob.until("message", content="Ada left.")
        run.say("two")
        run.finish()
        assert (await bob.reply())["content"] == "One two"
        # A cut with resume: the one who comes back is shown what was missed.
        async with people(server, "ada") as (again,):
            joined = next(frame for frame in again.seen if frame["type"] == "session_joined")
            assert [each["content"] for each in joined["messages"]] == ["Hello", "One two"]


async def test_two_messages_at_once_get_two_replies_in_one_order_for_all(serve: Serve) -> None:
    names = ("ada", "bob", "eve")
    async with serve(**ANYONE) as server, people(server, *names) as clients:
        for round_ in range(5):
            await asyncio.gather(
                *(client.chat(f"{name} {round_}") for name, client in zip(names, clients, strict=True))
            )
            orders = []
            for client in clients:
                said = [await client.until("message", role="assistant") for _ in names]
                orders.append([each["content"] for each in said])
            assert orders[0] == orders[1] == orders[2]
            assert sorted(orders[0]) == [f"{name} {round_}" for name in names]
        for client in clients:
            await client.until("typing", typing=False)
        # None of it is a branch that the others do not see.
        async with people(server, "zoe") as (zoe,):
            joined = next(frame for frame in zoe.seen if frame["type"] == "session_joined")
            assert len(joined["messages"]) == 20
            assert sum(each["role"] == "user" for each in joined["messages"]) == 10


async def test_one_reply_types_at_a_time(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, room(server.address) as client:
        await client.join("s")
        for text in ("first", "second"):
            await client.chat(text)
        for _ in range(2):
            run = await engine.asked()
            run.say("yes")
            run.finish()
            await client.reply()
        typing = [frame["typing"] for frame in client.seen if frame["type"] == "typing"]
        assert typing == [True, False, True, False]


async def test_a_failure_is_an_error_for_all_and_the_typing_stops(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve(**ANYONE) as server, people(server, "ada", "bob") as clients:
        await clients[0].chat("Hello")
        (await engine.asked()).fail(EngineRefusedError("The model is too large. Take a smaller one."))
        for client in clients:
            assert (await client.until("error"))["message"] == "The model is too large. Take a smaller one."
            await client.until("typing", typing=False)
        await clients[0].chat("Again")
        run = await engine.asked()
        run.say("Half")
        run.fail(EngineBrokeError("It broke off. Ask again."))
        for client in clients:
            half = await client.until("message", role="assistant")
            assert (half["content"], half["status"]) == ("Half", "interrupted")
            await client.until("error")
            await client.until("typing", typing=False)


@pytest.mark.parametrize(
    "payload",
    ["{", "[]", "{}", '{"type":7}', '{"type":"dance"}', '{"type":"chat_message"}', '{"type":"join_session"}',
     '{"type":"chat_message","content":7}', '{"type":"join_session","session_id":7}', "[" * 10_000],
)  # fmt: skip
async def test_a_bad_frame_is_an_error_and_the_connection_stays(serve: Serve, payload: str) -> None:
    async with serve() as server, room(server.address) as client:
        await client.join("s")
        await client.socket.send(payload)
        assert (await client.until("error"))["message"]
        await client.chat("Hello")
        assert (await client.reply())["content"] == "Hello"


async def test_a_message_outside_a_session_is_refused(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, room(server.address) as client:
        await client.chat("Hello")
        await client.until("error")
        await client.chat("Hello", session_id="s")
        await client.until("error")
        await client.chat("/help", session_id="s")
        await client.until("error")
        await client.join("s")
        await client.chat("Hello", session_id="another")
        await client.until("error")
        await client.send("leave_session")
        await client.chat("Hello", session_id="s")
        await client.until("error")
        await client.send("leave_session")
        await client.until("error")
        assert not engine.requests


async def test_after_leaving_nothing_is_sent(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve(**ANYONE) as server, people(server, "ada", "bob") as (ada, bob):
        await ada.chat("Hello")
        run = await engine.asked()
        await bob.until("typing")
        await bob.send("leave_session")
        await ada.until("message", content="Bob left.")
        run.say("One")
        run.finish()
        await ada.reply()
        bob.seen.clear()
        await bob.send("ping")
        await bob.until("pong")
        assert [frame["type"] for frame in bob.seen] == ["pong"]


async def test_joining_another_session_leaves_the_first(serve: Serve) -> None:
    async with serve() as server, room(server.address) as client, room(server.address) as other:
        await other.join("one")
        await client.join("one")
        await client.join("two")
        await other.until("message", content="local left.")
        await client.chat("Hello")
        assert (await client.reply())["session_id"] == "two"


async def test_commands_are_answered_to_their_sender_and_reach_no_model(
    serve: Serve, engine: ScriptedEngine
) -> None:
    async with serve() as server, room(server.address) as client:
        await client.join("s")
        await client.chat("/help")
        response = await client.until("command_response")
        assert (response["command"], response["success"], response["session_id"]) == ("help", True, "s")
        assert "/help" in response["content"]
        await client.chat("/nonsense")
        response = await client.until("command_response")
        assert response["success"] is False
        assert "/nonsense" in response["content"]
        assert not engine.requests


async def test_stop(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve() as server, room(server.address) as client:
        await client.join("s", stream=True)
        await client.chat("Hello")
        run = await engine.asked()
        run.say("So far")
        await client.until("message_chunk")
        await client.chat("/stop")
        reply = await client.reply()
        assert (reply["content"], reply["status"]) == ("So far", "stopped")
        assert run.cancelled


async def test_the_disclaimer_follows_every_reply_once(serve: Serve) -> None:
    assistants = {"default": {"engine": "demo", "model": "demo:echo", "disclaimer": "Ask a doctor."}}
    async with serve(assistants=assistants) as server, room(server.address) as client:
        await client.join("s", stream=True)
        await client.chat("Hello")
        assert (await client.reply())["content"] == "Hello\n\nAsk a doctor."
        said = [frame["content"] for frame in client.seen if frame["type"] == "message_chunk"]
        assert "".join(said) == "Hello\n\nAsk a doctor."


class TestWhoMayJoin:
    @pytest.mark.parametrize(
        "shown",
        [None, "nonsense", token("ada", ttl=-60), token("ada", secret="x" * 40)],
        ids=["none", "garbage", "expired", "foreign"],
    )
    async def test_an_invalid_token_is_an_error_and_4001(self, serve: Serve, shown: str | None) -> None:
        async with serve(**AUTH) as server, room(server.address, token=shown) as client:
            assert (await client.next())["type"] == "error"
            assert await close_code(client) == 4001

    async def test_with_members_only_members_join(self, serve: Serve) -> None:
        async with serve(**AUTH) as server:
            async with (
                calling(server, token("ada")) as http,
                http.post("/api/conversations", json={}) as made,
            ):
                session = (await made.json())["id"]
            async with room(server.address, token=token("ada")) as ada:
                assert (await ada.join(session))["session_id"] == session
            said = []
            async with room(server.address, token=token("bob")) as bob:
                for name in (session, "nobody's"):
                    await bob.send("join_session", session_id=name)
                    said.append((await bob.until("error"))["message"])
                await bob.chat("Hello", session_id=session)
                await bob.until("error")
            assert said[0] == said[1]

    async def test_with_anyone_the_first_user_creates_and_owns_the_session(self, serve: Serve) -> None:
        async with serve(**ANYONE) as server, people(server, "ada", "bob") as (_, bob):
            joined = next(frame for frame in bob.seen if frame["type"] == "session_joined")
            assert [(each["user"], each["standing"]) for each in joined["participants"]] == [
                ("ada", "owner"),
                ("bob", "member"),
            ]

    async def test_the_session_of_the_path_is_joined_or_4003(self, serve: Serve) -> None:
        async with serve(**AUTH) as server:
            async with (
                calling(server, token("ada")) as http,
                http.post("/api/conversations", json={}) as made,
            ):
                session = (await made.json())["id"]
            path = f"/ws/sessions/{session}"
            async with room(server.address, token=token("ada"), path=path) as ada:
                await ada.until("session_joined")
                await ada.chat("Hello")
                assert (await ada.reply())["content"] == "Hello"
            async with room(server.address, token=token("bob"), path=path) as bob:
                await bob.until("error")
                assert await close_code(bob) == 4003

    async def test_the_session_of_the_path_may_contain_a_slash(self, serve: Serve) -> None:
        async with serve() as server, room(server.address, path="/ws/sessions/team%2Fone") as client:
            assert (await client.until("session_joined"))["session_id"] == "team/one"
            await client.chat("Hello")
            assert (await client.reply())["session_id"] == "team/one"

    async def test_an_empty_session_in_the_path_is_4000(self, serve: Serve) -> None:
        async with serve() as server, room(server.address, path="/ws/sessions/") as client:
            await client.until("error")
            assert await close_code(client) == 4000

    @pytest.mark.parametrize("gone", ["/api/conversations/s", "/api/conversations/s/participants/bob"])
    async def test_the_typing_ends_for_a_participant_who_is_removed_during_a_reply(
        self, serve: Serve, engine: ScriptedEngine, gone: str
    ) -> None:
        async with (
            serve(**ANYONE) as server,
            people(server, "ada", "bob", stream=True) as (ada, bob),
            calling(server, token("ada")) as http,
        ):
            await ada.chat("Hello")
            (await engine.asked()).say("One ")
            await bob.until("message_chunk")
            async with http.delete(gone) as response:
                assert response.ok
            await bob.until("error")
            assert [frame["typing"] for frame in bob.seen if frame["type"] == "typing"] == [True, False]

    async def test_a_removed_participant_is_notified_and_gets_nothing_more(
        self, serve: Serve, engine: ScriptedEngine
    ) -> None:
        async with (
            serve(**ANYONE) as server,
            people(server, "ada", "bob") as (ada, bob),
            room(server.address, token=token("bob"), path="/ws/sessions/s") as named,
            calling(server, token("ada")) as http,
        ):
            await named.until("session_joined")
            await ada.chat("Hello")
            run = await engine.asked()
            await bob.until("typing")
            async with http.delete("/api/conversations/s/participants/bob") as response:
                assert response.ok
            await bob.until("error")
            assert await close_code(named) == 4003
            run.say("secret")
            run.finish()
            await ada.reply()
            bob.seen.clear()
            await bob.chat("Hello", session_id="s")
            await bob.until("error")
            assert len(bob.seen) == 1


async def test_fifty_users_and_one_who_reads_nothing(serve: Serve, engine: ScriptedEngine) -> None:
    async with serve(**ANYONE) as server, AsyncExitStack() as stack:

        async def come(n: int) -> RoomClient:
            client = await stack.enter_async_context(
                room(server.address, token=token(f"p{n}"), receive_buffer=4096 if n == 0 else None)
            )
            await client.join("s", stream=True)
            return client

        stalled = await come(0)
        others = await asyncio.gather(*(come(n) for n in range(1, 50)))
        stalled.socket.transport.pause_reading()
        await others[0].chat("Hello")
        run = await engine.asked()
        piece = "x" * 4096
        for _ in range(64):
            run.say(piece)
            await asyncio.sleep(0)
        run.finish()

        async def read(client: RoomClient) -> None:
            reply = await client.reply()
            said = [frame["content"] for frame in client.seen if frame["type"] == "message_chunk"]
            assert "".join(said) == reply["content"] == piece * 64

        await asyncio.gather(*map(read, others))
        # The others go on, while it is still there and reads nothing.
        await others[1].chat("/help")
        await others[1].until("command_response")
        stalled.cut()
        await others[0].until("message", content="p0 left.")


def present(user: str, connections: int, name: str | None = None) -> ParticipantPresence:
    return ParticipantPresence(user, name, "member", connections, False)


class NoticeRecorder:
    def __init__(self) -> None:
        self.notices: list[tuple[str, str]] = []

    def notify(self, id_: str, notice: str) -> None:
        self.notices.append((id_, notice))


class TestPresenceNotices:
    def test_users_count_and_not_their_connections(self) -> None:
        ada, bob = NoticeRecorder(), NoticeRecorder()
        registry = PresenceNoticesRegistry(iter("12345").__next__, each_connection=False)
        notices = registry.enter("s", ada.notify, lambda _: [present("ada", 0, "Ada")])
        notices.sockets[bob.notify] = None
        notices.update([present("ada", 1), present("bob", 2)])
        notices.update([present("ada", 3), present("bob", 1)])
        assert ada.notices == [("1", "Ada joined."), ("2", "bob joined.")]
        notices.update([present("bob", 1)])
        assert ada.notices[2:] == [("3", "Ada left.")]
        assert bob.notices == ada.notices

    def test_without_auth_every_connection_counts(self) -> None:
        recorder = NoticeRecorder()
        notices = PresenceNotices(iter("12345").__next__, True, [present("local", 1)])
        notices.sockets[recorder.notify] = None
        notices.update([present("local", 2)])
        notices.update([present("local", 1)])
        assert [text for _, text in recorder.notices] == ["local joined.", "local left."]

    def test_notices_are_dropped_with_their_last_socket(self) -> None:
        recorder = NoticeRecorder()
        registry = PresenceNoticesRegistry(str, each_connection=False)
        first = registry.enter("s", recorder.notify, lambda _: [])
        assert registry.enter("s", print, lambda _: []) is first
        registry.leave("s", recorder.notify)
        registry.leave("s", print)
        registry.leave("s", print)
        assert registry.enter("s", print, lambda _: []) is not first
