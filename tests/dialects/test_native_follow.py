"""How a client follows and resumes on the native protocol: by the rules of docs/protocol.md, over links with any delay."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec
import pytest
from tests.gateway.server import calling

from legato.client.fragments import FragmentJoiner
from legato.dialects.native.codec import MAX_SENT_BYTES, encode, fragments
from legato.dialects.native.message_frames import MessageFrames
from legato.domain.message import ImagePart, TextPart, ToolCallPart
from legato.protocol.messages import CommandAnswer, Fragment, MessageChanged
from legato.stream import Event, ReplySnapshot
from legato.testing.engine import ScriptedEngine

from .conftest import Frame, Server, Wire
from .test_native import begin, is_complete


class LaggingClient:
    """A client that reads each frame `lag` steps after it was sent, and whose frames take as long.

    It follows the rule for deltas: one that begins at its position continues, one from 0 replaces, any other one is a gap.
    A `patient` one does not ask again while its `follow` is not answered; the other one does, as often as it sees a gap.
    """

    def __init__(
        self, wire: Wire, say: Any, conversation: str, stream: str, lag: int, *, patient: bool
    ) -> None:
        self.follows = 0
        self.text = ReplySnapshot()
        self.ended = False
        self._wire = wire
        self._say = say
        self._conversation = conversation
        self._stream = stream
        self._lag = lag
        self._patient = patient
        self._waiting = False
        self._epoch = ""
        self._at = 0
        self._read = 0
        self._down: list[tuple[int, Frame]] = []
        self._up: list[tuple[int, dict[str, Any]]] = []
        self._now = 0

    def follow(self) -> None:
        self.follows += 1
        self._waiting = True
        where = [{"stream": self._stream, "epoch": self._epoch, "offset": self._at}] if self._epoch else []
        self._up.append((self._now + self._lag, {"conversation": self._conversation, "positions": where}))

    def step(self) -> None:
        self._now += 1
        for frame in self._wire.frames[self._read :]:
            self._down.append((self._now + self._lag, frame))
        self._read = len(self._wire.frames)
        while self._down and self._down[0][0] <= self._now:
            self._receive(self._down.pop(0)[1])
        while self._up and self._up[0][0] <= self._now:
            self._say("follow", **self._up.pop(0)[1])

    def _receive(self, frame: Frame) -> None:
        if frame["type"] == "following":
            self._waiting = False
        if frame["type"] == "reset":
            self.text, self._at = ReplySnapshot(), 0
        if frame["type"] != "delta" or frame["stream"] != self._stream:
            return
        if frame["from"] == 0:
            self.text = ReplySnapshot()
        elif (frame["epoch"], frame["from"]) != (self._epoch, self._at):
            if not (self._patient and self._waiting):
                self.follow()
            return
        for event in msgspec.convert(frame["events"], list[Event]):
            self.text.apply(event)
        self._epoch, self._at = frame["epoch"], frame["to"]
        self.ended = self.text.end is not None


@pytest.mark.parametrize("patient", [True, False])
@pytest.mark.parametrize("seed", range(6))
async def test_a_second_follow_settles_whatever_the_delay(server: Server, seed: int, patient: bool) -> None:
    random_ = random.Random(seed)
    _, _, ack, run = await begin(server)
    run.say("0 ")
    wire, say = server.connect()
    client = LaggingClient(
        wire, say, ack["conversation"], ack["reply"], random_.choice([1, 3, 8, 20]), patient=patient
    )
    client.follow()
    words = [f"{n} " for n in range(1, 80)]
    wanted = 1
    for word in words:
        run.say(word)
        if random_.random() < 0.05:
            client.follow()
            wanted += 1
        await asyncio.sleep(0)
        client.step()
    run.finish()
    for _ in range(400):
        await asyncio.sleep(0)
        client.step()
        if client.ended:
            break
    assert client.text.text == "0 " + "".join(words)
    assert client.follows == wanted


async def test_a_follow_without_a_position_starts_the_stream_again(server: Server) -> None:
    _, _, ack, run = await begin(server)
    run.say("one ")
    wire, say = server.connect()
    say("follow", conversation=ack["conversation"])
    first = await wire.next("delta")
    say("follow", conversation=ack["conversation"])
    assert (await wire.next("delta"))["from"] == first["from"] == 0
    run.say("two")
    assert (await wire.next("delta"))["from"] == first["to"]


async def test_a_position_before_what_the_socket_was_sent_starts_there(server: Server) -> None:
    _, _, ack, run = await begin(server)
    run.say("one ")
    seen, watch = server.connect()
    watch("follow", conversation=ack["conversation"])
    start = await seen.next("delta")
    run.say("two ")
    await seen.next("delta")
    wire, say = server.connect()
    here = {"stream": ack["reply"], "epoch": start["epoch"]}
    say("follow", conversation=ack["conversation"], positions=[here | {"offset": start["to"] + 1}])
    await wire.next("following")
    run.say("three")
    assert (await wire.next("delta"))["from"] == start["to"] + 1
    say("follow", conversation=ack["conversation"], positions=[here | {"offset": start["to"]}])
    assert (await wire.next("delta"))["from"] == start["to"]


async def test_one_who_sends_first_hears_what_others_wrote_by_the_rule_of_the_page(server: Server) -> None:
    """The revisions of frames before `following` do not count as seen."""
    wire, _, ack, run = await begin(server)
    run.say("First.")
    run.finish()
    await wire.until(lambda wire: any(is_complete(frame, ack["reply"]) for frame in wire.frames))
    seen = max(frame["message"]["revision"] for frame in wire.frames if frame["type"] == "message")
    wire.cut()
    other, write = server.connect()
    write("send", client_message_id="other", conversation=ack["conversation"], text="missed")
    missed = await other.next("ack")
    (await server.engine.asked()).finish()
    back, say = server.connect()
    say("send", client_message_id="mine", conversation=ack["conversation"], text="mine")
    await back.next("conversation")
    say("follow", conversation=ack["conversation"], since=seen)
    following = await back.next("following")
    assert missed["message"] in [message["id"] for message in following["messages"]]


@pytest.mark.parametrize("token", ["ada's", "bob's", "forged", ""])
async def test_a_second_hello_is_an_error_and_changes_nothing(server: Server, token: str) -> None:
    server.anyone = None
    wire, say = server.connect()
    say("hello", token="ada's")
    assert (await wire.next("welcome"))["user"] == "ada"
    say("hello", id="again", token=token)
    assert (await wire.next("error", re="again"))["code"] == "invalid"
    assert wire.closed is None
    say("ping", id="p")
    await wire.next("pong", re="p")


async def test_one_who_has_all_of_a_reply_is_told_nothing_however_late(server: Server) -> None:
    wire, _, ack, run = await begin(server)
    run.say("All of it.")
    run.finish()
    await wire.until(lambda wire: any(is_complete(frame, ack["reply"]) for frame in wire.frames))
    last = [frame for frame in wire.frames if frame["type"] == "delta"][-1]
    wire.cut()
    server.service.subscriptions.evict(ack["conversation"])
    where = {"stream": ack["reply"], "epoch": last["epoch"], "offset": last["to"]}
    late, say = server.connect()
    say("follow", conversation=ack["conversation"], positions=[where])
    await late.next("following")
    say("ping", id="p")
    await late.next("pong", re="p")
    assert not [frame for frame in late.frames if frame["type"] in ("delta", "reset")]
    say("follow", conversation=ack["conversation"], positions=[where | {"offset": last["to"] - 1}])
    assert (await late.next("reset"))["reason"] == "trimmed"
    whole = await late.next("delta")
    assert (whole["from"], whole["to"], whole["epoch"]) == (0, last["to"], last["epoch"])


def test_the_fragments_of_a_frame_are_bounded_and_join_to_it() -> None:
    text = "".join(random.Random(1).choices('"\\\n\té🥚x\u2028', k=400_000))
    frame = encode(CommandAnswer(name="x", text=text))
    pieces = fragments(frame)
    assert len(pieces) > 2
    assert max(map(len, pieces)) <= MAX_SENT_BYTES
    joiner, joined = FragmentJoiner(), None
    for piece in pieces:
        assert joined is None
        joined = joiner.add(msgspec.json.decode(piece, type=Fragment))
    assert joined == CommandAnswer(name="x", text=text)
    assert fragments(b"short") == (b"short",)


async def test_a_message_has_its_text_once(server: Server) -> None:
    wire, _, ack, run = await begin(server)
    run.say("Once.")
    run.finish()
    await wire.until(lambda wire: any(is_complete(frame, ack["reply"]) for frame in wire.frames))
    (message,) = [frame["message"] for frame in wire.frames if is_complete(frame, ack["reply"])]
    assert (message["text"], message["parts"], message["places"]) == ("Once.", [], [])


async def test_parts_have_their_places_in_the_text(server: Server) -> None:
    _, _, ack, run = await begin(server)
    run.finish()
    message = await server.storage.message(ack["message"])
    parts = (TextPart("é🥚"), ToolCallPart("c", "n", "{}"), TextPart("end"), ImagePart(attachment="a"))
    (frame,) = MessageFrames().of(msgspec.structs.replace(message, parts=parts))
    view = msgspec.json.decode(frame, type=MessageChanged).message
    assert (view.text, view.parts, view.places) == ("é🥚end", (parts[1], parts[3]), (2, 5))


async def test_the_end_of_a_long_reply_is_encoded_once_for_all_readers(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from legato.dialects.native import message_frames

    encoded: list[Any] = []
    before = message_frames.encode

    def count(message: Any) -> bytes:
        encoded.append(message.message.id)
        return before(message)

    _, _, ack, run = await begin(server)
    dialect = server.dialect()
    wires = []
    for _ in range(20):
        reader, say = server.connect(dialect)
        say("follow", conversation=ack["conversation"])
        await reader.next("following")
        wires.append(reader)
    monkeypatch.setattr(message_frames, "encode", count)
    for reader in wires[:5]:
        reader.writable = False
    for _ in range(40):
        run.say("x" * 16_000)
    run.finish()
    for reader in wires[5:]:
        await reader.until(lambda reader: reader.frames[-1].get("type") == "conversation")
        assert len([frame for frame in reader.frames if frame["type"] == "fragment"]) > 3
    assert len(encoded) <= 2  # once for the dialect of the twenty, once for the first socket's
    stalled = wires[0]
    assert not [frame for frame in stalled.frames if frame["type"] == "fragment"]
    stalled.resume()
    await stalled.until(lambda reader: reader.frames[-1].get("type") == "conversation")
    kinds = [frame["type"] for frame in stalled.frames if frame["type"] in ("fragment", "conversation")]
    assert kinds[-1] == "conversation"
    assert "conversation" not in kinds[kinds.index("fragment") : -1]


async def test_no_frame_of_a_real_server_is_longer_than_it_says(
    serve: Callable[..., Any], engine: ScriptedEngine
) -> None:
    async with (
        serve() as server,
        calling(server) as http,
        http.ws_connect("/ws", protocols=["legato.v1"], max_msg_size=0) as socket,
    ):
        await read_a_long_reply(socket, engine)


async def read_a_long_reply(socket: aiohttp.ClientWebSocketResponse, engine: ScriptedEngine) -> None:
    welcome = await socket.receive_json()
    assert welcome["max_sent_bytes"] == MAX_SENT_BYTES
    text = '🥚"\\' * 200_000
    await socket.send_json({"type": "send", "client_message_id": "k", "text": "long"})
    run = await engine.asked()
    for start in range(0, len(text), 16_000):
        run.say(text[start : start + 16_000])
    run.finish()
    sizes, group, frames = [], "", []
    while True:
        data = (await socket.receive()).data
        assert isinstance(data, str), data
        sizes.append(len(data.encode()))
        frame = msgspec.json.decode(data)
        if frame["type"] == "fragment":
            group += frame["text"]
            if frame.get("more"):
                continue
            frame, group = msgspec.json.decode(group), ""
        frames.append(frame)
        if (
            frame["type"] == "message"
            and frame["message"]["status"] == "complete"
            and frame["message"]["role"] == "assistant"
        ):
            break
    assert max(sizes) <= MAX_SENT_BYTES
    assert frames[-1]["message"]["text"] == text
