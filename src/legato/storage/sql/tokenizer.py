"""Splits text into words for full-text search, in the same way for every database. Nothing in a query is syntax.

Case, accents and forms of a letter are ignored. Scripts without spaces between words are split into overlapping pairs of
characters, so that every run of them is found.
"""

import re
import unicodedata
from functools import cache
from typing import NamedTuple

SEARCHED_LENGTH = 100_000
"""Characters of a message that are searched. A tsvector of PostgreSQL takes at most 1 MiB."""

WORD_LENGTH = 64
"""Characters of a word that count, in texts and in queries."""

MAX_TERMS = 32
"""Terms of a query that count. Further ones are ignored."""

SNIPPET_LENGTH = 160
"""Approximate characters of a snippet."""

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
)
_RUNS = re.compile(f"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")

_BLOCK = 512
"""Characters that are folded at once."""

_TRIES = 64
"""Maximum occurrences of a term that are looked at, to find one that is a word of its own."""


class Term(NamedTuple):
    """A word that must occur or, if `prefix`, the beginning of one."""

    word: str
    prefix: bool = False


@cache
def _marks() -> dict[int, None]:
    everything = (*range(0x20000), *range(0xE0100, 0xE01F0))
    return {code: None for code in everything if unicodedata.category(chr(code)).startswith("M")}


def _fold(text: str) -> str:
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKD", text).casefold().translate(_marks())


def _pieces(text: str) -> list[tuple[str, bool]]:
    """Return the words of folded text, and whether each is a run of a script without spaces."""
    found = []
    for word in _WORD.findall(text):
        if not _HAS_UNSPACED.search(word):
            found.append((word, False))
            continue
        found.extend((run, bool(_HAS_UNSPACED.match(run))) for run in _RUNS.findall(word))
    return found


def index_words(text: str) -> str:
    """Return the distinct words of `text`, joined by spaces."""
    words: dict[str, None] = {}
    for word, unspaced in _pieces(_fold(text[:SEARCHED_LENGTH])):
        if unspaced:
            words.update((word[i : i + 2], None) for i in range(len(word)))
        else:
            words[word[:WORD_LENGTH]] = None
    return " ".join(words)


def terms_of(query: str) -> list[Term]:
    """Return the distinct terms that must occur for `query`; nothing if it has no word."""
    pieces = _pieces(_fold(query[: MAX_TERMS * WORD_LENGTH]))
    terms: dict[Term, None] = {}
    for word, unspaced in pieces:
        if not unspaced:
            terms[Term(word[:WORD_LENGTH])] = None
        elif len(word) == 1:
            terms[Term(word, True)] = None
        else:
            terms.update((Term(word[i : i + 2]), None) for i in range(len(word) - 1))
    found = list(terms)[:MAX_TERMS]
    if found and len(pieces) <= MAX_TERMS and not pieces[-1][1]:
        last = Term(pieces[-1][0][:WORD_LENGTH])
        found = [term for term in found if term != last] + [Term(last.word, True)]
    return found


def snippet_of(text: str, terms: list[Term]) -> str:
    """Return plain text around the first term that occurs in `text`, on one line."""
    text = text[:SEARCHED_LENGTH]
    middle = _place_of(text, terms) or 0
    start = max(0, middle - SNIPPET_LENGTH // 3)
    end = min(len(text), start + SNIPPET_LENGTH)
    if start > 0:
        start = text.find(" ", start, middle) + 1 or start
    if end < len(text):
        space = text.rfind(" ", middle + SNIPPET_LENGTH // 2, end)
        end = space if space > 0 else end
    shown = " ".join(text[start:end].split())
    return ("… " if start > 0 else "") + shown + (" …" if end < len(text) else "")


def _place_of(text: str, terms: list[Term]) -> int | None:
    """Return the index of the first term that occurs in `text`, None if none does."""
    if text.isascii():
        return _first_of(text.lower(), terms)
    # Folding a block at once is fast. Only the block with the hit is folded character by character, to find its origin.
    blocks = [_fold(text[start : start + _BLOCK]) for start in range(0, len(text), _BLOCK)]
    at = _first_of("".join(blocks), terms)
    if at is None:
        return None
    start = 0
    for block in blocks:
        if at < len(block):
            break
        at -= len(block)
        start += _BLOCK
    for origin in range(start, min(start + _BLOCK, len(text))):
        at -= len(_fold(text[origin]))
        if at < 0:
            return origin
    return start


def _first_of(folded: str, terms: list[Term]) -> int | None:
    """Return where the first term begins in folded text."""
    first = None
    for term in terms:
        whole = not term.prefix and len(term.word) < WORD_LENGTH
        unspaced = _HAS_UNSPACED.search(term.word) is not None
        at, size = -1, len(term.word)
        for _ in range(_TRIES):
            at = folded.find(term.word, at + 1, None if first is None else first + size)
            if at < 0:
                break
            if unspaced or not (
                (at > 0 and folded[at - 1].isalnum())
                or (whole and at + size < len(folded) and folded[at + size].isalnum())
            ):
                first = at
                break
    return first
