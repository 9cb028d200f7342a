"""`legato.v1` as a client meets it, frame by frame."""

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from legato.chat.conversation_presence import ParticipantPresence
from legato.dialects import session
from legato.dialects.command_queue import WAITING
from legato.dialects.native import subscription, subscriptions
from legato.dialects.native.codec import decode
from legato.dialects.native.history import pages_of
from legato.dialects.native.subscriptions import MAX_CONVERSATIONS
from legato.dialects.serializers import participants_view
from legato.domain.message import ImagePart
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.errors import InvalidError
from legato.protocol.close_codes import CloseCode
from legato.protocol.messages import MessageView, PersonView
from legato.stream import Event, ReplySnapshot
from legato.testing.engine import ScriptedGeneration

from .conftest import Frame, Server, Wire

_events = msgspec.json.Decoder(list[Event])


def received(frames: list[Frame], stream: str) -> ReplySnapshot:
    """Return what a client has of a stream after these frames, by the rules of the protocol."""
    fold, at = ReplySnapshot(), 0
    for frame in frames:
        if frame["type"] == "reset" and frame["stream"] == stream:
            fold, at = ReplySnapshot(), 0
        if frame["type"] == "delta" and frame["stream"] == stream:
            if frame["from"] == 0:
                fold, at = ReplySnapshot(), 0
            assert frame["from"] == at, "a hole, or something twice"
            for event in msgspec.convert(frame["events"], list[Event]):
                fold.apply(event)
            at = frame["to"]
    return fold


async def begin(server: Server, text: str = "Hello") -> tuple[Wire, Any, Frame, ScriptedGeneration]:
    wire, say = server.connect()
    say("send", id="1", client_message_id="k1", text=text)
    ack = await wire.next("ack")
    return wire, say, ack, await server.engine.asked()


async def test_without_auth_everyone_is_welcome(server: Server) -> None:
    wire, _ = server.connect()
    assert (await wire.next("welcome"))["user"] == "ada"


async def test_a_whole_exchange_in_order(server: Server) -> None:
    wire, say = server.connect()
    say("send", id="1", client_message_id="k1", text="Name two notes.")
    run = await server.engine.asked()
    run.say("C", " and G.")
    run.finish()
    await wire.until(
        lambda w: any(
            f["type"] == "message"
            and f["message"]["status"] == "complete"
            and f["message"]["role"] == "assistant"
            for f in w.frames
        )
    )
    kinds = [frame["type"] for frame in wire.frames]
    assert kinds[:5] == ["welcome", "ack", "conversation", "message", "message"]
    reply = wire.frames[1]["reply"]
    assert received(wire.frames, reply).text == "C and G."
    assert received(wire.frames, reply).end is not None
    last_delta = max(i for i, kind in enumerate(kinds) if kind == "delta")
    final = max(i for i, frame in enumerate(wire.frames) if frame["type"] == "message")
    assert last_delta < final
    assert wire.frames[final]["message"]["text"] == "C and G."
    assert wire.frames[1]["re"] == "1"


async def test_text_of_one_turn_of_the_loop_is_one_frame(server: Server) -> None:
    wire, _, _ack, run = await begin(server)
    await wire.next("delta")
    run.say(*"abcdefgh")
    delta = await wire.next("delta")
    assert [event for event in delta["events"] if event["type"] == "text"] == [
        {"type": "text", "text": "abcdefgh"}
    ]


async def test_a_second_device_follows_live_from_the_middle(server: Server) -> None:
    _, _, ack, run = await begin(server)
    run.say("One ")
    second, say = server.connect()
    say("follow", conversation=ack["conversation"])
    await second.next("following")
    run.say("two")
    run.finish()
    await second.until(lambda w: received(w.frames, ack["reply"]).end is not None)
    assert received(second.frames, ack["reply"]).text == "One two"


async def test_a_reply_resumes_exactly_at_the_position(server: Server) -> None:
    first, _, ack, run = await begin(server)
    run.say("One ")
    await first.until(lambda w: received(w.frames, ack["reply"]).text == "One ")
    last = [f for f in first.frames if f["type"] == "delta"][-1]
    first.cut()
    run.say("two ")
    second, say = server.connect()
    where = {"stream": ack["reply"], "epoch": last["epoch"], "offset": last["to"]}
    say("follow", conversation=ack["conversation"], since=1, positions=[where])
    delta = await second.next("delta")
    assert delta["from"] == last["to"]
    assert delta["events"] == [{"type": "text", "text": "two "}]


async def test_a_reply_that_ended_meanwhile_is_sent_to_its_end(server: Server) -> None:
    first, _, ack, run = await begin(server)
    run.say("One ")
    await first.until(lambda w: received(w.frames, ack["reply"]).text == "One ")
    last = [f for f in first.frames if f["type"] == "delta"][-1]
    first.cut()
    run.say("two")
    run.finish()
    await run.left()
    second, say = server.connect()
    where = {"stream": ack["reply"], "epoch": last["epoch"], "offset": last["to"]}
    say("follow", conversation=ack["conversation"], since=0, positions=[where])
    delta = await second.next("delta")
    assert delta["from"] == last["to"]
    assert delta["events"][0] == {"type": "text", "text": "two"}


@pytest.mark.parametrize(
    ("epoch", "offset", "reason"),
    [("another", 0, "epoch"), (None, 10_000, "future"), (None, -1, "future")],
)
async def test_a_position_that_cannot_be_resumed_is_reset(
    server: Server, epoch: str | None, offset: int, reason: str
) -> None:
    first, _, ack, run = await begin(server)
    run.say("One ")
    real = (await first.next("delta"))["epoch"]
    second, say = server.connect()
    where = {"stream": ack["reply"], "epoch": epoch or real, "offset": offset}
    say("follow", conversation=ack["conversation"], positions=[where])
    assert (await second.next("reset"))["reason"] == reason
    assert (await second.next("delta"))["from"] == 0


async def test_a_position_in_an_unknown_stream_is_gone(server: Server) -> None:
    _, _, ack, _ = await begin(server)
    wire, say = server.connect()
    say("follow", conversation=ack["conversation"], positions=[{"stream": "x", "epoch": "y", "offset": 3}])
    assert (await wire.next("reset"))["reason"] == "gone"
    await wire.next("following")


async def test_a_message_sent_again_after_a_cut_gets_the_same_reply_from_its_beginning(
    server: Server,
) -> None:
    first, _, ack, run = await begin(server)
    first.cut()
    run.say("One ")
    second, say = server.connect()
    say("send", id="9", client_message_id="k1", text="Hello")
    again = await second.next("ack")
    assert again["duplicate"] is True
    assert (again["reply"], again["conversation"]) == (ack["reply"], ack["conversation"])
    run.say("two")
    run.finish()
    await second.until(lambda w: received(w.frames, ack["reply"]).end is not None)
    assert received(second.frames, ack["reply"]).text == "One two"


async def test_a_message_sent_again_after_the_end_gets_the_stream_and_then_the_message(
    server: Server,
) -> None:
    first, _, ack, run = await begin(server)
    run.say("One two")
    run.finish()
    await first.until(lambda wire: any(stored(frame, ack["reply"]) for frame in wire.frames))
    second, say = server.connect()
    say("send", id="9", client_message_id="k1", text="Hello")
    await second.until(lambda wire: any(stored(frame, ack["reply"]) for frame in wire.frames))
    kinds = [frame["type"] for frame in second.frames]
    assert kinds.index("ack") < kinds.index("delta") < kinds.index("message")
    assert kinds.count("message") == 1
    assert received(second.frames, ack["reply"]).text == "One two"


def stored(frame: Frame, reply: str) -> bool:
    """Whether it is the reply as it was stored in the end."""
    return frame["type"] == "message" and (frame["message"]["id"], frame["message"]["status"]) == (
        reply,
        "complete",
    )


async def test_the_same_key_with_another_body_is_an_error_and_the_socket_stays_open(server: Server) -> None:
    wire, say, _, _ = await begin(server)
    say("send", id="2", client_message_id="k1", text="Something else")
    error = await wire.next("error")
    assert (error["re"], error["code"]) == ("2", "conflict")
    say("ping", id="3")
    assert (await wire.next("pong"))["re"] == "3"


async def test_stop(server: Server) -> None:
    wire, say, ack, run = await begin(server)
    run.say("So far")
    say("stop", id="2", conversation=ack["conversation"])
    assert (await wire.next("stopped", re="2"))["messages"] == [ack["reply"]]
    assert run.cancelled
    await wire.until(lambda w: received(w.frames, ack["reply"]).end is not None)
    assert received(wire.frames, ack["reply"]).text == "So far"


async def test_regenerate_edit_and_show(server: Server) -> None:
    wire, say, ack, run = await begin(server)
    run.say("First")
    run.finish()
    await wire.next("message", type="message")
    await run.left()
    say("regenerate", id="2", conversation=ack["conversation"], message=ack["reply"])
    second = await wire.next("ack", re="2")
    run = await server.engine.asked()
    run.say("Second")
    run.finish()
    await wire.until(lambda w: received(w.frames, second["reply"]).end is not None)
    say("edit", id="3", conversation=ack["conversation"], message=ack["message"], text="Hello again")
    await wire.next("ack", re="3")
    (await server.engine.asked()).finish()
    say("show", id="4", conversation=ack["conversation"], message=ack["reply"])
    assert (await wire.next("conversation", re="4"))["conversation"]["head"] == ack["reply"]


async def test_after_unfollow_nothing_is_sent(server: Server) -> None:
    wire, say, ack, run = await begin(server)
    say("unfollow", id="2", conversation=ack["conversation"])
    await wire.next("unfollowed")
    wire.frames.clear()
    run.say("word")
    say("ping", id="3")
    await wire.next("pong")
    await asyncio.sleep(0)
    assert wire.frames == []


async def test_followers_get_titles_and_the_deletion(server: Server) -> None:
    wire, _, ack, _ = await begin(server)
    ada = server.tokens["ada's"]
    await server.service.conversations.rename(ada, ack["conversation"], "Notes")
    await wire.until(
        lambda w: any(f["type"] == "conversation" and f["conversation"]["title"] == "Notes" for f in w.frames)
    )
    await server.service.conversations.delete(ada, ack["conversation"])
    assert (await wire.next("deleted"))["conversation"] == ack["conversation"]


async def test_a_stalled_socket_gets_everything_in_longer_frames(server: Server) -> None:
    wire, _, _ack, run = await begin(server)
    await wire.next("delta")
    wire.writable = False
    for n in range(100):
        run.say(f"{n} ")
        await asyncio.sleep(0)
    assert not any(frame["type"] == "delta" for frame in wire.frames)
    wire.resume()
    delta = await wire.next("delta")
    assert delta["events"][-1]["text"].endswith("99 ")


async def test_a_long_history_is_sent_in_pages_when_the_socket_is_writable(server: Server) -> None:
    conversation = None
    wire, say = server.connect()
    for n in range(4):
        say("send", id=str(n), client_message_id=f"k{n}", conversation=conversation, text=f"{n}" * 60_000)
        conversation = (await wire.next("ack"))["conversation"]
        run = await server.engine.asked()
        run.say("yes")
        run.finish()
        await run.left()
    second, say = server.connect()
    say("follow", id="f", conversation=conversation)
    await second.until(lambda w: any(f["type"] == "messages" and not f.get("more") for f in w.frames))
    pages = [f for f in second.frames if f["type"] in ("following", "messages")]
    assert len(pages) > 2
    texts = [m["text"][:1] for page in pages for m in page.get("messages", [])]
    assert [t for t in texts if t.isdigit()] == ["0", "1", "2", "3"]


async def test_with_auth_hello_must_come_first(server: Server) -> None:
    server.anyone = None
    wire, say = server.connect()
    say("send", id="1", client_message_id="k", text="Hi")
    assert (await wire.next("error"))["code"] == "unauthenticated"
    assert wire.closed == CloseCode.UNAUTHENTICATED


async def test_a_token_in_hello_or_in_the_handshake(server: Server) -> None:
    server.anyone = None
    wire, say = server.connect()
    say("hello", id="h", token="bob's")
    welcome = await wire.next("welcome")
    assert (welcome["user"], welcome["re"]) == ("bob", "h")
    wire, _ = server.connect(authorization="Bearer ada's")
    assert (await wire.next("welcome"))["user"] == "ada"


@pytest.mark.parametrize(
    ("headers", "code"),
    [({}, CloseCode.UNAUTHENTICATED), ({"authorization": "Bearer slow"}, CloseCode.GOING_AWAY)],
    ids=["who says nothing", "whose token is not checked"],
)
async def test_a_socket_without_a_user_is_closed_in_time(
    server: Server, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], code: CloseCode
) -> None:
    async def hang(*, token: str | None = None, ticket: str | None = None) -> User:
        await asyncio.Event().wait()
        raise AssertionError

    server.anyone = None
    monkeypatch.setattr(server, "authenticate", hang)
    monkeypatch.setattr(session, "AUTHENTICATION_SECONDS", 0.01)
    wire, _ = server.connect(**headers)
    await wire.until(lambda wire: wire.closed is not None)
    assert wire.closed == code


@pytest.mark.parametrize("token", ["forged", ""])
async def test_invalid_credentials_are_an_error_and_close_the_socket(server: Server, token: str) -> None:
    server.anyone = None
    wire, say = server.connect()
    say("hello", token=token)
    assert (await wire.next("error"))["code"] == "unauthenticated"
    assert wire.closed == CloseCode.UNAUTHENTICATED


async def test_a_token_without_the_chat_scope_is_forbidden(server: Server) -> None:
    server.anyone = None
    wire, say = server.connect()
    say("hello", token="reader's")
    assert (await wire.next("error"))["code"] == "forbidden"
    assert wire.closed == CloseCode.FORBIDDEN


async def test_an_expired_token_closes_the_socket(server: Server) -> None:
    server.anyone = None
    server.tokens["short"] = User("ada", expires=1000.0)
    dialect = server.dialect()
    wire, say = server.connect(dialect)
    say("hello", token="short")
    await wire.next("welcome")
    dialect.expire(999.0)
    assert wire.closed is None
    dialect.expire(1000.5)
    assert wire.closed == CloseCode.REVOKED


async def test_another_users_conversation_looks_like_a_missing_one(server: Server) -> None:
    _, _, ack, _ = await begin(server)
    server.anyone = server.tokens["bob's"]
    wire, say = server.connect()
    commands = [
        ("follow", {}),
        ("send", {"client_message_id": "x", "text": "hi"}),
        ("stop", {}),
        ("regenerate", {"message": ack["reply"]}),
        ("edit", {"message": ack["message"], "text": "hi"}),
        ("show", {"message": ack["reply"]}),
    ]
    for kind, fields in commands:
        say(kind, id="a", conversation=ack["conversation"], **fields)
        foreign = await wire.next("error")
        say(kind, id="a", conversation="nobody's", **fields)
        assert foreign == await wire.next("error")
        assert foreign["code"] == "not_found"


HOSTILE = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b'"send"',
    b'{"type":"nonsense"}',
    b'{"type":5}',
    b'{"type":"send"}',
    b'{"type":"send","client_message_id":5,"text":"x"}',
    b'{"type":"send","client_message_id":"","text":"x"}',
    b'{"type":"send","client_message_id":"k","text":""}',
    b'{"type":"send","client_message_id":"k","text":null}',
    b'{"type":"send","client_message_id":"k","text":"x","conversation":"nobody"}',
    b'{"type":"send","client_message_id":"k","text":"x","assistant":"nobody"}',
    b'{"type":"send","client_message_id":"k","text":"x","parts":[{"type":"image","data":"http://169.254.169.254/"}]}',
    b'{"type":"send","client_message_id":"k","text":"x","parts":[{"type":"tool_result"}]}',
    b'{"type":"send","client_message_id":"' + b"k" * 200 + b'","text":"x"}',
    b'{"type":"follow","conversation":1}',
    b'{"type":"follow","conversation":"' + b"c" * 5000 + b'"}',
    b'{"type":"follow","conversation":"\\u0000"}',
    b'{"type":"follow","conversation":"c","since":"x"}',
    b'{"type":"follow","conversation":"c","since":1e999}',
    b'{"type":"follow","conversation":"c","positions":[{}]}',
    b'{"type":"follow","conversation":"c","positions":' + b"[" * 20000,
    b'{"type":"stop"}',
    b'{"type":"edit","conversation":"c","message":"m"}',
    b'{"type":"hello","token":{}}',
    b'{"type":"ping","id":' + b"9" * 5000 + b"}",
    b'{"type":"ping","id":"' + b"i" * 500 + b'"}',
    b'{"type":"send","client_message_id":"k","text":NaN}',
    b'{"type":"send","text":"\\ud800"}',
    b"\xff\xfe",
    b"[" * 60000,
]


@pytest.mark.parametrize("payload", HOSTILE, ids=range(len(HOSTILE)))
async def test_bad_input_is_answered_with_a_sentence_and_stores_nothing(
    server: Server, payload: bytes
) -> None:
    wire, say = server.connect()
    await wire.next("welcome")
    assert wire.session is not None
    wire.session.received(payload)
    error = await wire.next("error")
    assert error["code"] in ("invalid", "not_found", "conflict")
    assert error["message"].endswith(".")
    say("ping", id="alive")
    assert (await wire.next("pong"))["re"] == "alive"
    assert wire.closed is None
    assert await server.service.conversations.page(server.tokens["ada's"]) == []


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"send","id":"mine","text":"no key"}',
        b'{"id":"mine","type":"sned"}',
        b'{"id":"mine"}',
        b'{"type":"follow","conversation":7,"id":"mine"}',
        b'{"type":"send","text":"\\ud83d","id":"mine"}',
    ],
)
async def test_the_error_of_a_message_answers_it(server: Server, payload: bytes) -> None:
    wire, _ = server.connect()
    assert wire.session is not None
    wire.session.received(payload)
    error = await wire.next("error")
    assert (error["re"], error["code"]) == ("mine", "invalid")


async def test_a_lone_surrogate_is_replaced(server: Server) -> None:
    wire, _ = server.connect()
    assert wire.session is not None
    wire.session.received(rb'{"type":"send","client_message_id":"k","text":"\ud83d \ud83d\ude00 \\ud83d"}')
    message = (await wire.next("message"))["message"]
    assert message["text"] == "\ufffd \U0001f600 \\ud83d"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_an_error(payload: bytes) -> None:
    with suppress(InvalidError):
        decode(payload)


async def test_too_many_commands_at_once_close_the_socket(server: Server) -> None:
    wire, say = server.connect()
    for n in range(WAITING + 50):
        say("follow", id=str(n), conversation="c")
    assert wire.closed == CloseCode.TOO_MANY


async def test_waiting_commands_are_limited_by_size_too(server: Server) -> None:
    server.anyone = None
    wire, say = server.connect(authorization="Bearer ada's")
    for n in range(11):
        say("send", client_message_id=str(n), text="x" * 60_000)
    assert wire.closed == CloseCode.TOO_MANY
    assert await server.service.conversations.page(User("ada")) == []


async def test_following_too_many_conversations_is_refused_before_anything_is_stored(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "MAX_CONVERSATIONS", 5)
    wire, say = server.connect()
    for n in range(5):
        made = await server.service.conversations.create(User("ada"))
        say("follow", id=str(n), conversation=made.id)
        await wire.next("following", re=str(n))
    say("send", id="s", client_message_id="k", text="Hello")
    assert (await wire.next("error", re="s"))["code"] == "invalid"
    say("follow", id="f", conversation=(await server.service.conversations.create(User("ada"))).id)
    assert (await wire.next("error", re="f"))["code"] == "invalid"
    say("send", id="t", client_message_id="k", conversation=made.id, text="Hello")
    assert (await wire.next("ack", re="t"))["conversation"] == made.id
    (await server.engine.asked()).finish()


async def test_presence_is_encoded_once_for_all_subscribers(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[list[ParticipantPresence]] = []

    def view(people: list[ParticipantPresence]) -> list[PersonView]:
        made.append(people)
        return participants_view(people)

    _, _, ack, _ = await begin(server)
    dialect = server.dialect()
    wires = []
    for _ in range(4):
        wire, say = server.connect(dialect)
        say("follow", conversation=ack["conversation"])
        wires.append(wire)
    for wire in wires:
        await wire.until(lambda wire: any(connections(frame) == 5 for frame in wire.frames))
    monkeypatch.setattr(subscription, "participants_view", view)
    wires.pop().cut()
    for wire in wires:
        await wire.until(lambda wire: any(connections(frame) == 4 for frame in wire.frames[-1:]))
    # The socket that asked is of another dialect, and has its own.
    assert len(made) == 2


def is_complete(frame: Frame, reply: str) -> bool:
    return frame["type"] == "message" and (frame["message"]["id"], frame["message"]["status"]) == (
        reply,
        "complete",
    )


def connections(frame: Frame) -> int:
    return sum(each["connections"] for each in frame["people"]) if frame["type"] == "people" else 0


async def test_a_conversation_deleted_during_its_history_is_unfollowed(server: Server) -> None:
    """The socket takes no more, and the pages that are left wait."""
    wire, _, ack, run = await begin(server, "x" * 60_000)
    run.say("y" * 60_000)
    run.finish()
    await wire.until(lambda wire: any(is_complete(frame, ack["reply"]) for frame in wire.frames))
    other, ask = server.connect()
    other.writable = False
    ask("follow", id="f", conversation=ack["conversation"])
    assert (await other.next("following"))["more"]
    await server.service.conversations.delete(User("ada"), ack["conversation"])
    await other.next("deleted")
    other.resume()
    ask("unfollow", id="u", conversation=ack["conversation"])
    await other.next("unfollowed", re="u")
    assert not server.service.subscriptions._watchers.watched(ack["conversation"])


def test_inline_pictures_count_in_the_pages_of_a_history() -> None:
    picture = ImagePart("data:image/png;base64," + "AAAA" * 12_000)
    whole = [MessageView(str(n), "c", "user", "complete", "now", parts=(picture,)) for n in range(4)]
    pages = pages_of(whole)
    assert len(pages) == 2
    assert [message for page in pages for message in page] == whole


async def test_a_revision_that_was_received_in_part_is_sent_again(server: Server) -> None:
    """A cut between the frames of one change: the question came through, the reply that began with it did not."""
    _, _, ack, run = await begin(server)
    run.say("Half")
    other, ask = server.connect()
    ask("follow", conversation=ack["conversation"], since=1)
    following = await other.next("following")
    assert [message["id"] for message in following["messages"]] == [ack["message"], ack["reply"]]
    ask("follow", conversation=ack["conversation"], since=2)
    assert (await other.next("following"))["messages"] == []


async def test_an_error_is_short_for_any_length_of_the_mistake(server: Server) -> None:
    wire, say = server.connect()
    say("x" * 50_000)
    say("ping" + "x" * 100)
    long, other = [(await wire.next("error"))["message"] for _ in range(2)]
    assert len(long) < 300
    assert "$.type" in long
    assert "x" * 100 in other


async def test_a_stalled_socket_gets_stream_end_and_later_changes_in_order(
    server: Server,
) -> None:
    wire, _, ack, run = await begin(server)
    run.say("Some")
    await wire.next("delta")
    wire.writable = False
    wire.frames.clear()
    run.say(" more.")
    run.finish()
    (log,) = server.service.subscriptions.logs(ack["conversation"])
    await server.service.replies.stop(User("ada"), ack["conversation"])
    await server.service.conversations.rename(User("ada"), ack["conversation"], "Later")
    begun = await server.service.replies.send(User("ada"), Submission("k2", ack["conversation"], "Again"))
    (await server.engine.asked()).say("Other words.")
    assert log.closed
    assert wire.frames == []
    wire.resume()
    await wire.until(lambda wire: any(f.get("stream") == begun.reply.id for f in wire.frames))
    changes = [
        (
            f["type"],
            f.get("stream") or f["conversation"]["title"] if "message" not in f else f["message"]["id"],
        )
        for f in wire.frames
    ]
    assert changes == [
        ("delta", ack["reply"]),
        ("message", ack["reply"]),
        ("conversation", "Hello"),
        ("conversation", "Later"),
        ("conversation", "Later"),
        ("message", begun.question.id if begun.question else ""),
        ("message", begun.reply.id),
        ("delta", begun.reply.id),
    ]


async def test_a_reconnecting_client_may_follow_all_its_conversations_at_once(server: Server) -> None:
    wire, say = server.connect()
    for n in range(MAX_CONVERSATIONS):
        say("follow", id=str(n), conversation="c")
    await wire.until(lambda w: sum(frame["type"] == "error" for frame in w.frames) == MAX_CONVERSATIONS)
    assert wire.closed is None
