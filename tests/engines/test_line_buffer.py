import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.engines.line_buffer import LineBuffer, LineTooLongError

from .cutting import cut


@given(st.binary(max_size=200).map(lambda data: data.replace(b"\0", b"\n")), st.data())
def test_lines_are_the_same_however_the_bytes_are_cut(data: bytes, drawn: st.DataObject) -> None:
    lines = LineBuffer()
    found = [line for piece in cut(data, drawn) for line in lines.feed(piece)]
    assert [*found, lines.rest()] == data.split(b"\n")


@pytest.mark.parametrize(
    ("before", "last"),
    [(b"", b"12345\n"), (b"", b"12345"), (b"123", b"45"), (b"123", b"45\n"), (b"1\n", b"12345\n1")],
)
def test_a_line_longer_than_the_limit_is_refused_finished_or_not(before: bytes, last: bytes) -> None:
    lines = LineBuffer(limit=4)
    lines.feed(before)
    with pytest.raises(LineTooLongError):
        lines.feed(last)


def test_lines_within_the_limit_may_add_up_to_more() -> None:
    lines = LineBuffer(limit=4)
    assert lines.feed(b"1234\n1234\n12") + lines.feed(b"34\n") == [b"1234", b"1234", b"1234"]
