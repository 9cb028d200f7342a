"""What comes in is harmless, or refused with a sentence."""

import base64
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.domain.message import ImagePart, TextPart
from legato.domain.submission import MAX_PARTS, Submission, clean_parts, fingerprint, title_from
from legato.domain.surrogates import replace_escaped_surrogates
from legato.domain.validation import (
    MAX_TEXT_LENGTH,
    check_id,
    check_new_id,
    clean_text,
    clean_title,
    one_line,
)
from legato.errors import InvalidError

PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()

anything = st.text(alphabet=st.characters(codec=None))


@given(anything)
def test_any_text_becomes_text_that_every_database_takes(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode()
    assert "\0" not in cleaned
    assert clean_text(cleaned) == cleaned


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_harmless_text_is_left_as_it_is(text: str) -> None:
    assert clean_text(text) == text


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (rb'"\ud83d"', rb'"\ufffd"'),
        (rb'"\uDE00\uD83D"', rb'"\ufffd\ufffd"'),
        (rb'"\ud83d\ude00"', rb'"\ud83d\ude00"'),
        (rb'"\ud83d\ud83d\ude00"', rb'"\ufffd\ud83d\ude00"'),
        (rb'"\\ud83d"', rb'"\\ud83d"'),
        (rb'"\\\ud83d"', rb'"\\\ufffd"'),
        (b"\xff\\", b"\xff\\"),
    ],
)
def test_half_of_a_character_in_json_is_one_that_was_lost(said: bytes, read: bytes) -> None:
    assert replace_escaped_surrogates(said) == read


def test_a_pair_of_surrogates_is_the_character_it_means() -> None:
    assert clean_text("\ud83c\udfb5") == "🎵"


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_a_message_without_a_word_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="empty"):
        clean_parts(Submission(text=text))


def test_a_picture_alone_is_a_message() -> None:
    assert clean_parts(Submission(parts=(ImagePart(PIXEL),))) == (ImagePart(PIXEL),)


def test_text_comes_before_what_is_beside_it() -> None:
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
def test_an_image_is_nothing_but_a_data_url_of_a_picture(data: str) -> None:
    with pytest.raises(InvalidError, match="image"):
        clean_parts(Submission(parts=(ImagePart(data),)))


def test_a_message_that_is_too_long_is_refused_with_its_length() -> None:
    with pytest.raises(InvalidError, match=f"{MAX_TEXT_LENGTH + 1:,}"):
        clean_parts(Submission(text="x" * (MAX_TEXT_LENGTH + 1)))


@pytest.mark.parametrize("value", ["", "x" * 129, "a\nb", "a\0b", "\ud800"])
def test_an_id_is_short_and_printable(value: str) -> None:
    with pytest.raises(InvalidError, match="the id must be"):
        check_id(value, "the id")


@pytest.mark.parametrize("value", [".", "..", "", "a\n"])
def test_what_cannot_stand_in_an_address_is_no_id_for_something_new(value: str) -> None:
    with pytest.raises(InvalidError):
        check_new_id(value, "It")


def test_other_ids_may_be_chosen() -> None:
    for value in ("room 1", "...", "a?b#c", "a/b", "/"):
        assert check_new_id(value, "It") == value


def test_a_message_has_no_more_parts_than_anybody_writes() -> None:
    assert len(clean_parts(Submission(parts=(TextPart("a"),) * MAX_PARTS))) == MAX_PARTS
    with pytest.raises(InvalidError, match="100 parts"):
        clean_parts(Submission(parts=(TextPart("a"),) * (MAX_PARTS + 1)))


@given(anything)
def test_a_name_stays_on_its_line_and_disturbs_nothing_beside_it(text: str) -> None:
    line = one_line(text, 20)
    assert len(line) <= 20
    assert line == one_line(line, 20)
    assert not any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in line)
    line.encode()


def test_a_name_turns_no_direction_and_keeps_its_signs() -> None:
    assert one_line("\u202eAnn\u2069\x1b[31m\nB.", 200) == "Ann [31m B."
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert one_line(family, 200) == family


def test_a_title_is_one_line() -> None:
    assert clean_title("  two\n lines ") == "two lines"
    with pytest.raises(InvalidError):
        clean_title(" \n ")


@given(st.text(min_size=1), st.text(min_size=1))
def test_the_fingerprint_tells_other_bodies_apart(one: str, other: str) -> None:
    same = clean_text(one) == clean_text(other)
    assert (fingerprint("send", Submission(text=one)) == fingerprint("send", Submission(text=other))) is same


def test_the_fingerprint_does_not_depend_on_the_key() -> None:
    first = fingerprint("send", Submission(client_message_id="a", text="hello"))
    assert first == fingerprint("send", Submission(client_message_id="b", text="hello"))
    assert first != fingerprint("edit", Submission(client_message_id="a", text="hello"), "m1")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_title_can_be_made_of_any_message(text: str) -> None:
    title = title_from((TextPart(text),))
    assert title
    assert title == one_line(title, 61)


def test_a_title_is_not_the_fence_of_a_code_block() -> None:
    assert title_from((TextPart("```js\nlet a = 1\n```"),)) == "let a = 1"
    assert title_from((TextPart("```"),)) == "New conversation"


def test_a_title_disturbs_nothing_beside_it() -> None:
    text = "\x1b]0;mine\x07 \u202efdp.exe\nmore"
    assert title_from((TextPart(text),)) == "]0;mine fdp.exe"
    assert title_from((TextPart("\u202e\n\x07\nHello"),)) == "Hello"


def test_a_title_is_cut_at_a_word() -> None:
    title = title_from(
        (TextPart("# How do slurs differ from ties when two notes have the same pitch?\nmore"),)
    )
    assert title == "How do slurs differ from ties when two notes have the same…"


UNSEEN = [
    "\u200b",
    "\u200d",
    "\u2060",
    "\ufeff",
    "\u00ad",
    "\u202e",
    "\u2066",
    "\u200f",
    "\U000e0041",
    "\x85",
    "\u2028",
]


@pytest.mark.parametrize("unseen", UNSEEN)
def test_no_new_id_looks_like_another(unseen: str) -> None:
    with pytest.raises(InvalidError, match="visible characters"):
        check_new_id(f"ad{unseen}min", "The id")


@pytest.mark.parametrize("unseen", [each for each in UNSEEN if each != "\u200d"])
def test_no_name_hides_anything(unseen: str) -> None:
    assert unseen not in one_line(f"ad{unseen}min", 100)


def test_a_name_keeps_the_joiners_that_its_script_needs() -> None:
    for name in ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f469\u200d\U0001f4bb"):
        assert one_line(name, 100) == name
