"""The file in a form, however the network cuts it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.errors import InvalidError
from legato.gateway.multipart import FormFile

TYPE = 'multipart/form-data; boundary="a=b"'
FILE = b'Content-Disposition: form-data; name="file"; filename="c\xc3\xa4t.png"\r\nContent-Type: image/png'


def part(headers: bytes, content: bytes) -> bytes:
    return b"--a=b\r\n" + headers + b"\r\n\r\n" + content + b"\r\n"


def form(content: bytes) -> bytes:
    note = part(b'Content-Disposition: form-data; name="note"', b"--a=\r\n")
    other = part(b'Content-Disposition: form-data; name="two"; filename="b.png"', b"second")
    return note + part(FILE, content) + other + b"--a=b--\r\nbehind"


@given(
    st.lists(st.sampled_from([b"\r\n", b"--a=", b"\r\n--a=", b"-", b"\0", b"GIF"])).map(b"".join), st.data()
)
def test_the_first_file_is_the_same_however_it_is_cut(content: bytes, data: st.DataObject) -> None:
    whole = form(content)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=20)))
    reader = FormFile(TYPE)
    pieces = [reader.feed(whole[one:two]) for one, two in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert b"".join(pieces) == content
    assert (reader.done, reader.name) == (True, "cät.png")


def test_what_comes_is_passed_on_and_not_kept() -> None:
    reader = FormFile(TYPE)
    reader.feed(b"--a=b\r\n" + FILE + b"\r\n\r\n")
    assert len(reader.feed(bytes(100_000))) > 99_900


@pytest.mark.parametrize(
    "boundary", ["", ";", "; boundary=", f"; boundary={'x' * 71}", "; boundary=ä", "; boundary*=x''%ff"]
)
def test_a_form_that_names_no_boundary(boundary: str) -> None:
    with pytest.raises(InvalidError, match="divided"):
        FormFile("multipart/form-data" + boundary)


def test_headers_without_end() -> None:
    reader = FormFile(TYPE)
    reader.feed(b"--a=b\r\n" + b"X" * 4000)
    with pytest.raises(InvalidError, match="cannot be read"):
        reader.feed(b"X" * 1000)


@given(st.binary(max_size=60), st.text(max_size=60))
def test_nonsense_is_no_file_and_no_harm(headers: bytes, parameters: str) -> None:
    try:
        reader = FormFile("multipart/form-data; boundary=a=b; " + parameters)
    except InvalidError:
        return
    try:
        reader.feed(b"--a=b\r\nContent-Disposition: form-data; filename" + headers + b"\r\n\r\nx\r\n--a=b--")
    except InvalidError:
        assert not reader.done
