import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.engines.line_buffer import LineTooLongError
from legato.engines.sse import SseEvent, SseParser

from .cutting import cut


def test_data_of_several_lines_is_joined_and_a_name_belongs_to_its_event_only() -> None:
    events = SseParser()
    assert events.feed(b"event: a\ndata: one\ndata:two\n\ndata:  three\n\n") == [
        SseEvent(b"a", b"one\ntwo"),
        SseEvent(b"", b" three"),
    ]


def test_comments_ids_blank_lines_and_a_byte_order_mark_are_passed_over() -> None:
    events = SseParser()
    assert events.feed(b"\xef\xbb\xbf: hello\r\n\r\n\n: ping\n\nid: 7\nretry: 3\ndata: x\r\n\r\n") == [
        SseEvent(b"", b"x")
    ]


def test_an_event_that_is_not_finished_is_none() -> None:
    assert SseParser().feed(b"data: x\n") == []


def test_an_event_larger_than_the_limit_is_refused() -> None:
    with pytest.raises(LineTooLongError):
        SseParser(limit=8).feed(b"data:1234\ndata:12345\n")


_line = st.sampled_from(
    [b"data: a", b"data:", b"data", b"data: b:c", b": ping", b"event: e", b"id: 1", b"", b"", b"x"]
)


@given(st.lists(_line), st.sampled_from([b"\n", b"\r\n"]), st.data())
def test_events_are_the_same_however_the_bytes_are_cut(
    lines: list[bytes], end: bytes, drawn: st.DataObject
) -> None:
    data = b"".join(line + end for line in lines)
    whole, pieces = SseParser(), SseParser()
    expected = whole.feed(data)
    assert [event for piece in cut(data, drawn) for event in pieces.feed(piece)] == expected
