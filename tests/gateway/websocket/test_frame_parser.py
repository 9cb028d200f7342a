"""Bytes in any portions, messages out; the same whoever cuts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.websocket.harness import masked
from websockets.frames import Close, Frame, Opcode

from legato.broker.rate_limit import RateLimiter
from legato.gateway.websocket.frame_parser import FrameParser, text_frame, truncate_reason


class Listener(FrameParser):
    def __init__(self, frame_bytes: int = 65536, rate_limiter: RateLimiter | None = None) -> None:
        super().__init__(frame_bytes, rate_limiter)
        self.heard: list[bytes] = []
        self.replies = b""
        self.ends: list[int] = []

    def on_text(self, payload: bytes) -> None:
        assert not self.ends
        self.heard.append(payload)

    def on_reply(self, data: bytes) -> None:
        self.replies += data

    def on_end(self, code: int) -> None:
        self.ends.append(code)

    @property
    def idle(self) -> bool:
        return self._library is None and self._partial is None


texts = st.text(max_size=300).map(str.encode)


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A message, and its frames with other frames between them."""
    whole = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    data = b""
    for at, piece in enumerate(pieces):
        data += masked((0x80 if at == len(pieces) - 1 else 0) | (0 if at else 1), piece)
        data += draw(st.sampled_from([b"", masked(0x8A, b""), masked(0x8A, b"hi"), masked(0x89, b"yo")]))
    return whole, data


@given(st.lists(messages(), max_size=6), st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_any_portions_give_the_same_messages(said: list[tuple[bytes, bytes]], sizes: list[int]) -> None:
    listener = Listener()
    data = b"".join(data for _, data in said)
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        listener.feed(data[at : at + size], 0.0)
        at, turn = at + size, turn + 1
    assert listener.heard == [whole for whole, _ in said]
    assert listener.replies == b"\x8a\x02yo" * data.count(masked(0x89, b"yo"))
    assert not listener.ends
    assert listener.idle, "it keeps nothing between messages"


@given(st.binary(max_size=400), st.integers(1, 50))
def test_no_bytes_break_it(data: bytes, size: int) -> None:
    listener = Listener()
    for at in range(0, len(data), size):
        listener.feed(data[at : at + size], 0.0)
    assert len(listener.ends) <= 1
    for heard in listener.heard:
        heard.decode()


@given(st.binary(max_size=200))
def test_a_text_is_received_exactly_if_it_is_utf8(payload: bytes) -> None:
    whole, cut = Listener(), Listener()
    whole.feed(masked(0x81, payload), 0.0)
    half = len(payload) // 2
    cut.feed(masked(0x01, payload[:half]) + masked(0x80, payload[half:]), 0.0)
    try:
        payload.decode()
    except UnicodeDecodeError:
        assert (whole.heard, whole.ends) == (cut.heard, cut.ends) == ([], [1007])
    else:
        assert (whole.heard, whole.ends) == (cut.heard, cut.ends) == ([payload], [])


class Forgiving(Listener):
    def on_binary(self) -> bool:
        self.heard.append(b"<binary>")
        return True


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4), st.integers(1, 50))
def test_a_binary_message_can_be_passed_over_whole(pieces: list[bytes], size: int) -> None:
    data = masked(0x81, b"before")
    for at, piece in enumerate(pieces):
        data += masked((0x80 if at == len(pieces) - 1 else 0) | (0 if at else 2), piece) + masked(0x8A, b"")
    data += masked(0x01, b"be") + masked(0x80, b"hind")
    listener = Forgiving()
    for at in range(0, len(data), size):
        listener.feed(data[at : at + size], 0.0)
    assert listener.heard == [b"before", b"<binary>", b"behind"]
    assert not listener.ends
    assert listener.idle


@pytest.mark.parametrize("first", [0x81, 0x82, 0x01])
def test_nothing_begins_within_a_binary_message(first: int) -> None:
    listener = Forgiving()
    listener.feed(masked(0x02, b"half") + masked(first, b"x"), 0.0)
    assert (listener.heard, listener.ends) == ([b"<binary>"], [1002])


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70000])
def test_a_text_frame_is_what_the_library_makes(size: int) -> None:
    payload = b"x" * size
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(0x81, b"", length=101), 1009),
        (masked(0x01, b"x" * 60) + masked(0x80, b"", length=41), 1009),
        (masked(0x82, b"binary"), 1003),
        (masked(0x02, b"binary"), 1003),
        (b"\x81\x00", 1002),
        (b"\xc1\x80", 1002),
        (b"\x83\x80", 1002),
        (b"\x8b\x80", 1002),
        (masked(0x89, b"", length=126), 1002),
        (masked(0x09, b""), 1002),
        (masked(0x80, b""), 1002),
        (masked(0x88, b"\x00"), 1002),
        (masked(0x88, b"\x03\xe8\xff"), 1007),
        (masked(0x01, b"\xff"), 1007),
    ],
)
def test_what_is_wrong_ends_at_the_first_byte_that_shows_it(data: bytes, code: int) -> None:
    listener = Listener(frame_bytes=100)
    listener.feed(data, 0.0)
    assert listener.ends == [code]
    assert listener.replies[0] == 0x88
    assert Close.parse(listener.replies[2:]).code == code
    listener.feed(masked(0x81, b"ignored"), 0.0)
    assert not listener.heard


def test_a_close_is_echoed() -> None:
    listener = Listener()
    listener.feed(masked(0x81, b"a") + masked(0x88, b"\x0f\xa0bye") + masked(0x81, b"b"), 0.0)
    assert (listener.heard, listener.replies, listener.ends) == ([b"a"], b"\x88\x05\x0f\xa0bye", [4000])


def test_a_close_may_come_within_a_message() -> None:
    listener = Listener()
    listener.feed(masked(0x01, b"never ") + masked(0x88, b"\x03\xe8") + masked(0x80, b"finished"), 0.0)
    assert (listener.heard, listener.replies, listener.ends) == ([], b"\x88\x02\x03\xe8", [1000])


def test_after_our_own_close_only_the_clients_is_waited_for() -> None:
    listener = Listener()
    data = masked(0x81, b"too late") + masked(0x82, b"?") + masked(0x89, b"x") + masked(0x88, b"\x03\xe8")
    listener.feed(data[:3], 0.0)
    assert listener.close_frame(4100, "slow") == b"\x88\x06\x10\x04slow"
    assert listener.close_frame(4100, "slow") == b""
    for at in range(3, len(data)):
        assert not listener.ends
        listener.feed(data[at : at + 1], 0.0)
    assert (listener.heard, listener.ends) == ([], [1000])


def test_a_message_without_end_does_not_grow() -> None:
    listener = Listener(frame_bytes=1000)
    listener.feed(masked(0x01, b""), 0.0)
    for _ in range(2000):
        listener.feed(masked(0x00, b""), 0.0)
    assert listener._message == b""
    listener.feed(masked(0x00, b"x") * 1001, 0.0)
    assert listener.ends == [1009]


def test_frames_of_every_kind_count() -> None:
    listener = Listener(rate_limiter=RateLimiter(10, 1.0))
    kinds = [masked(0x81, b"x"), masked(0x8A, b""), masked(0x89, b""), masked(0x01, b""), masked(0x80, b"")]
    listener.feed(b"".join(kinds) * 2, 0.0)
    assert not listener.ends
    listener.feed(kinds[0], 0.05)
    assert listener.ends == [1008]


@given(st.text(max_size=200))
def test_a_reason_fits(reason: str) -> None:
    cut = truncate_reason(reason)
    assert reason.startswith(cut)
    assert len(cut.encode()) <= 123
    assert cut == reason or len(cut.encode()) >= 120
