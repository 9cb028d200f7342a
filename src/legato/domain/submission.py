"""A message as a client submits it, before it is stored."""

import base64
import binascii
import hashlib
import re

import msgspec
from msgspec import Struct

from legato.domain.message import AudioPart, FilePart, ImagePart, Part, TextPart, text_of
from legato.domain.validation import MAX_TEXT_LENGTH, check_id, clean_text, one_line
from legato.errors import InvalidError

MAX_MEDIA_PARTS = 10
"""Maximum pictures, recordings and text files of one message."""

MAX_PARTS = 100
"""Maximum parts of one message, of all kinds."""

_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,", re.ASCII)
_AUDIO = re.compile(r"data:audio/[a-z0-9.+-]{1,40}(;codecs=[a-z0-9.,+-]{1,40})?;base64,", re.ASCII)


class Submission(Struct, frozen=True):
    """What a user submits, in any dialect.

    If `conversation` is None, a new one with `assistant` is created. `parent` is the message before it (None: the head).
    `append` says whether messages that were written behind `parent` meanwhile stay before it; None: if all are of other users.
    """

    client_message_id: str | None = None
    conversation: str | None = None
    text: str = ""
    parts: tuple[TextPart | ImagePart | AudioPart | FilePart, ...] = ()
    parent: str | None = None
    assistant: str | None = None
    append: bool | None = None


def clean_parts(submission: Submission) -> tuple[Part, ...]:
    """Return the parts of the message: its text, then the other parts. A picture or recording has `data` or an `attachment`.

    :raises InvalidError: the message is empty or too long, or a picture or recording is neither the id of an attachment nor a `data:` URL of a known type.
    """
    if len(submission.parts) > MAX_PARTS:
        raise InvalidError(f"A message can have {MAX_PARTS} parts; this one has {len(submission.parts):,}.")
    parts: list[Part] = []
    if submission.text:
        parts.append(TextPart(clean_text(submission.text)))
    for part in submission.parts:
        if isinstance(part, TextPart):
            if part.text:
                parts.append(TextPart(clean_text(part.text)))
        elif isinstance(part, ImagePart):
            parts.append(ImagePart(*_source(part, "image", _IMAGE, "a PNG, JPEG, GIF or WebP")))
        elif isinstance(part, FilePart):
            parts.append(FilePart(check_id(part.attachment, "The attachment's id")))
        else:
            parts.append(AudioPart(*_source(part, "recording", _AUDIO, "its sound")))
    text = text_of(tuple(parts))
    if len(text) > MAX_TEXT_LENGTH:
        raise InvalidError(
            f"A message can have {MAX_TEXT_LENGTH:,} characters at most; this one has {len(text):,}."
        )
    attached = sum(not isinstance(part, TextPart) for part in parts)
    if attached > MAX_MEDIA_PARTS:
        raise InvalidError(
            f"A message can have {MAX_MEDIA_PARTS} pictures, recordings and files; this one has {attached}."
        )
    if not text.strip() and not attached:
        raise InvalidError("The message is empty. Write something and send it again.")
    return tuple(parts)


def _source(
    part: ImagePart | AudioPart, what: str, known: re.Pattern[str], kinds: str
) -> tuple[str, str | None]:
    """Return `data` and `attachment`, of which one is set."""
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
    """Return a hash of everything that makes two requests the same request. `client_message_id` is not part of it."""
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
    """Return a title made of the first message: its first line, cut at a word. No model is used: that would evict its prompt cache."""
    lines = (one_line(line, MAX_TEXT_LENGTH).lstrip("#>*- ") for line in text_of(parts).splitlines())
    line = next((line for line in lines if line and not line.startswith("```")), "")
    if not line:
        kinds = (("A picture", ImagePart), ("A recording", AudioPart), ("A file", FilePart))
        return next(
            (title for title, kind in kinds if any(isinstance(part, kind) for part in parts)),
            "New conversation",
        )
    if len(line) <= length:
        return line
    cut = line[: length + 1].rsplit(" ", 1)[0] if " " in line[: length + 1] else line[:length]
    return cut.rstrip(" ,.;:") + "…"
