"""Text and ids from outside are repaired, or refused with a sentence."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.domain.validation import (
    check_id,
    check_new_id,
    clean_text,
    clean_title,
    one_line,
)
from legato.errors import InvalidError

anything = st.text(alphabet=st.characters(codec=None))


@given(anything)
def test_cleaned_text_is_storable(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode()
    assert "\0" not in cleaned
    assert clean_text(cleaned) == cleaned


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_storable_text_is_not_changed(text: str) -> None:
    assert clean_text(text) == text


def test_a_surrogate_pair_is_joined() -> None:
    assert clean_text("\ud83c\udfb5") == "🎵"


@pytest.mark.parametrize("value", ["", "x" * 129, "a\nb", "a\0b", "\ud800"])
def test_an_id_is_short_and_printable(value: str) -> None:
    with pytest.raises(InvalidError, match="the id must be"):
        check_id(value, "the id")


@pytest.mark.parametrize("value", [".", "..", "", "a\n"])
def test_an_id_that_cannot_be_a_path_segment_is_refused_for_a_new_object(value: str) -> None:
    with pytest.raises(InvalidError):
        check_new_id(value, "It")


def test_other_new_ids_are_accepted() -> None:
    for value in ("room 1", "...", "a?b#c", "a/b", "/"):
        assert check_new_id(value, "It") == value


@given(anything)
def test_a_name_is_one_line_without_control_characters(text: str) -> None:
    line = one_line(text, 20)
    assert len(line) <= 20
    assert line == one_line(line, 20)
    assert not any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in line)
    line.encode()


def test_a_name_loses_direction_characters_and_keeps_joiners() -> None:
    assert one_line("\u202eAnn\u2069\x1b[31m\nB.", 200) == "Ann [31m B."
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert one_line(family, 200) == family


def test_a_title_is_one_line() -> None:
    assert clean_title("  two\n lines ") == "two lines"
    with pytest.raises(InvalidError):
        clean_title(" \n ")


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
