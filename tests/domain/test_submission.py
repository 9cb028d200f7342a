"""What a client submits is checked, hashed and titled."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.domain.message import ImagePart, TextPart
from legato.domain.submission import MAX_PARTS, Submission, clean_parts, fingerprint, title_from
from legato.domain.validation import MAX_TEXT_LENGTH, clean_text, one_line
from legato.errors import InvalidError

PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_an_empty_message_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="empty"):
        clean_parts(Submission(text=text))


def test_a_picture_alone_is_a_message() -> None:
    assert clean_parts(Submission(parts=(ImagePart(PIXEL),))) == (ImagePart(PIXEL),)


def test_text_is_the_first_part() -> None:
    parts = clean_parts(Submission(text="Look:", parts=(ImagePart(PIXEL), TextPart("!"))))
    assert parts == (TextPart("Look:"), ImagePart(PIXEL), TextPart("!"))


@pytest.mark.parametrize(
    "data",
    [
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "data:text/html;base64,PHNjcmlwdD4=",
        "data:image/svg+xml;base64,PHN2Zz4=",
        "data:image/png;base64,not base64!",
        "",
    ],
)
def test_an_image_must_be_a_data_url_of_a_known_type(data: str) -> None:
    with pytest.raises(InvalidError, match="image"):
        clean_parts(Submission(parts=(ImagePart(data),)))


def test_the_error_for_a_long_message_names_its_length() -> None:
    with pytest.raises(InvalidError, match=f"{MAX_TEXT_LENGTH + 1:,}"):
        clean_parts(Submission(text="x" * (MAX_TEXT_LENGTH + 1)))


def test_a_message_has_a_maximum_of_parts() -> None:
    assert len(clean_parts(Submission(parts=(TextPart("a"),) * MAX_PARTS))) == MAX_PARTS
    with pytest.raises(InvalidError, match="100 parts"):
        clean_parts(Submission(parts=(TextPart("a"),) * (MAX_PARTS + 1)))


@given(st.text(min_size=1), st.text(min_size=1))
def test_different_bodies_have_different_fingerprints(one: str, other: str) -> None:
    same = clean_text(one) == clean_text(other)
    assert (fingerprint("send", Submission(text=one)) == fingerprint("send", Submission(text=other))) is same


def test_the_fingerprint_does_not_depend_on_the_key() -> None:
    first = fingerprint("send", Submission(client_message_id="a", text="hello"))
    assert first == fingerprint("send", Submission(client_message_id="b", text="hello"))
    assert first != fingerprint("edit", Submission(client_message_id="a", text="hello"), "m1")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_every_message_yields_a_title(text: str) -> None:
    title = title_from((TextPart(text),))
    assert title
    assert title == one_line(title, 61)


def test_a_title_is_not_the_fence_of_a_code_block() -> None:
    assert title_from((TextPart("```js\nlet a = 1\n```"),)) == "let a = 1"
    assert title_from((TextPart("```"),)) == "New conversation"


def test_a_title_has_no_control_characters() -> None:
    text = "\x1b]0;mine\x07 \u202efdp.exe\nmore"
    assert title_from((TextPart(text),)) == "]0;mine fdp.exe"
    assert title_from((TextPart("\u202e\n\x07\nHello"),)) == "Hello"


def test_a_title_is_cut_at_a_word() -> None:
    title = title_from(
        (TextPart("# How do slurs differ from ties when two notes have the same pitch?\nmore"),)
    )
    assert title == "How do slurs differ from ties when two notes have the same…"
