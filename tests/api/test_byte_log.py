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
    if offset <= valid:
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


@given(FRAMES, st.data())
def test_a_position_within_a_frame_gives_the_rest_of_it(frames: list[bytes], data: st.DataObject) -> None:
    log, whole = ByteLog("application/x-ndjson"), b"".join(frames)
    for frame in frames:
        log.append(frame)
    start = data.draw(st.integers(0, len(whole)))
    offset, read = log.position(str(BytePosition(1, start))), b""
    while piece := b"".join(log.frames(offset, 7)):
        read, offset = read + piece, offset + len(piece)
    assert read == whole[start:]


def test_a_position_behind_the_end_is_refused() -> None:
    log = ByteLog("application/json")
    log.append(b"whole")
    assert (log.position("-1"), log.position("now"), log.position(None)) == (0, 5, 0)
    with pytest.raises(GoneError):
        log.position(str(BytePosition(1, 6)))
    with pytest.raises(GoneError):
        log.position(str(BytePosition(2, 5)))


def test_what_is_held_is_not_shown() -> None:
    log = ByteLog("application/json")
    log.append(b"shown")
    log.hold()
    log.append(b"held")
    assert (log.shown, log.position("now"), log.frames(5, 100)) == (5, 5, [])
    log.release()
    assert (log.shown, log.frames(5, 100)) == (9, [b"held"])


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
