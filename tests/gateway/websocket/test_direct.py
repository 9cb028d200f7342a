"""The direct socket in time: a transport of our own, and a wheel that turns by hand."""

import asyncio
from typing import Any

import pytest
import uvicorn
from tests.gateway.websocket.harness import masked, request
from uvicorn.server import ServerState

from legato.dialects.base import Endpoint, Handshake, Session, Socket
from legato.gateway.websocket.direct import DirectSocket, protocol_class
from legato.gateway.websocket.frame_parser import text_frame
from legato.gateway.websocket.limits import Limits
from legato.gateway.websocket.timer_wheel import TimerWheel
from legato.protocol.close_codes import CloseCode

PING = b"\x89\x00"


class Transport(asyncio.Transport):
    """Takes everything, or nothing once it is `stuck`."""

    def __init__(self, protocol: DirectSocket) -> None:
        super().__init__()
        self.protocol: Any = protocol
        self.taken: list[bytes] = []
        self.buffer = 0
        self.stuck = False
        self.ended = self.aborted = False
        self.high = self.low = 0

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high, self.low = high or 0, low or 0

    def get_write_buffer_size(self) -> int:
        return self.buffer

    def write(self, data: Any) -> None:
        assert not self.ended
        assert not self.aborted
        self.taken.append(bytes(data))
        if self.stuck:
            before, self.buffer = self.buffer, self.buffer + len(data)
            if before <= self.high < self.buffer:
                self.protocol.pause_writing()

    def drain(self, size: int) -> None:
        before, self.buffer = self.buffer, max(0, self.buffer - size)
        if before > self.low >= self.buffer:
            self.protocol.resume_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    close = abort


class Quiet(Session):
    def __init__(self, handshake: Handshake, socket: Socket) -> None:
        self.heard: list[bytes] = []
        self.resumes = self.ends = 0

    def received(self, payload: bytes) -> None:
        self.heard.append(payload)

    def resumed(self) -> None:
        self.resumes += 1

    def closed(self) -> None:
        self.ends += 1


class Scene:
    def __init__(self, limits: Limits | None = None) -> None:
        self.wheel = TimerWheel(1.0)
        self.state = ServerState()
        sessions: list[Quiet] = []

        def open_quiet(handshake: Handshake, socket: Socket) -> Quiet:
            sessions.append(Quiet(handshake, socket))
            return sessions[-1]

        made = protocol_class([Endpoint("/ws", open_quiet)], limits=limits, wheel=self.wheel)
        config = uvicorn.Config("", log_config=None, proxy_headers=False)
        self.socket = made(config, self.state, {})
        self.transport = Transport(self.socket)
        self.socket.connection_made(self.transport)
        self.socket.data_received(request())
        assert self.transport.taken.pop().startswith(b"HTTP/1.1 101 ")
        (self.session,) = sessions

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.wheel.advance(1.0)

    @property
    def said(self) -> bytes:
        """What left since one last asked."""
        taken, self.transport.taken = self.transport.taken, []
        return b"".join(taken)

    def lose(self) -> None:
        self.socket.connection_lost(None)


def close_frame(code: int) -> bytes:
    return code.to_bytes(2, "big")


def test_a_client_is_pinged_after_15_seconds_of_silence_and_given_up_after_30() -> None:
    scene = Scene()
    scene.wait(14)
    assert scene.said == b""
    scene.wait(1)
    assert scene.said == PING
    scene.wait(14)
    assert scene.said == b""
    assert not scene.transport.aborted
    scene.wait(1)
    assert scene.said[2:4] == close_frame(CloseCode.SILENT)
    assert scene.transport.aborted
    scene.lose()
    assert scene.session.ends == 1
    assert not len(scene.wheel)
    assert not scene.state.connections


def test_a_pong_is_a_sign_of_life_and_so_is_everything_else() -> None:
    scene = Scene()
    text = masked(0x81, b"hi")
    for sign in [masked(0x8A, b""), text, text[:1], text[1:]] * 3:
        scene.wait(29)
        scene.socket.data_received(sign)
    assert not scene.transport.aborted
    assert scene.session.heard[0] == b"hi"


def test_a_client_that_talks_is_not_pinged() -> None:
    scene = Scene()
    for _ in range(20):
        scene.wait(10)
        scene.socket.data_received(masked(0x81, b"hi"))
    assert scene.said == b""


def test_a_socket_is_writable_again_below_the_low_water_and_says_so() -> None:
    scene = Scene()
    scene.transport.stuck = True
    scene.socket.write(b"x" * 70_000)
    assert not scene.socket.writable
    scene.transport.drain(50_000)
    assert not scene.socket.writable
    scene.transport.drain(10_000)
    assert scene.socket.writable
    assert scene.session.resumes == 1


def test_one_that_takes_nothing_for_30_seconds_is_closed() -> None:
    scene = Scene()
    scene.transport.stuck = True
    scene.socket.write(b"x" * 70_000)
    scene.wait(29)
    assert not scene.socket.closing
    _ = scene.said
    scene.wait(3)
    assert scene.said[2:4] == close_frame(CloseCode.SLOW)
    assert not scene.transport.aborted
    scene.wait(6)
    assert scene.transport.aborted


def test_one_that_takes_a_little_now_and_then_is_not() -> None:
    scene = Scene()
    scene.transport.stuck = True
    scene.socket.write(b"x" * 70_000)
    for _ in range(30):
        scene.wait(20)
        scene.transport.drain(100)
    assert not scene.socket.closing
    scene.transport.drain(60_000)
    assert scene.socket.writable
    scene.wait(14)
    assert not scene.socket.closing


def test_what_a_client_owes_has_a_bound() -> None:
    scene = Scene()
    scene.transport.stuck = True
    while not scene.socket.closing:
        scene.socket.write(b"x" * 100_000)
        assert scene.socket.unsent_bytes <= 512 * 1024 + 100_000
    assert scene.said.rpartition(b"x")[2][2:4] == close_frame(CloseCode.SLOW)
    assert not scene.socket.writable
    scene.socket.write(b"more")
    scene.socket.flush()
    assert scene.said == b""


def test_one_large_message_is_not_what_a_client_owes() -> None:
    scene = Scene()
    scene.transport.stuck = True
    scene.socket.write(b"x" * 2_000_000)
    assert not scene.socket.closing


def test_everything_of_a_turn_leaves_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()

    def three_words(payload: bytes) -> None:
        for word in (b"one", b"two", b"three"):
            scene.socket.send(word)

    monkeypatch.setattr(scene.session, "received", three_words)
    scene.socket.data_received(masked(0x81, b"count") * 2)
    assert scene.transport.taken == [b"".join(map(text_frame, (b"one", b"two", b"three"))) * 2]


async def test_what_is_sent_from_elsewhere_leaves_within_the_turn_in_order() -> None:
    scene = Scene()
    scene.socket.write(text_frame(b"one"))
    scene.socket.send(b"two")
    scene.socket.write(text_frame(b"three"))
    assert not scene.transport.taken
    await asyncio.sleep(0)
    assert scene.transport.taken == [b"".join(map(text_frame, (b"one", b"two", b"three")))]


def test_a_close_waits_5_seconds_for_the_answer() -> None:
    scene = Scene()
    scene.socket.write(text_frame(b"last words"))
    scene.socket.close(4000, "bye")
    assert scene.said == text_frame(b"last words") + b"\x88\x05\x0f\xa0bye"
    scene.socket.close(4001, "again")
    scene.wait(4)
    assert not scene.transport.aborted
    scene.wait(2)
    assert scene.transport.aborted
    assert scene.said == b""
    scene.lose()
    assert scene.session.ends == 1


def test_an_answered_close_hangs_up() -> None:
    scene = Scene()
    scene.socket.close(4000, "bye")
    scene.socket.data_received(masked(0x88, b"\x0f\xa0"))
    assert scene.transport.ended
    assert scene.session.ends == 1
    scene.wait(6)
    assert scene.transport.aborted
    scene.lose()
    assert scene.session.ends == 1


@pytest.mark.parametrize("method", ["resumed", "closed", "received"])
def test_a_session_that_raises_is_logged(
    method: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene()

    def broken(*_: Any) -> None:
        raise ValueError("broken " + method)

    monkeypatch.setattr(scene.session, method, broken)
    scene.transport.stuck = True
    scene.socket.write(b"x" * 70_000)
    scene.transport.drain(70_000)
    scene.socket.data_received(masked(0x81, b"hi"))
    scene.lose()
    assert "broken " + method in caplog.text


def test_an_idle_socket_keeps_nothing_but_itself() -> None:
    scene = Scene()
    scene.socket.data_received(masked(0x89, b"ping") + masked(0x01, b"a") + masked(0x80, b"b"))
    assert scene.session.heard == [b"ab"]
    assert not hasattr(scene.socket, "__dict__")
    assert scene.socket._library is None
    assert scene.socket._partial is None
