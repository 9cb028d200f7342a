"""The log of one response: what is appended is read again from every position, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.api.byte_log import RESPONSE_BYTES, ByteLog, BytePosition
from legato.errors import GoneError, InvalidError, ReplyTooLongError

FRAMES = st.lists(st.binary(min_size=1, max_size=40), max_size=20)


@given(FRAMES, st.integers(1, 100))
def test_from_every_position_the_rest_is_read(frames: list[bytes], limit: int) -> None:
    log = ByteLog("application/x-ndjson")
    positions = [str(log.end)]
    for frame in frames:
        log.append(frame)
        positions.append(str(log.end))
    assert positions == sorted(positions)
    for index, position in enumerate(positions):
        offset, read = log.position(position), b""
        while piece := b"".join(log.frames(offset, limit)):
            read, offset = read + piece, offset + len(piece)
        assert read == b"".join(frames[index:])


@given(FRAMES)
def test_the_id_of_an_event_is_the_position_behind_it(events: list[bytes]) -> None:
    log = ByteLog("text/event-stream", numbered=True)
    for event in events:
        log.append(event)
        (frame,) = log.frames(log.next - len(event) - len(f"id: {log.end}\n"), 1)
        assert frame == f"id: {log.end}\n".encode() + event
        assert log.position(str(log.end)) == log.next


@given(FRAMES, FRAMES, st.integers(0, 2000))
def test_a_restored_log_refuses_what_was_lost(kept: list[bytes], added: list[bytes], offset: int) -> None:
    log = ByteLog("application/x-ndjson", incarnation=2, restored=kept)
    valid = log.next
    for frame in added:
        log.append(frame)
    old = str(BytePosition(1, offset))
    boundaries = {sum(map(len, kept[:n])) for n in range(len(kept) + 1)}
    if offset <= valid and offset in boundaries:
        assert log.position(old) == offset
    else:
        with pytest.raises(GoneError):
            log.position(old)


@pytest.mark.parametrize(
    "text", ["", "0", "1_2", "0001_000000000000000x", "0001_0000000000000000 ", "-2", "NOW"]
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        ByteLog("application/json").position(text)


def test_a_position_between_two_frames_only() -> None:
    log = ByteLog("application/json")
    log.append(b"whole")
    assert (log.position("-1"), log.position("now"), log.position(None)) == (0, 5, 0)
    with pytest.raises(GoneError):
        log.position(str(BytePosition(1, 3)))
    with pytest.raises(GoneError):
        log.position(str(BytePosition(1, 6)))
    with pytest.raises(GoneError):
        log.position(str(BytePosition(2, 5)))


def test_a_response_has_a_largest_size() -> None:
    log = ByteLog("application/json")
    log.append(bytes(RESPONSE_BYTES))
    with pytest.raises(ReplyTooLongError):
        log.append(b"!")
    assert log.next == RESPONSE_BYTES


def test_listeners_hear_of_frames_and_of_the_end() -> None:
    log, heard = ByteLog("application/json"), list[int]()
    stop = log.listen(lambda: heard.append(log.next))
    log.append(b"a")
    log.close()
    log.close()
    stop()
    assert (heard, log.listened) == ([1, 1], 0)
