"""Checks and repairs of text and ids from outside. Each check of NUL, lone surrogates, ids and lengths exists once, here."""

import re

from legato.characters import CONTROL, DIRECTION, INVISIBLE, JOINERS
from legato.domain.surrogates import join_surrogates
from legato.errors import InvalidError

MAX_ID_LENGTH = 128
MAX_TITLE_LENGTH = 200
MAX_TEXT_LENGTH = 200_000
"""Maximum characters of all text parts of one message."""

_ID = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,128}")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_CONTROL = re.compile(f"[{CONTROL}{DIRECTION}]")
_INVISIBLE = re.compile(f"[{INVISIBLE}]")
_UNSEEN = re.compile(f"[{CONTROL}{INVISIBLE}{JOINERS}]")


def clean_text(text: str) -> str:
    """Return text that every database and every wire accepts: NUL and lone surrogates become U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return join_surrogates(text)


def check_storable(*texts: str | None) -> None:
    """Check that SQLite and PostgreSQL store these texts unchanged.

    :raises InvalidError: one of them contains a NUL character or a lone surrogate.
    """
    for text in texts:
        if text is not None and not _is_storable(text):
            raise InvalidError(
                "The text holds a character that cannot be stored (NUL or half a surrogate pair). Remove it and send again."
            )


def _is_storable(text: str) -> bool:
    return "\0" not in text if text.isascii() else _UNSTORABLE.search(text) is None


def has_escaped_nul(payload: bytes) -> bool:
    """Return whether a string of this JSON contains a NUL character."""
    return b"\\u0000" in payload and _ESCAPED_NUL.search(payload) is not None


def check_id(value: str, what: str) -> str:
    """Return the id.

    :raises InvalidError: it is empty, longer than 128 characters or contains control characters.
    """
    if not _ID.fullmatch(value):
        raise InvalidError(f"{what} must be 1 to {MAX_ID_LENGTH} printable characters.")
    return value


def is_visible(text: str) -> bool:
    """Return whether a text has no control, direction or invisible characters."""
    return _UNSEEN.search(text) is None and _is_storable(text)


def check_new_id(value: str, what: str) -> str:
    """Return the id that a client chose for a new object. It must be usable as a segment of a URL path.

    :raises InvalidError: as `check_id` does, it is `.` or `..`, or it has characters that nobody sees: it would look like
        another id.
    """
    if value in (".", ".."):
        raise InvalidError(f"{what} must stand in an address: it cannot be only dots.")
    check_id(value, what)
    if _UNSEEN.search(value):
        raise InvalidError(f"{what} must be 1 to {MAX_ID_LENGTH} visible characters.")
    return value


def one_line(text: str, length: int) -> str:
    """Return the text as one line of at most `length` characters, without control, invisible and direction characters."""
    return " ".join(_INVISIBLE.sub("", _CONTROL.sub(" ", clean_text(text))).split())[:length].rstrip()


def clean_title(title: str) -> str:
    """Return the title as one line of at most 200 characters.

    :raises InvalidError: the line is empty.
    """
    title = one_line(title, MAX_TITLE_LENGTH)
    if not title:
        raise InvalidError("A title needs at least one character.")
    return title
