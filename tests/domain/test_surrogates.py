"""Surrogate pairs are joined wherever they were cut; lone surrogates become U+FFFD."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.domain.surrogates import (
    SurrogateJoiner,
    decode_keeping_surrogates,
    decode_replacing_surrogates,
    join_surrogates,
    map_strings,
    replace_escaped_surrogates,
)

ANY_TEXT = st.text(alphabet=st.characters(codec=None))


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
def test_an_escaped_lone_surrogate_is_replaced(said: bytes, read: bytes) -> None:
    assert replace_escaped_surrogates(said) == read


@given(ANY_TEXT)
def test_joined_text_can_be_encoded(text: str) -> None:
    joined = join_surrogates(text)
    joined.encode()
    assert join_surrogates(joined) == joined


@given(st.lists(ANY_TEXT))
def test_chunks_are_joined_as_if_they_were_one_text(chunks: list[str]) -> None:
    joiner = SurrogateJoiner()
    parts = [joiner.feed(chunk) for chunk in chunks] + [joiner.flush()]
    assert "".join(parts) == join_surrogates("".join(chunks))
    for part in parts:
        part.encode()


@given(st.text(alphabet="a🎵\U0010ffff"), st.data())
def test_a_text_that_was_cut_by_utf_16_units_is_restored(text: str, data: st.DataObject) -> None:
    units = text.encode("utf-16-le")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(units) // 2))))
    ends = [0, *cuts, len(units) // 2]
    joiner = SurrogateJoiner()
    chunks = [
        units[2 * start : 2 * end].decode("utf-16-le", "surrogatepass")
        for start, end in itertools.pairwise(ends)
    ]
    assert "".join([*map(joiner.feed, chunks), joiner.flush()]) == text


def test_lone_surrogates_in_json_are_replaced_or_kept() -> None:
    payload = rb'["\ud83d", "\ud83d\ude00"]'
    decoder = msgspec.json.Decoder(list[str])
    assert decode_replacing_surrogates(decoder.decode, payload) == ["\ufffd", "\U0001f600"]
    assert decode_keeping_surrogates(decoder.decode, payload, list[str]) == ["\ud83d", "\U0001f600"]


@pytest.mark.parametrize("payload", [b"[1]", b"{", rb'["\ud83d"', rb'[1, "\ud83d"]'])
def test_json_that_does_not_fit_is_an_error_all_the_same(payload: bytes) -> None:
    decoder = msgspec.json.Decoder(list[str])
    with pytest.raises(msgspec.DecodeError):
        decode_replacing_surrogates(decoder.decode, payload)
    with pytest.raises(msgspec.DecodeError):
        decode_keeping_surrogates(decoder.decode, payload, list[str])


def test_every_string_of_a_value_is_changed() -> None:
    value = {"a": ["b", {"c": ("d", 1, None)}], "e": 2.5}
    assert map_strings(value, str.upper) == {"A": ["B", {"C": ["D", 1, None]}], "E": 2.5}
