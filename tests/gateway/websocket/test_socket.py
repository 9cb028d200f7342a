"""What a client meets on a real server, whichever transport it has."""

import asyncio
import contextlib
import json
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.gateway.websocket.harness import QUICK, frames, masked, read_close, running_server, until
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from legato.dialects.base import Endpoint, Handshake, Session, Socket
from legato.gateway.websocket import Limits
from legato.protocol.close_codes import CloseCode

Transport = Literal["direct", "asgi"]


async def closed(client: ClientConnection) -> tuple[int | None, str | None]:
    """How the server closes, whatever it says before."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await client.recv()
    return client.close_code, client.close_reason


@pytest.mark.parametrize(
    "text", ["hello", "", "ein Grüßchen 🎻", "x" * 125, "x" * 126, "x" * 65535, "ü" * 32768]
)
async def test_a_text_is_received_and_answered(transport: Transport, text: str) -> None:
    async with running_server(transport) as running, running.connect() as client:
        await client.send(text)
        assert await client.recv() == text
        assert running.talks[0].heard == [text]


async def test_many_messages_keep_their_order(transport: Transport) -> None:
    async with running_server(transport) as running, running.connect("/large") as client:
        texts = [f"{n} " + "y" * (n * 37 % 3000) for n in range(500)]

        async def send() -> None:
            for text in texts:
                await client.send(text)

        sending = asyncio.create_task(send())
        assert [await client.recv() for _ in texts] == texts
        await sending


async def test_fragments_arrive_as_one_message(transport: Transport) -> None:
    async with running_server(transport) as running, running.connect() as client:
        await client.send(["in ", "three ", "pieces"])
        assert await client.recv() == "in three pieces"


async def test_a_letter_may_be_cut_by_a_fragment(transport: Transport) -> None:
    async with running_server(transport) as running:
        reader, writer = await running.opened()
        note = "🎻".encode()
        writer.write(
            masked(0x01, note[:1]) + masked(0x00, note[1:3]) + masked(0x89, b"!") + masked(0x80, note[3:])
        )
        got = [frame async for frame in first(reader, 2)]
        assert sorted(got) == [(0x81, note), (0x8A, b"!")]
        writer.close()


async def first(reader: asyncio.StreamReader, count: int) -> object:
    async for frame in frames(reader):
        yield frame
        count -= 1
        if not count:
            return


async def test_a_ping_is_answered(transport: Transport) -> None:
    async with running_server(transport) as running, running.connect() as client:
        async with asyncio.timeout(10):
            await (await client.ping(b"are you there?"))


@pytest.mark.parametrize("parts", [["x" * 65537], ["x" * 40000, "x" * 40000], ["", "x" * 65536, "x"]])
async def test_a_message_beyond_the_cap_is_1009(transport: Transport, parts: list[str]) -> None:
    async with running_server(transport) as running, running.connect() as client:
        with contextlib.suppress(ConnectionClosed):
            await client.send(parts[0] if len(parts) == 1 else parts)
        assert (await closed(client))[0] == 1009
        assert not running.talks[0].heard


async def test_an_endpoint_may_take_larger_messages(transport: Transport) -> None:
    async with running_server(transport) as running, running.connect("/large", max_size=None) as client:
        await client.send("x" * (1 << 20))
        assert len(await client.recv()) == 1 << 20
        with contextlib.suppress(ConnectionClosed):
            await client.send("x" * ((1 << 20) + 1))
        assert (await closed(client))[0] == 1009


async def test_a_claimed_length_is_refused_before_it_arrives(transport: Transport) -> None:
    async with running_server(transport) as running:
        reader, writer = await running.opened()
        writer.write(masked(0x81, b"just this", length=1 << 62))
        assert (await read_close(reader))[0] == 1009
        writer.close()


async def test_binary_is_not_spoken(transport: Transport) -> None:
    async with running_server(transport) as running, running.connect() as client:
        await client.send(b"\x00\x01")
        assert await closed(client) == (1003, "Only text is spoken here: send text frames.")
        assert not running.talks[0].heard


async def test_a_forgiving_session_passes_over_binary(transport: Transport) -> None:
    async with running_server(transport) as running, running.connect("/forgiving") as client:
        await client.send(b"\x00\x01")
        assert await client.recv() == "text, please"
        await client.send([b"\xff", b"in", b"parts"])
        assert await client.recv() == "text, please"
        await client.send(["and", " text"])
        assert await client.recv() == "and text"
        assert running.talks[0].heard == ["and text"]


@pytest.mark.parametrize("text", [b"\xff", b"\xc3\x28", b"caf\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
async def test_text_that_is_not_utf8_is_1007(transport: Transport, text: bytes) -> None:
    async with running_server(transport) as running:
        reader, writer = await running.opened()
        writer.write(masked(0x81, text))
        assert (await read_close(reader))[0] == 1007
        assert not running.talks[0].heard
        writer.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x05hello",
        masked(0xC1, b"reserved"),
        masked(0x83, b"reserved"),
        masked(0x8B, b"reserved"),
        masked(0x80, b"continues nothing"),
        masked(0x01, b"begun") + masked(0x81, b"begun again"),
        masked(0x09, b"a ping in fragments"),
        masked(0x89, b"a ping of 126 bytes" + b"." * 107),
        masked(0x88, b"\x03"),
        masked(0x88, (1005).to_bytes(2, "big")),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_frame_is_1002(transport: Transport, data: bytes) -> None:
    async with running_server(transport) as running:
        reader, writer = await running.opened()
        writer.write(data)
        assert (await read_close(reader))[0] == 1002
        writer.close()
        async with running.connect() as client:
            await client.send("still here")
            assert await client.recv() == "still here"


@pytest.mark.parametrize(
    "data",
    [
        masked(0x82, b"bytes"),
        masked(0x81, b"\xff"),
        masked(0x81, b"x" * 65537),
        masked(0x81, b"x", length=1 << 62),
        masked(0x83, b"reserved"),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_a_session_can_see_that_its_client_was_wrong(transport: Transport, data: bytes) -> None:
    async with running_server(transport) as running:
        _, writer = await running.opened()
        writer.write(data)
        await until(lambda: running.talks)
        await running.talks[0].over.wait()
        assert running.talks[0].socket.at_fault
        writer.close()


@pytest.mark.parametrize("last", ["!close 4003 enough", "!raise", "goodbye", ""])
async def test_and_that_it_was_not(transport: Transport, last: str) -> None:
    async with running_server(transport) as running, running.connect() as client:
        await client.send(last or "x")
        if last.startswith("!"):
            await closed(client)
        elif last:
            await client.close(1000)
        else:
            client.transport.abort()
        await running.talks[0].over.wait()
        assert not running.talks[0].socket.at_fault


async def test_a_flood_of_frames_is_1008(transport: Transport) -> None:
    async with running_server(transport) as running, running.connect() as client:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(5000):
                await client.send("x")
        assert (await closed(client))[0] == 1008
        assert 400 <= len(running.talks[0].heard) < 5000


async def test_a_flood_of_tiny_fragments_is_1008() -> None:
    async with running_server("direct") as running:
        reader, writer = await running.opened()
        writer.write(masked(0x01, b"x") + masked(0x00, b"x") * 5000)
        assert (await read_close(reader))[0] == 1008
        assert not running.talks[0].heard
        writer.close()


async def test_a_frame_may_come_byte_by_byte(transport: Transport) -> None:
    async with running_server(transport) as running:
        reader, writer = await running.opened()
        for byte in masked(0x81, b"slow") + masked(0x81, b"x" * 300):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert [frame async for frame in first(reader, 2)] == [(0x81, b"slow"), (0x81, b"x" * 300)]
        writer.close()


async def test_a_session_closes_with_code_and_reason_after_what_it_said(transport: Transport) -> None:
    async with running_server(transport) as running, running.connect() as client:
        await client.send("last words")
        await client.send("!close 4003 not yours")
        assert await client.recv() == "last words"
        assert await closed(client) == (4003, "not yours")
        await running.talks[0].over.wait()
        assert running.talks[0].ends == 1


async def test_a_long_reason_is_cut_between_letters(transport: Transport) -> None:
    async with running_server(transport) as running, running.connect() as client:
        await client.send("!close 4000 " + "ü" * 100)
        assert await closed(client) == (4000, "ü" * 61)


async def test_nothing_is_received_after_a_close(transport: Transport) -> None:
    async with running_server(transport) as running:
        reader, writer = await running.opened()
        writer.write(
            masked(0x81, b"!close 4000 bye") + masked(0x81, b"one more thing") + masked(0x88, b"\x0f\xa0")
        )
        assert (await read_close(reader))[0] == 4000
        await running.talks[0].over.wait()
        assert running.talks[0].heard == ["!close 4000 bye"]
        writer.close()


async def test_the_close_of_a_client_is_answered_and_ends_the_session_once(transport: Transport) -> None:
    async with running_server(transport) as running:
        reader, writer = await running.opened()
        writer.write(masked(0x88, (1000).to_bytes(2, "big") + b"bye"))
        assert (await read_close(reader))[0] == 1000
        assert await reader.read() == b""
        await running.talks[0].over.wait()
        writer.close()
        await until(lambda: not running.server.server_state.connections)
        assert running.talks[0].ends == 1


async def test_a_client_that_vanishes_ends_the_session_once(transport: Transport) -> None:
    async with running_server(transport) as running:
        _, writer = await running.opened()
        await until(lambda: running.talks)
        writer.transport.abort()
        await running.talks[0].over.wait()
        await until(lambda: not running.server.server_state.connections)
        assert running.talks[0].ends == 1


async def test_a_session_that_raises_loses_its_connection_only(
    transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        running_server(transport) as running,
        running.connect() as witness,
        running.connect() as client,
    ):
        await client.send("!raise")
        assert await closed(client) == (1011, "The server made a mistake with this connection.")
        await witness.send("well?")
        assert await witness.recv() == "well?"
    assert "a session must not, but this one does" in caplog.text


async def test_an_endpoint_that_raises_loses_its_connection_only(
    transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(handshake: Handshake, socket: Socket) -> Session:
        raise ValueError("no session today")

    async with running_server(transport, Endpoint("/ws", broken)) as running, running.connect() as client:
        assert (await closed(client))[0] == 1011
    assert "no session today" in caplog.text


async def test_a_session_may_close_at_once(transport: Transport) -> None:
    class Shut(Session):
        def __init__(self, handshake: Handshake, socket: Socket) -> None:
            socket.send(b"sorry")
            socket.close(CloseCode.TOO_MANY, "full")
            self.ends = 0

        def closed(self) -> None:
            self.ends += 1

    async with running_server(transport, Endpoint("/ws", Shut)) as running, running.connect() as client:
        assert await client.recv() == "sorry"
        assert await closed(client) == (4008, "full")


async def test_a_frame_made_once_is_the_same_for_every_socket(transport: Transport) -> None:
    async with running_server(transport) as running, running.connect() as one, running.connect() as other:
        await until(lambda: len(running.talks) == 2)
        sockets = [talk.socket for talk in running.talks]
        assert sockets[0].frame is sockets[1].frame
        frame = sockets[0].frame(json.dumps({"text": "🎻"}).encode())
        for socket in sockets:
            socket.write(frame)
            socket.write(frame)
            socket.flush()
        for client in (one, other):
            assert [await client.recv(), await client.recv()] == ['{"text": "\\ud83c\\udfbb"}'] * 2


async def test_one_write_may_hold_any_number_of_frames(transport: Transport) -> None:
    async with running_server(transport) as running, running.connect() as client:
        await until(lambda: len(running.talks) == 1)
        socket = running.talks[0].socket
        socket.write(b"")
        socket.write(b"".join(socket.frame(b'{"n":%d}' % n) for n in range(3)))
        socket.flush()
        assert [await client.recv() for _ in range(3)] == ['{"n":0}', '{"n":1}', '{"n":2}']


async def test_a_client_that_answers_pings_stays_and_a_silent_one_does_not(transport: Transport) -> None:
    async with running_server(transport, limits=QUICK) as running, running.connect() as lively:
        reader, writer = await running.opened()
        code, _ = await read_close(reader)
        assert code == (CloseCode.SILENT if transport == "direct" else 1011)
        await running.talks[1].over.wait()
        await lively.send("still here")
        assert await lively.recv() == "still here"
        writer.close()


async def test_a_client_that_does_not_answer_a_close_is_hung_up_on(transport: Transport) -> None:
    async with running_server(transport, limits=QUICK) as running:
        reader, writer = await running.opened()
        writer.write(masked(0x81, b"!close 4000 bye"))
        assert await read_close(reader) == (4000, "bye")
        await running.talks[0].over.wait()
        await until(lambda: not running.server.server_state.connections)
        writer.close()


async def test_a_server_that_shuts_down_says_come_back(transport: Transport) -> None:
    async with running_server(transport) as running, running.connect() as client:
        await until(lambda: running.talks)
        for connection in list(running.server.server_state.connections):
            connection.shutdown()
        assert (await closed(client))[0] == (CloseCode.GOING_AWAY if transport == "direct" else 1012)
        await running.talks[0].over.wait()


async def test_a_shutdown_does_not_wait_for_those_who_do_not_answer(transport: Transport) -> None:
    async with running_server(transport, limits=QUICK) as running, running.connect() as client:
        _, deaf = await running.opened(receive_buffer=4096)
        await until(lambda: len(running.talks) == 2)
        running.talks[1].socket.send(b"x" * (4 << 20))
        await running.server.shutdown()
        assert not running.server.server_state.connections
        assert [talk.ends for talk in running.talks] == [1, 1]
        assert (await closed(client))[0] == (CloseCode.GOING_AWAY if transport == "direct" else 1012)
        deaf.close()


async def test_it_is_the_same_behind_tls(transport: Transport, certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=certificate)

    def serving(*_: object) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        return context

    async with running_server(transport, tls=serving, limits=QUICK) as running:
        async with running.connect(ssl=trusting) as client:
            await client.send("x" * 65536)
            assert await client.recv() == "x" * 65536
            await client.send("!close 4003 not yours")
            assert await closed(client) == (4003, "not yours")
        async with running.connect(ssl=trusting) as client:
            await client.send(b"binary")
            assert (await closed(client))[0] == 1003
        await until(lambda: not running.server.server_state.connections)
        assert [talk.ends for talk in running.talks] == [1, 1]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of its own for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *form) + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


async def test_limits_are_those_of_the_server() -> None:
    async with (
        running_server("direct", limits=Limits(frame_bytes=10)) as running,
        running.connect() as client,
    ):
        await client.send("x" * 11)
        assert await closed(client) == (1009, "A message may have 10 bytes at most here.")
