"""The pictures, recordings and text files that are taken, and how each is told from all else."""

import codecs
import re
import struct
from typing import BinaryIO, Literal

from msgspec import Struct

from legato.chat.media import audio, containers
from legato.chat.media.pictures import check_picture
from legato.errors import TooLargeError, UnsupportedError

HEAD = 64
"""Bytes by which a file is known."""


class MediaKind(Struct, frozen=True):
    """What a file turned out to be. `suffix` is what such files are called by."""

    type: Literal["image", "audio", "file"]
    media_type: str
    suffix: str


_PICTURES = {
    b"\x89PNG\r\n\x1a\n": MediaKind("image", "image/png", "png"),
    b"\xff\xd8\xff": MediaKind("image", "image/jpeg", "jpg"),
    b"GIF87a": MediaKind("image", "image/gif", "gif"),
    b"GIF89a": MediaKind("image", "image/gif", "gif"),
}
_WEBP = MediaKind("image", "image/webp", "webp")
_WAV = MediaKind("audio", "audio/wav", "wav")
_MP3 = MediaKind("audio", "audio/mpeg", "mp3")
_AAC = MediaKind("audio", "audio/aac", "aac")
_OGG = MediaKind("audio", "audio/ogg", "ogg")
_FLAC = MediaKind("audio", "audio/flac", "flac")
_M4A = MediaKind("audio", "audio/mp4", "m4a")
_WEBM = MediaKind("audio", "audio/webm", "webm")
TEXT = MediaKind("file", "text/plain", "txt")

TEXT_BYTES = 1024 * 1024
"""The largest text file."""

NOT_TEXT = "This file is not text in UTF-8. Save it as UTF-8 text, or send it as the picture or recording that it is."
TEXT_TOO_LARGE = "A text file can have 1 MiB at most. Send a part of it."

_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""Control characters that text files do not have. Form feeds, and escapes of coloured logs, are text."""

UNKNOWN = (
    "This is no picture or recording that can be taken. Send a PNG, JPEG, GIF or WebP, or a WAV, MP3, OGG, FLAC, M4A, "
    "AAC or WebM with sound only. Other files are taken as UTF-8 text only."
)


def suffix_of(media_type: str) -> str:
    """What files of one of these kinds are called by."""
    kinds = [*_PICTURES.values(), _WEBP, _WAV, _MP3, _AAC, _OGG, _FLAC, _M4A, _WEBM, TEXT]
    return next((kind.suffix for kind in kinds if kind.media_type == media_type), "bin")


def looks_familiar(head: bytes) -> bool:
    """Whether a file that begins so may be one of the kinds: what is not can be refused before the rest of it has come."""
    return (
        any(
            head.startswith(start)
            for start in (*_PICTURES, b"RIFF", b"ID3", b"OggS", b"fLaC", b"\x1aE\xdf\xa3")
        )
        or head[4:8] == b"ftyp"
        or (head[:1] == b"\xff" and head[1:2] >= b"\xe0")
    )


def looks_like_text(head: bytes) -> bool:
    """Return whether a file that begins with `head` may be UTF-8 text."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return _NO_TEXT.search(head) is None


def check_text(file: BinaryIO) -> MediaKind:
    """Return the kind of a text file. At most `TEXT_BYTES` of it are in memory.

    :raises TooLargeError: it is larger. :raises UnsupportedError: it is not text in UTF-8.
    """
    file.seek(0)
    content = file.read(TEXT_BYTES + 1)
    if len(content) > TEXT_BYTES:
        raise TooLargeError(TEXT_TOO_LARGE)
    try:
        content.decode()
    except UnicodeDecodeError:
        raise UnsupportedError(NOT_TEXT) from None
    if _NO_TEXT.search(content) is not None:
        raise UnsupportedError(NOT_TEXT)
    return TEXT


def find_kind(file: BinaryIO) -> MediaKind:
    """Return what the whole of `file` is. A picture is read into memory and decoded; of a recording only the structure is read.

    This blocks, for seconds if the picture is large.

    :raises UnsupportedError: it is none of the kinds that are taken.
    :raises InvalidError: it is a picture that is broken, cut off, or too large to decode.
    """
    file.seek(0)
    head = file.read(HEAD)
    try:
        kind = _kind(file, head)
    except (struct.error, IndexError, EOFError):
        kind = None
    if kind is None:
        raise UnsupportedError(UNKNOWN)
    if kind.type == "image":
        file.seek(0)
        check_picture(file.read(), kind.media_type)
    return kind


def _kind(file: BinaryIO, head: bytes) -> MediaKind | None:
    for start, kind in _PICTURES.items():
        if head.startswith(start):
            return kind
    match head[:4], head[8:12]:
        case b"RIFF", b"WEBP":
            return _WEBP
        case b"RIFF", b"WAVE":
            return _WAV if audio.is_wav(file) else None
        case b"OggS", _:
            return _OGG if audio.is_ogg(head) else None
        case b"fLaC", _:
            return _FLAC if audio.is_flac(head) else None
        case b"\x1aE\xdf\xa3", _:
            return _WEBM if containers.is_webm_audio(file) else None
    if head[4:8] == b"ftyp":
        return _M4A if containers.is_mp4_audio(file) else None
    if audio.is_mp3(file):
        return _MP3
    return _AAC if audio.is_aac(file) else None
