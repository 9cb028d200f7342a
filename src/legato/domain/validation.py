"""What comes in is made harmless here, once, before anything else sees it."""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import Struct

from legato.domain.message import AudioPart, ImagePart, Part, TextPart, text_of
from legato.errors import InvalidError

T = TypeVar("T")

ID_LENGTH = 128
TITLE_LENGTH = 200
TEXT_LENGTH = 200_000

ATTACHED = 10
"""Pictures and recordings that one message may have."""

PARTS = 100
"""Parts that one message may have, of all kinds."""

_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,", re.ASCII)
_AUDIO = re.compile(r"data:audio/[a-z0-9.+-]{1,40}(;codecs=[a-z0-9.,+-]{1,40})?;base64,", re.ASCII)
_ID = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,128}")

_ESCAPED = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""An escape in JSON, a pair of surrogates counted as one; a group where it is half of one."""

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of what stands behind them."""


class Submission(Struct, frozen=True):
    """What a person sends, in whatever dialect.

    With `conversation` None a new one of `assistant` is made. `parent` is the message it stands behind (None: the head).
    """

    client_message_id: str | None = None
    conversation: str | None = None
    text: str = ""
    parts: tuple[TextPart | ImagePart | AudioPart, ...] = ()
    parent: str | None = None
    assistant: str | None = None


def whole_characters(payload: bytes) -> bytes:
    """JSON in which an escaped half of a surrogate pair is U+FFFD."""
    return _ESCAPED.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], payload)


def lenient(decode: Callable[[bytes], T], payload: bytes) -> T:
    """What a strict `decode` makes of JSON whose halves of surrogate pairs, which browsers send, are U+FFFD.

    :raises msgspec.DecodeError: as `decode` does.
    """
    try:
        return decode(payload)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if (mended := whole_characters(payload)) == payload:
            raise
        return decode(mended)


def clean_text(text: str) -> str:
    """Text that every database and every wire takes: NUL and lone surrogates become U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def check_id(value: str, what: str) -> str:
    """The id itself.

    :raises InvalidError: it is empty, longer than 128 characters or holds control characters.
    """
    if not _ID.fullmatch(value):
        raise InvalidError(f"{what} must be 1 to {ID_LENGTH} printable characters.")
    return value


def check_new_id(value: str, what: str) -> str:
    """An id that somebody chose for something new: it has an address of its own as well.

    :raises InvalidError: as above, or it cannot stand in a path.
    """
    if value in (".", ".."):
        raise InvalidError(f"{what} must stand in an address: it cannot be only dots.")
    return check_id(value, what)


def one_line(text: str, length: int) -> str:
    """Somebody's words as a name for something: one line of so many characters at most, which disturbs nothing beside it."""
    return " ".join(_UNSEEN.sub(" ", clean_text(text)).split())[:length].rstrip()


def clean_title(title: str) -> str:
    """One line of at most 200 characters.

    :raises InvalidError: nothing is left of it.
    """
    title = one_line(title, TITLE_LENGTH)
    if not title:
        raise InvalidError("A title needs at least one character.")
    return title


def clean_parts(submission: Submission) -> tuple[Part, ...]:
    """The parts of a message: its text, then what came beside it. A picture or recording has `data` or an `attachment`.

    :raises InvalidError: there is nothing in it, it is too long, or an image is neither the name of an attachment nor a `data:` URL of a known type.
    """
    if len(submission.parts) > PARTS:
        raise InvalidError(f"A message can have {PARTS} parts; this one has {len(submission.parts):,}.")
    parts: list[Part] = []
    if submission.text:
        parts.append(TextPart(clean_text(submission.text)))
    for part in submission.parts:
        if isinstance(part, TextPart):
            if part.text:
                parts.append(TextPart(clean_text(part.text)))
        elif isinstance(part, ImagePart):
            parts.append(ImagePart(*_source(part, "image", _IMAGE, "a PNG, JPEG, GIF or WebP")))
        else:
            parts.append(AudioPart(*_source(part, "recording", _AUDIO, "its sound")))
    text = text_of(tuple(parts))
    if len(text) > TEXT_LENGTH:
        raise InvalidError(
            f"A message can have {TEXT_LENGTH:,} characters at most; this one has {len(text):,}."
        )
    attached = sum(not isinstance(part, TextPart) for part in parts)
    if attached > ATTACHED:
        raise InvalidError(f"A message can have {ATTACHED} pictures and recordings; this one has {attached}.")
    if not text.strip() and not attached:
        raise InvalidError("The message is empty. Write something and send it again.")
    return tuple(parts)


def _source(
    part: ImagePart | AudioPart, what: str, known: re.Pattern[str], kinds: str
) -> tuple[str, str | None]:
    """Where it is: its `data`, or the id of its attachment."""
    if part.attachment is not None and not part.data:
        return "", check_id(part.attachment, "The attachment's id")
    start = known.match(part.data)
    if start is None or part.attachment is not None:
        a = "An" if what[0] in "aeiou" else "A"
        raise InvalidError(f"{a} {what} must be an attachment, or a data: URL of {kinds}, in base64.")
    try:
        base64.b64decode(part.data[start.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidError(f"The base64 of the {what} is broken. Send it again.") from None
    return part.data, None


def fingerprint(kind: str, submission: Submission, target: str | None = None) -> str:
    """A hash of all that makes two sends the same send."""
    body = (
        kind,
        target,
        submission.conversation,
        clean_text(submission.text),
        submission.parts,
        submission.parent,
        submission.assistant,
    )
    return hashlib.sha256(msgspec.json.encode(body)).hexdigest()


def title_from(parts: tuple[Part, ...], length: int = 60) -> str:
    """A title out of the first message: its first line, cut at a word. No model is asked: that would evict its cache."""
    lines = (one_line(line, TEXT_LENGTH).lstrip("#>*- ") for line in text_of(parts).splitlines())
    line = next((line for line in lines if line and not line.startswith("```")), "")
    if not line:
        kinds = (("A picture", ImagePart), ("A recording", AudioPart))
        return next(
            (title for title, kind in kinds if any(isinstance(part, kind) for part in parts)),
            "New conversation",
        )
    if len(line) <= length:
        return line
    cut = line[: length + 1].rsplit(" ", 1)[0] if " " in line[: length + 1] else line[:length]
    return cut.rstrip(" ,.;:") + "…"
