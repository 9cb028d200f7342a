"""Containers that hold sound, or pictures that move: which of the two stands in their list of tracks.

The structures are those of ISO 14496-12 (MP4) and RFC 8794 with RFC 9559 (WebM).
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

STEPS = 20_000
"""Boxes and elements that are looked at in one file, on all levels together."""


class Piece(NamedTuple):
    """What stands between `start` and `end`; `end` is that of what is around it where it does not say."""

    name: bytes
    start: int
    end: int


def is_mp4_audio(file: BinaryIO) -> bool:
    """Whether its tracks are sound, and nothing else that is seen."""
    kinds: set[bytes] = set()
    steps = iter(range(STEPS))
    for movie in _boxes(file, 0, file.seek(0, os.SEEK_END), steps):
        if movie.name != b"moov":
            continue
        for track in _boxes(file, movie.start, movie.end, steps):
            if track.name != b"trak":
                continue
            for media in _boxes(file, track.start, track.end, steps):
                if media.name != b"mdia":
                    continue
                for handler in _boxes(file, media.start, media.end, steps):
                    if handler.name == b"hdlr":
                        file.seek(handler.start + 8)
                        kinds.add(file.read(4))
    return b"soun" in kinds and b"vide" not in kinds


def _boxes(file: BinaryIO, at: int, end: int, steps: Iterator[int]) -> Iterator[Piece]:
    for _ in steps:
        if at + 8 > end:
            return
        file.seek(at)
        size, name = struct.unpack(">I4s", file.read(8))
        start = at + 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            start += 8
        after = end if size == 0 else at + size
        if after < start or after > end:
            return
        yield Piece(name, start, after)
        at = after


_SEGMENT, _TRACKS, _ENTRY, _KIND, _CLUSTER = (
    b"\x18\x53\x80\x67",
    b"\x16\x54\xae\x6b",
    b"\xae",
    b"\x83",
    b"\x1f\x43\xb6\x75",
)
_DOCUMENT = b"\x42\x82"
_HEADER = b"\x1a\x45\xdf\xa3"


def is_webm_audio(file: BinaryIO) -> bool:
    """Whether it calls itself WebM, and its tracks are sound and nothing else."""
    kinds: set[int] = set()
    named = False
    steps = iter(range(STEPS))
    for outer in _elements(file, 0, file.seek(0, os.SEEK_END), steps):
        if outer.name == _HEADER:
            named = _text(file, outer, _DOCUMENT, steps) == b"webm"
        elif outer.name == _SEGMENT:
            for inner in _elements(file, outer.start, outer.end, steps):
                if inner.name == _CLUSTER:
                    break
                if inner.name != _TRACKS:
                    continue
                for entry in _elements(file, inner.start, inner.end, steps):
                    if entry.name == _ENTRY:
                        kinds.add(int.from_bytes(_text(file, entry, _KIND, steps)))
            break
    return named and kinds == {2}


def _text(file: BinaryIO, around: Piece, name: bytes, steps: Iterator[int]) -> bytes:
    """The content of the first element of this name, without padding."""
    for piece in _elements(file, around.start, around.end, steps):
        if piece.name == name:
            file.seek(piece.start)
            return file.read(min(piece.end - piece.start, 64)).rstrip(b"\0")
    return b""


def _elements(file: BinaryIO, at: int, end: int, steps: Iterator[int]) -> Iterator[Piece]:
    for _ in steps:
        if at >= end:
            return
        file.seek(at)
        first = file.read(1)
        if not first or not first[0]:
            return
        name = first + file.read(8 - first[0].bit_length())
        length = file.read(1)
        if not length or not length[0]:
            return
        width = 9 - length[0].bit_length()
        size = length[0] & (1 << (8 - width)) - 1
        size = size << 8 * (width - 1) | int.from_bytes(file.read(width - 1))
        start = at + len(name) + width
        # All bits set: as long as what is around it (RFC 8794, section 6.2), as a recorder writes that does not know yet.
        after = end if size == (1 << 7 * width) - 1 else min(start + size, end)
        yield Piece(name, start, after)
        at = after
