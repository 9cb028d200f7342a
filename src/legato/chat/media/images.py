"""How large a picture becomes when it is unpacked, read from its structure, and whether it is all there.

The structures are those of the PNG specification (third edition), ITU T.81 (JPEG), GIF89a, and RFC 9649 (WebP). Each
function raises ValueError, EOFError or struct.error for what is not so.
"""

import os
import struct
from typing import BinaryIO

STEPS = 100_000
"""Pieces that a file may be made of."""


def png(file: BinaryIO) -> tuple[int, int]:
    """Width and height. All of its chunks are there, up to the end."""
    length = _length(file)
    file.seek(8)
    size, name, width, height = struct.unpack(">I4sII", _read(file, 16))
    if (size, name) != (13, b"IHDR"):
        raise ValueError("no header")
    at, data = 8 + 12 + 13, False
    for _ in range(STEPS):
        file.seek(at)
        size, name = struct.unpack(">I4s", _read(file, 8))
        at += 12 + size
        data = data or name == b"IDAT"
        if at > length:
            raise EOFError
        if name == b"IEND":
            if not data:
                raise ValueError("no picture in it")
            return width, height
    raise ValueError("too many chunks")


_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})


def jpeg(file: BinaryIO) -> tuple[int, int]:
    """Width and height, as the frame header says. Behind its scan there is an end."""
    length = _length(file)
    at = 2
    found: tuple[int, int] | None = None
    for _ in range(STEPS):
        file.seek(at)
        fill, marker = _read(file, 2)
        if fill != 0xFF:
            raise ValueError("no marker")
        if marker == 0xFF:
            at += 1
            continue
        if marker in _BARE:
            at += 2
            continue
        (size,) = struct.unpack(">H", _read(file, 2))
        if size < 2 or marker == 0xD9:
            raise ValueError("no picture in it")
        if marker in _FRAMES:
            _, height, width = struct.unpack(">BHH", _read(file, 5))
            found = max(width, (found or (0, 0))[0]), max(height, (found or (0, 0))[1])
        if marker == 0xDA:
            break
        at += 2 + size
        if at > length:
            raise EOFError
    if found is None or not _ends(file, at, length):
        raise ValueError("no frame, or cut off")
    return found


def _ends(file: BinaryIO, at: int, length: int) -> bool:
    """Whether an end marker comes behind `at`. Cameras write more behind it, so it is looked for from the back."""
    block, tail = 1 << 16, b""
    place = length
    while place > at:
        start = max(at, place - block)
        file.seek(start)
        data = _read(file, place - start) + tail
        if b"\xff\xd9" in data:
            return True
        tail, place = data[:1], start
    return False


def gif(file: BinaryIO) -> tuple[int, int]:
    """Width and height of the largest of the screen and all frames. Its blocks are all there, up to the trailer."""
    file.seek(6)
    width, height, flags = struct.unpack("<HHBxx", _read(file, 7))
    _skip_colours(file, flags)
    frames = 0
    pieces = iter(range(STEPS * 10))
    for _ in pieces:
        (block,) = _read(file, 1)
        match block:
            case 0x3B:
                if not frames:
                    raise ValueError("no picture in it")
                return width, height
            case 0x21:
                _read(file, 1)
            case 0x2C:
                left, top, wide, high, flags = struct.unpack("<HHHHB", _read(file, 9))
                width, height = max(width, left + wide), max(height, top + high)
                frames += 1
                _skip_colours(file, flags)
                _read(file, 1)
            case _:
                raise ValueError("no such block")
        for _ in pieces:
            (size,) = _read(file, 1)
            if not size:
                break
            _read(file, size)
    raise ValueError("too many blocks")


def _skip_colours(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        _read(file, 3 << ((flags & 7) + 1))


def webp(file: BinaryIO) -> tuple[int, int]:
    """Width and height, of the canvas or of the only frame. The file is as long as it says."""
    length = _length(file)
    file.seek(4)
    size, _, name, _ = struct.unpack("<I4s4sI", _read(file, 16))
    if 8 + size > length:
        raise EOFError
    head = _read(file, 10)
    match name:
        case b"VP8X":
            return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
        case b"VP8L":
            if head[0] != 0x2F:
                raise ValueError("no signature")
            bits = int.from_bytes(head[1:5], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            if head[3:6] != b"\x9d\x01\x2a":
                raise ValueError("no start code")
            width, height = struct.unpack("<HH", head[6:10])
            return width & 0x3FFF, height & 0x3FFF
    raise ValueError("no such chunk")


def _length(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data
