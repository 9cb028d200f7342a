"""A client that does not read costs little, and nobody else anything."""

import asyncio
import json
from typing import Literal

import pytest
from tests.gateway.websocket.harness import frames, read_close, running_server, until

from legato.dialects.base import Endpoint, Handshake, Session, Socket
from legato.dialects.reply_encoder import ReplyEncoder
from legato.gateway.websocket import Limits
from legato.gateway.websocket.direct import DirectSocket
from legato.protocol.close_codes import CloseCode
from legato.stream import Batch, Flusher, Log, Subscriber
from legato.stream.events import Finished, Text

Transport = Literal["direct", "asgi"]

MIB = 1 << 20
PIECE = "word " * 800
PIECES = 52 * MIB // len(PIECE)


def encode(log: Log, batch: Batch) -> bytes:
    text = "".join(event.text for event in batch.events if isinstance(event, Text))
    return json.dumps({"next": batch.next, "text": text}).encode()


ENCODER = ReplyEncoder(lambda log, batch: (encode(log, batch),))


class Watching(Session):
    """Follows one log from its beginning."""

    def __init__(self, log: Log, flusher: Flusher, handshake: Handshake, socket: Socket) -> None:
        self.socket = socket
        self.viewer = Subscriber(log, 0, ENCODER.encoder(socket.frame), socket, flusher)
        self.over = asyncio.Event()

    def received(self, payload: bytes) -> None:
        raise AssertionError

    def resumed(self) -> None:
        self.viewer.mark()

    def closed(self) -> None:
        self.viewer.detach()
        self.over.set()


class Stage:
    def __init__(self) -> None:
        self.log = Log("s", "e")
        self.flusher = Flusher(asyncio.get_running_loop().call_soon)
        self.seats: list[Watching] = []

    @property
    def door(self) -> Endpoint:
        def sit(handshake: Handshake, socket: Socket) -> Session:
            self.seats.append(Watching(self.log, self.flusher, handshake, socket))
            return self.seats[-1]

        return Endpoint("/ws", sit)


def owed(socket: Socket) -> int:
    assert isinstance(socket, DirectSocket)
    return socket.unsent_bytes


async def test_a_stalled_viewer_is_bounded_while_another_gets_everything(transport: Transport) -> None:
    stage = Stage()
    async with running_server(
        transport, stage.door, limits=Limits(tick_seconds=0.05, stall_seconds=0.5, close_seconds=0.5)
    ) as running:
        _, stalled = await running.opened(receive_buffer=4096)
        await until(lambda: stage.seats)
        seat = stage.seats[0]
        highest = 0
        async with running.connect(max_size=None) as reader:
            got: list[str] = []

            async def read() -> None:
                while sum(map(len, got)) < PIECES * len(PIECE):
                    got.append(json.loads(await reader.recv())["text"])

            reading = asyncio.create_task(read())
            for n in range(PIECES):
                stage.log.append(Text(PIECE))
                if n % 16 == 0:
                    await asyncio.sleep(0)
                    if transport == "direct":
                        highest = max(highest, owed(seat.socket))
            stage.log.append(Finished("stop"))
            await reading
            assert "".join(got) == PIECE * PIECES
        assert highest <= 512 * 1024
        await seat.over.wait()
        assert not seat.viewer.attached
        stalled.close()


@pytest.mark.parametrize("wakes", [True, False])
async def test_a_subscriber_that_stalls_too_long_reads_why_when_it_wakes(wakes: bool) -> None:
    stage = Stage()
    async with running_server(
        "direct",
        stage.door,
        limits=Limits(tick_seconds=0.05, stall_seconds=0.2, close_seconds=5.0 if wakes else 0.2),
    ) as running:
        reader, writer = await running.opened(receive_buffer=4096)
        await until(lambda: stage.seats)
        for _ in range(4 * MIB // len(PIECE)):
            stage.log.append(Text(PIECE))
        await until(lambda: stage.seats[0].socket.writable is False)
        if wakes:
            await until(lambda: stage.seats[0].socket.closing)
            assert (await read_close(reader))[0] == CloseCode.SLOW
            writer.close()
        await stage.seats[0].over.wait()
        writer.close()


async def test_control_messages_to_a_client_that_does_not_read_have_a_bound(transport: Transport) -> None:
    async with running_server(transport, limits=Limits(tick_seconds=0.05, close_seconds=0.2)) as running:
        _, writer = await running.opened(receive_buffer=4096)
        await until(lambda: running.talks)
        talk = running.talks[0]
        highest = sent = 0
        while not talk.over.is_set():
            talk.socket.send(b"n" * 10_000)
            sent += 10_000
            if transport == "direct":
                highest = max(highest, owed(talk.socket))
            await asyncio.sleep(0)
        assert highest <= 512 * 1024 + 20_000
        assert sent > 512 * 1024
        writer.close()


async def test_a_long_message_is_not_held_against_a_client_that_reads(transport: Transport) -> None:
    long, short = b"m" * 6 * MIB, b"c" * 10
    async with running_server(transport) as running, running.connect(max_size=None) as reader:
        await until(lambda: running.talks)
        for _ in range(2):
            for payload in (long, short, short):
                running.talks[0].socket.send(payload)
                await asyncio.sleep(0)
            assert [len(await reader.recv()) for _ in range(3)] == [len(long), 10, 10]


async def test_nor_are_several_at_once(transport: Transport) -> None:
    sizes = [3 * MIB, 10, 4 * MIB, 3 * MIB, 10]
    async with running_server(transport) as running, running.connect(max_size=None) as reader:
        await until(lambda: running.talks)
        for size in sizes:
            running.talks[0].socket.send(b"m" * size)
            await asyncio.sleep(0)
        assert [len(await reader.recv()) for _ in sizes] == sizes


async def test_a_subscriber_that_was_slow_catches_up_with_joined_frames(transport: Transport) -> None:
    stage = Stage()
    async with running_server(transport, stage.door) as running:
        reader, writer = await running.opened(receive_buffer=4096)
        await until(lambda: stage.seats)
        pieces = 3 * MIB // len(PIECE)
        for _ in range(pieces):
            stage.log.append(Text(PIECE))
            await asyncio.sleep(0)
        await until(lambda: not stage.seats[0].socket.writable)
        texts = []
        async for _, payload in frames(reader):
            texts.append(json.loads(payload)["text"])
            if sum(map(len, texts)) == pieces * len(PIECE):
                break
        assert "".join(texts) == PIECE * pieces
        assert len(texts) < pieces * 0.9
        writer.close()
