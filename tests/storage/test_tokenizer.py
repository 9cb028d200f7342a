import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.storage.sql.tokenizer import MAX_TERMS, SNIPPET_LENGTH, Term, index_words, snippet_of, terms_of


def matches(query: str, text: str) -> bool:
    """What a database does with terms and words."""
    words = index_words(text).split(" ")
    return all(
        any(word.startswith(term.word) if term.prefix else word == term.word for word in words)
        for term in terms_of(query)
    )


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("whale", "Whales sing."),
        ("WHALES sing", "whales, they sing"),
        ("cafe", "Café"),
        ("café", "CAFE\u0301"),
        ("strasse", "Straße"),
        ("istanbul", "İstanbul"),
        ("ﬁsh", "fish"),
        ("москв", "В Москве"),
        ("हिन्दी", "मैं हिन्दी बोलता हूँ"),
        ("本語", "彼は日本語を話す"),
        ("日本語", "日本語"),
        ("語", "日本語"),
        ("を x", "日本語をXx"),
        ("ภาษา", "ฉันพูดภาษาไทย"),
        ("한국", "한국어"),
        ("foo_bar", "foo bar"),
        ("example.com", "see http://example.com/path"),
        ("x" * 100, "x" * 200),
        ("**", "anything"),
    ],
)
def test_a_query_matches(query: str, text: str) -> None:
    assert matches(query, text)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("whale sing", "whales sing"),
        ("ale", "whale"),
        ("whale fish", "whale"),
        ("語日", "日本語"),
        ("a b", "ab"),
    ],
)
def test_a_query_does_not_match(query: str, text: str) -> None:
    assert not matches(query, text)


def test_each_word_is_indexed_once() -> None:
    assert terms_of("to be or to") == [Term("be"), Term("or"), Term("to", True)]
    assert index_words("to be or to Be") == "to be or"


@pytest.mark.parametrize("query", ["", "  ", "\"'*()-:^", "🎉", "\0\ud800", "_"])
def test_a_query_without_words_has_no_terms(query: str) -> None:
    assert terms_of(query) == []


@given(st.text(st.characters(exclude_categories=())))
def test_words_and_terms_are_letters_and_digits_only(text: str) -> None:
    for word in [*index_words(text).split(), *(term.word for term in terms_of(text))]:
        assert re.fullmatch(r"[^\W_]+", word)
        assert word.isascii() or all(ord(character) > 127 or character.isalnum() for character in word)


@given(st.text(min_size=1))
def test_any_text_matches_itself(text: str) -> None:
    assert matches(text, text)


@given(st.text(), st.text(max_size=20))
def test_a_snippet_is_a_short_part_of_the_text(text: str, query: str) -> None:
    snippet = snippet_of(text, terms_of(query))
    assert len(snippet) <= SNIPPET_LENGTH + 4
    assert snippet.removeprefix("… ").removesuffix(" …") in " ".join(text.split())


@pytest.mark.parametrize("word", ["needle", "Nådle", "針が"])
def test_a_snippet_contains_the_match(word: str) -> None:
    text = "hay\n " * 200 + word + " hay" * 200
    snippet = snippet_of(text, terms_of(word))
    assert word in snippet
    assert snippet.startswith("… hay")
    assert snippet.endswith("hay …")


def test_a_very_long_query_is_cut() -> None:
    assert len(terms_of("word " + " ".join(f"w{i}" for i in range(10**5)))) == MAX_TERMS
