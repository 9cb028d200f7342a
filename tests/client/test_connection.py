import asyncio
import http
import random
from collections.abc import Callable
from itertools import repeat
from typing import Any

import msgspec
import pytest

from legato.client import (
    Client,
    ClientConnected,
    ConversationRemoved,
    Disconnected,
    MessageUpdated,
    StreamAdvanced,
    StreamRestarted,
)
from legato.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    LegatoError,
    NotFoundError,
    UnauthenticatedError,
    UnreachableError,
)
from legato.protocol.close_codes import CloseCode
from legato.protocol.messages import ConversationDeleted, Error, Hello, Ping, Send, Unfollow
from legato.stream import Failed, Finished, ReplySnapshot, Text

Connect = Callable[..., Any]


async def say(served: Any, reply: str, *words: str) -> None:
    for word in words:
        served.server.write(reply, Text(word))
    await served.push()


class TestReply:
    async def test_a_reply_streams_and_ends(self, served: Any, connected: Connect) -> None:
        async with connected() as client:
            assert client.user == "ann"
            reply = await client.send("hi")
            await say(served, reply.id, "one ", "two")
            served.server.finish(reply.id)
            await served.push()
            assert await reply.wait() == Finished("stop")
            assert reply.text == "one two"
            assert [type(event) async for event in reply] == [Text, Finished]

    async def test_a_reader_gets_every_event_when_it_arrives(self, served: Any, connected: Connect) -> None:
        async with connected() as client:
            reply = await client.send("hi")
            events = aiter(reply)
            fold = ReplySnapshot()
            for word in ("one ", "two ", "three"):
                await say(served, reply.id, word)
                event = await anext(events)
                assert event == Text(word)
                fold.apply(event)
            assert fold.text == reply.text

    async def test_a_late_reader_gets_the_earlier_events_first(self, served: Any, connected: Connect) -> None:
        async with connected() as client:
            reply = await client.send("hi")
            await say(served, reply.id, "one ", "two ")
            await served.until(lambda: reply.text == "one two ")
            events = aiter(reply)
            await say(served, reply.id, "three")
            assert [await anext(events), await anext(events)] == [Text("one two "), Text("three")]

    async def test_a_reply_survives_any_number_of_cuts(self, served: Any, connected: Connect) -> None:
        chance = random.Random(7)
        words = [f"word{number} " for number in range(60)]
        async with connected() as client:
            reply = await client.send("hi")
            snapshot = ReplySnapshot()
            reader = aiter(reply)
            for word in words:
                served.server.write(reply.id, Text(word))
                if chance.random() < 0.5:
                    await served.push()
                if chance.random() < 0.3:
                    served.cut()
            served.server.finish(reply.id)
            await served.push()
            end = await reply.wait()
            async for event in reader:
                assert not isinstance(event, StreamRestarted)
                snapshot.apply(event)
            assert reply.text == snapshot.text == "".join(words)
            assert isinstance(end, Finished)

    async def test_after_a_crash_a_reply_restarts_with_an_event(
        self, served: Any, connected: Connect
    ) -> None:
        async with connected() as client:
            reply = await client.send("hi")
            reader = aiter(reply)
            await say(served, reply.id, "abcdef")
            assert await anext(reader) == Text("abcdef")
            served.cut()
            served.server.crash()
            assert isinstance(await anext(reader), StreamRestarted)
            assert await anext(reader) == Text("abc")
            await served.until(lambda: reply.text == "abc")

    async def test_stop_reaches_the_server(self, served: Any, connected: Connect) -> None:
        async with connected() as client:
            reply = await client.send("hi")
            assert await client.stop(reply.conversation, reply.id) == [reply.id]
            assert await reply.wait() == Finished("stopped")
            assert await client.stop(reply.conversation) == []

    async def test_regenerate_and_edit(self, served: Any, connected: Connect) -> None:
        async with connected() as client:
            first = await client.send("hi")
            again = await client.regenerate(first.conversation, first.id)
            reworded = await client.edit(first.conversation, first.question or "", "hello")
            assert len({first.id, again.id, reworded.id}) == 3
            shown = await client.show(first.conversation, first.id)
            assert shown.head == first.id

    async def test_a_finished_reply_is_unfollowed(self, served: Any, connected: Connect) -> None:
        async with connected() as client:
            for _ in range(3):
                reply = await client.send("hi")
                served.server.finish(reply.id)
                await served.push()
                await reply.wait()
            await served.until(
                lambda: sum(isinstance(each, Unfollow) for each in served.server.commands) == 3
            )


class TestSending:
    async def test_an_unacknowledged_message_is_sent_again_and_stored_once(
        self, served: Any, connected: Connect
    ) -> None:
        async with connected() as client:
            # The server hears it and its answer is cut off.
            hear = served.server.answer

            def answer(connection: Any, command: Any) -> None:
                hear(connection, command)
                if isinstance(command, Send):
                    served.server.answer = hear
                    connection.frames.clear()
                    served.cut()

            served.server.answer = answer
            reply = await client.send("hi", client_message_id="k")
            assert reply.duplicate
            await say(served, reply.id, "once")
            served.server.finish(reply.id)
            await served.push()
            await reply.wait()
            assert reply.text == "once"
            assert len(served.server.logs) == 1

    async def test_a_request_waits_for_a_server_that_is_away(self, served: Any, connected: Connect) -> None:
        changes: list[object] = []
        async with connected(on_connection_change=changes.append) as client:
            await served.stop()
            await served.until(lambda: any(isinstance(each, Disconnected) for each in changes))
            sending = asyncio.create_task(client.send("hi"))
            await served.start()
            reply = await sending
            assert not reply.duplicate
            assert changes[0] == ClientConnected(False)
            assert changes[-1] == ClientConnected(True)

    @pytest.mark.parametrize(
        ("code", "kind"),
        [("conflict", ConflictError), ("not_found", NotFoundError), ("news", LegatoError)],
    )
    async def test_a_refusal_is_raised_with_its_class(
        self, served: Any, connected: Connect, code: str, kind: type[LegatoError]
    ) -> None:
        served.server.refuse["Send"] = Error(code=code, message="No.")
        async with connected() as client:
            with pytest.raises(kind, match=r"No\.") as caught:
                await client.send("hi")
            assert type(caught.value) is kind

    async def test_a_busy_error_says_how_long_to_wait(self, served: Any, connected: Connect) -> None:
        served.server.refuse["Send"] = Error(code="busy", message="Full.", retry_after=7.0)
        async with connected() as client:
            with pytest.raises(BusyError) as caught:
                await client.send("hi")
            assert caught.value.retry_after == 7.0

    async def test_a_message_that_the_server_cannot_take_is_not_sent(
        self, served: Any, connected: Connect
    ) -> None:
        async with connected() as client:
            with pytest.raises(InvalidError, match="too long"):
                await client.send("x" * 65536)
            with pytest.raises(InvalidError, match="surrogate"):
                await client.send("\ud800")
            with pytest.raises(InvalidError, match="surrogate"):
                await client.follow("\ud800")
            assert (await client.send("fine")).id

    async def test_cancelling_a_request_does_not_disturb_others(
        self, served: Any, connected: Connect
    ) -> None:
        async with connected() as client:
            served.server.refuse["Follow"] = Error(code="not_found", message="No.")
            first = asyncio.create_task(client.follow("v"))
            second = asyncio.create_task(client.follow("v"))
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(NotFoundError):
                await second
            with pytest.raises(asyncio.CancelledError):
                await first


class TestWatching:
    async def test_a_subscription_has_the_history_and_yields_later_events(
        self, served: Any, connected: Connect
    ) -> None:
        conversation = served.server.make("v")
        question, reply = served.server.begin(conversation, "hi")
        served.server.write(reply, Text("one "))
        async with connected() as client, await client.follow("v") as watch:
            assert [message.id for message in watch.messages] == [question, reply]
            await served.push()
            await served.until(lambda: watch.text(watch.messages[1]) == "one ")
            await say(served, reply, "two")
            served.server.finish(reply)
            await served.push()
            happened = []
            async for each in watch:
                happened.append(each)
                if isinstance(each, MessageUpdated) and each.message.status == "complete":
                    break
            events = [event for each in happened if isinstance(each, StreamAdvanced) for event in each.events]
            assert events == [Text("two"), Finished("stop")]
            assert watch.text(watch.messages[1]) == "one two"

    async def test_a_running_reply_can_be_read_to_its_end(self, served: Any, connected: Connect) -> None:
        conversation = served.server.make("v")
        _, reply = served.server.begin(conversation, "hi")
        served.server.write(reply, Text("one "))
        async with connected() as client, await client.follow("v") as watch:
            question, answer = watch.messages
            assert watch.reply(question) is None
            running = watch.reply(answer)
            assert running is not None
            await say(served, reply, "two")
            served.server.finish(reply)
            await served.push()
            assert await running.wait() == Finished("stop")
            assert running.text == "one two"
            assert watch.reply(watch.messages[1]) is None

    async def test_a_missing_conversation_is_not_found(self, served: Any, connected: Connect) -> None:
        async with connected() as client:
            for _ in range(2):
                with pytest.raises(NotFoundError):
                    await client.follow("nobody's")

    async def test_a_conversation_is_unfollowed_with_its_last_subscription(
        self, served: Any, connected: Connect
    ) -> None:
        served.server.make("v")
        async with connected() as client:
            first, second = await client.follow("v"), await client.follow("v")
            first.close()
            first.close()
            served.server.begin("v", "hi")
            await served.push()
            await served.until(lambda: len(second.messages) == 2)
            assert [each async for each in first] == []
            second.close()
            await served.until(lambda: isinstance(served.server.commands[-1], Unfollow))

    async def test_a_deleted_conversation_ends_its_subscription(
        self, served: Any, connected: Connect
    ) -> None:
        served.server.make("v")
        async with connected() as client:
            watch = await client.follow("v")
            (connection,) = served.sockets
            connection.send(ConversationDeleted(conversation="v"))
            await served.push()
            assert [each async for each in watch] == [ConversationRemoved("v")]

    async def test_the_branch_that_is_shown(self, served: Any, connected: Connect) -> None:
        view = msgspec.structs.replace(served.server.conversations[served.server.make("v")], head="m4")
        served.server.conversations["v"] = view
        for _ in range(2):
            served.server.begin("v", "hi")
        parents = {"m2": "m1", "m3": "m1", "m4": "m3"}
        for name, parent in parents.items():
            message = msgspec.structs.replace(served.server.messages[name], parent=parent)
            served.server.messages[name] = message
        async with connected() as client, await client.follow("v") as watch:
            assert [message.id for message in watch.shown] == ["m1", "m3", "m4"]


class TestConnecting:
    async def test_a_token_is_sent_in_the_handshake(self, served: Any, connected: Connect) -> None:
        async with connected(token="a.b.c"):
            assert served.headers[0]["authorization"] == "Bearer a.b.c"
            assert served.server.commands == []

    async def test_a_client_without_a_token_sends_an_empty_hello(
        self, served: Any, connected: Connect
    ) -> None:
        served.greets = False
        async with connected():
            assert served.server.commands == [Hello()]

    async def test_every_connection_begins_with_a_new_ticket(self, served: Any, connected: Connect) -> None:
        served.greets = False
        tickets = iter(["t1", "t2"])

        async def ticket() -> str:
            return next(tickets)

        changes: list[object] = []
        async with connected(ticket=ticket, on_connection_change=changes.append):
            served.cut()
            await served.until(lambda: ClientConnected(True) in changes)
        assert served.server.commands == [Hello(ticket="t1"), Hello(ticket="t2")]
        assert "authorization" not in served.headers[0]

    async def test_a_missing_server_is_an_error_with_a_sentence(self, served: Any) -> None:
        await served.stop()
        with pytest.raises(UnreachableError, match="No server answers at ws://127"):
            async with Client(served.url):
                pass

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (401, UnauthenticatedError),
            (403, ForbiddenError),
            (404, InvalidError),
            (503, UnreachableError),
            (200, UnreachableError),
        ],
    )
    async def test_a_refused_handshake_says_why(
        self, served: Any, status: int, kind: type[LegatoError]
    ) -> None:
        served.process_request = lambda connection, request: connection.respond(http.HTTPStatus(status), "no")
        await served.stop()
        await served.start()
        with pytest.raises(kind):
            async with Client(served.url):
                pass

    async def test_a_server_with_another_protocol_is_detected(self, served: Any, connected: Connect) -> None:
        served.server.welcome = lambda: {"hello": "there"}
        with pytest.raises(LegatoError, match=r"does not speak legato\.v1"):
            async with connected():
                pass

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            (CloseCode.UNAUTHENTICATED, UnauthenticatedError),
            (CloseCode.REVOKED, UnauthenticatedError),
            (CloseCode.FORBIDDEN, ForbiddenError),
            (CloseCode.TOO_MANY, InvalidError),
            (1008, InvalidError),
        ],
    )
    async def test_some_close_codes_end_the_client(
        self, served: Any, connected: Connect, code: int, kind: type[LegatoError]
    ) -> None:
        async with connected() as client:
            reply = await client.send("hi")
            reader = aiter(reply)
            served.server.make("v")
            watch = await client.follow("v")
            await served.close(code, "because")
            with pytest.raises(kind, match="because"):
                await reply.wait()
            with pytest.raises(kind):
                await anext(reader)
            with pytest.raises(kind):
                await anext(aiter(watch))
            with pytest.raises(kind):
                await client.send("more")
            assert len(served.headers) == 1

    @pytest.mark.parametrize("code", [CloseCode.SLOW, CloseCode.GOING_AWAY, 1000, 1001, 1011, 1012])
    async def test_other_close_codes_reconnect(self, served: Any, connected: Connect, code: int) -> None:
        async with connected() as client:
            reply = await client.send("hi")
            await served.close(code, "for now")
            await served.until(lambda: len(served.headers) == 2)
            await say(served, reply.id, "still here")
            await served.until(lambda: reply.text == "still here")

    async def test_the_last_error_of_the_server_is_the_reason(self, served: Any, connected: Connect) -> None:
        async with connected() as client:
            (connection,) = served.sockets
            connection.send(Error(code="unauthenticated", message="Your token has expired."))
            await served.push()
            await served.close(CloseCode.UNAUTHENTICATED, "not authenticated")
            with pytest.raises(UnauthenticatedError, match="expired"):
                await client.send("hi")

    async def test_a_silent_server_is_pinged_and_then_given_up(self, served: Any, connected: Connect) -> None:
        served.server.heartbeat = 0.05
        changes: list[object] = []
        async with connected(on_connection_change=changes.append) as client:
            await served.until(lambda: sum(isinstance(each, Ping) for each in served.server.commands) >= 3)
            assert changes == [ClientConnected(False)]
            hear, served.server.answer = served.server.answer, lambda connection, command: None
            await served.until(lambda: len(changes) > 1)
            assert changes[1] == Disconnected("the server fell silent", 0.0)
            served.server.answer = hear
            assert (await client.send("hi")).id

    async def test_unknown_messages_of_a_newer_server_are_ignored(
        self, served: Any, connected: Connect
    ) -> None:
        async with connected() as client:
            (socket,) = served.sockets.values()
            await socket.send('{"type": "fanfare"}')
            assert (await client.send("hi")).id

    async def test_close_leaves_no_task(self, served: Any, connected: Connect) -> None:
        async with connected() as client:
            reply = await client.send("hi")
        with pytest.raises(LegatoError, match="closed"):
            await reply.wait()
        with pytest.raises(LegatoError, match="closed"):
            await client.send("hi")
        await served.until(lambda: not served.sockets)
        assert isinstance(reply.end, Failed | None)

    async def test_a_request_before_entry_is_an_error(self, served: Any) -> None:
        with pytest.raises(LegatoError, match="async with"):
            await Client(served.url, delays=lambda: repeat(0.0)).send("hi")
