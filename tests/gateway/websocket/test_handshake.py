"""What it takes to be let in, and what is said to those who are not."""

import asyncio
import contextlib
import logging
import socket
from typing import Literal

import pytest
from tests.gateway.websocket.harness import (
    QUICK,
    RunningServer,
    frames,
    masked,
    read_close,
    request,
    running_server,
    until,
)
from websockets.exceptions import InvalidStatus

from legato.gateway.websocket import Limits, Origins

Transport = Literal["direct", "asgi"]


async def answer(running: RunningServer, head: bytes) -> bytes:
    reader, writer = await running.raw()
    writer.write(head)
    got = await reader.read()
    writer.close()
    return got


async def test_a_session_gets_the_request_that_opened_it(transport: Transport) -> None:
    async with running_server(transport) as running:
        options = {
            "additional_headers": {"X-Seen-As": "Fritz"},
            "subprotocols": ["other", "legato.v2", "legato.v1"],
        }
        path = "/rooms/the%20green/seats/7?token=a%2Bb&again=1&again=2&empty="
        async with running.connect(path, **options):
            await until(lambda: running.talks)
            asked = running.talks[0].handshake
            assert asked.path == "/rooms/the green/seats/7"
            assert asked.params == {"room": "the green", "seat": "7"}
            assert asked.query == {"token": "a+b", "again": "1", "empty": ""}
            assert asked.headers["x-seen-as"] == "Fritz"
            assert asked.subprotocol is None
            assert asked.client == "127.0.0.1"


async def test_the_first_subprotocol_that_the_endpoint_speaks_is_taken(transport: Transport) -> None:
    async with running_server(transport) as running:
        async with running.connect(subprotocols=["other", "legato.v2", "legato.v1"]) as client:
            assert client.subprotocol == "legato.v2"
            assert running.talks[0].handshake.subprotocol == "legato.v2"
        async with running.connect(subprotocols=["unheard-of"]) as client:
            assert client.subprotocol is None


async def test_compression_is_never_agreed_to(transport: Transport) -> None:
    async with running_server(transport) as running, running.connect(compression="deflate") as client:
        assert "Sec-WebSocket-Extensions" in client.request.headers
        assert "Sec-WebSocket-Extensions" not in client.response.headers
        await client.send("x" * 1000)
        assert await client.recv() == "x" * 1000


async def test_a_path_without_an_endpoint_is_404(transport: Transport) -> None:
    async with running_server(transport) as running:
        with pytest.raises(InvalidStatus) as info:
            async with running.connect("/wss"):
                pass
        assert info.value.response.status_code == 404
        assert info.value.response.body == (
            b"There is no WebSocket at this path: the native protocol of Legato is spoken at /ws.\n"
        )


@pytest.mark.parametrize(
    ("origin", "allowed", "welcome"),
    [
        ("http://{here}", (), True),
        ("https://evil.example", (), False),
        ("http://127.0.0.1:1", (), False),
        ("null", (), False),
        ("https://friend.example", ("https://friend.example",), True),
        ("https://friend.example.evil.example", ("https://friend.example",), False),
        ("https://evil.example", ("*",), True),
    ],
)
async def test_a_foreign_page_is_403(
    transport: Transport, origin: str, allowed: tuple[str, ...], welcome: bool
) -> None:
    async with running_server(transport, origins=Origins(allowed)) as running:
        opening = running.connect(origin=origin.format(here=f"127.0.0.1:{running.port}"))
        if welcome:
            async with opening as client:
                await client.send("hello")
                assert await client.recv() == "hello"
        else:
            with pytest.raises(InvalidStatus) as info:
                async with opening:
                    pass
            assert info.value.response.status_code == 403
            assert b"cors_origins" in info.value.response.body
            assert not running.talks


async def test_a_proxy_that_is_trusted_names_the_client(transport: Transport) -> None:
    headers = {"X-Forwarded-For": "203.0.113.7"}
    async with running_server(transport) as running, running.connect(additional_headers=headers):
        await until(lambda: running.talks)
        assert running.talks[0].handshake.client == "203.0.113.7"


@pytest.mark.parametrize(
    ("was", "now", "status"),
    [
        (b"Version: 13", b"Version: 8", b"400"),
        (b"Key: dGhlIHNhbXBsZSBub25jZQ==", b"Key: c2hvcnQ=", b"400"),
        (b"GET", b"POST", b"405"),
        (b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\nSec-WebSocket-Protocol: a b\r\n", b"400"),
        (b"GET /ws", b"GET /ws?" + b"&".join(b"a%d=1" % n for n in range(100)), b"400"),
        (b"Host:", b"X-Long: " + b"x" * 9000 + b"\r\nHost:", b"431"),
        (b"GET /ws", b"GET /ws?" + b"x" * 9000, b"414"),
        (b"Host:", b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"Host:", b"431"),
    ],
)
async def test_a_request_that_is_wrong_is_answered_with_a_status(
    was: bytes, now: bytes, status: bytes
) -> None:
    async with running_server("direct") as running:
        assert was in request()
        assert (await answer(running, request().replace(was, now))).startswith(b"HTTP/1.1 " + status)
        assert not running.talks


async def test_frames_may_follow_the_request_at_once(transport: Transport) -> None:
    async with running_server(transport) as running:
        reader, writer = await running.raw()
        writer.write(request() + masked(0x81, b"in a hurry"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        async for frame in frames(reader):
            assert frame == (0x81, b"in a hurry")
            break
        writer.close()


@pytest.mark.parametrize(
    "beginning", [b"", b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgr", b"POST /length HTTP/1.1\r\nX: y\r\n"]
)
async def test_a_request_that_does_not_come_is_not_waited_for(beginning: bytes) -> None:
    async with running_server("direct", limits=QUICK) as running:
        assert (await answer(running, beginning)).startswith(b"HTTP/1.1 408 ")
        await until(lambda: not running.server.server_state.connections)


async def test_the_second_request_of_a_connection_has_a_deadline_too() -> None:
    async with running_server("direct", limits=QUICK) as running:
        reader, writer = await running.raw()
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HT")
        got = await reader.read()
        assert got.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 408 " in got
        writer.close()


async def test_a_head_without_end_is_431() -> None:
    async with running_server("direct") as running:
        reader, writer = await running.raw()
        writer.write(b"GET /health HTTP/1.1\r\n")
        writer.write((b"X-More: " + b"y" * 1000 + b"\r\n") * 80)
        assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")
        writer.close()


async def test_http_stays_what_it_is() -> None:
    async with running_server("direct") as running:
        reader, writer = await running.raw()
        body = b"z" * 300_000
        writer.write(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = await reader.read()
        assert b"300000" in got
        assert b'"well"' in got
        writer.close()


async def test_nothing_is_opened_for_someone_who_only_looks() -> None:
    async with running_server("direct") as running:
        reader, writer = await running.raw()
        writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b" 404 " in await reader.read()
        writer.close()
        reader, writer = await running.opened()
        writer.write(masked(0x88, b""))
        assert (await read_close(reader))[0] in {0, 1005}
        writer.close()


async def test_a_body_that_falls_silent_is_not_waited_for() -> None:
    async with running_server(
        "direct", limits=Limits(tick_seconds=0.05, head_seconds=0.1, body_seconds=0.2)
    ) as running:
        assert (
            await answer(running, b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
            == b""
        )
        await until(lambda: not running.server.server_state.connections)


async def test_a_body_that_only_drips_is_not_waited_for_either() -> None:
    limits = Limits(tick_seconds=0.05, head_seconds=0.1, body_seconds=5.0, request_seconds=0.3)
    async with running_server("direct", limits=limits) as running:
        reader, writer = await running.raw()
        writer.write(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")

        async def drip() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        dripping.cancel()
        writer.close()
        await until(lambda: not running.server.server_state.connections)


async def test_a_body_that_its_answer_did_not_need_is_not_waited_for() -> None:
    limits = Limits(
        tick_seconds=0.05, head_seconds=0.1, close_seconds=0.1, body_seconds=60, request_seconds=60
    )
    async with running_server("direct", limits=limits) as running:
        reader, writer = await running.raw()
        writer.write(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")

        async def drip() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        dripping.cancel()
        writer.close()
        await until(lambda: not running.server.server_state.connections)


async def test_a_message_that_only_drips_is_not_waited_for() -> None:
    limits = Limits(tick_seconds=0.05, ping_seconds=0.1, silent_seconds=5.0, message_seconds=0.3)
    async with running_server("direct", limits=limits) as running:
        reader, writer = await running.opened()
        writer.write(bytes([0x81, 0xFE]) + (60_000).to_bytes(2, "big") + b"mask")

        async def drip() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        code, reason = await read_close(reader)
        dripping.cancel()
        assert (code, "took too long" in reason) == (1008, True)
        writer.close()


async def test_only_so_many_requests_wait_on_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of small requests in one packet used to be thousands of waiting tasks: 9 MB for each connection."""
    async with running_server("direct") as running:
        reader, writer = await running.raw()
        few = Limits().pipelined
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * few)
        answered = b""
        while answered.count(b'"well"') < few:
            answered += await reader.read(65536)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 6_000)
        with contextlib.suppress(ConnectionError):
            answered += await reader.read()
        writer.close()
        await until(lambda: not running.server.server_state.connections)
        assert answered.count(b'"well"') <= 2 * few + 1
        assert len(running.server.server_state.tasks) <= 1
    assert "Traceback" not in caplog.text


async def test_a_download_that_no_one_reads_is_given_up() -> None:
    async with running_server("direct", limits=QUICK) as running:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", running.port))
        await asyncio.get_running_loop().sock_sendall(
            connection, b"GET /large.txt HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        await until(lambda: running.server.server_state.connections)
        await until(lambda: not running.server.server_state.connections)
        connection.close()


async def test_nothing_of_a_request_is_logged_even_when_everything_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with running_server("direct") as running:
        reader, writer = await running.opened("/ws?token=s3cret")
        writer.write(
            masked(0x81, b"s3cret") + masked(0x01, b"s3c") + masked(0x80, b"ret") + masked(0x88, b"")
        )
        await read_close(reader)
        writer.close()
        await answer(running, request("/nowhere?token=s3cret", "Authorization: Bearer s3cret"))
        await answer(running, request("/ws?token=s3cret").replace(b"Version: 13", b"Version: 7"))
        assert [talk.heard for talk in running.talks] == [["s3cret", "s3cret"]]
    assert "s3cret" not in caplog.text
