"""Recordings that are a run of sound from their first byte on.

The structures are those of RFC 3533 (Ogg), RFC 9639 (FLAC), ISO 11172-3 (MP3), ISO 13818-7 (AAC in ADTS) and ID3v2.
"""

import struct
from typing import BinaryIO

_CODECS = (b"OpusHead", b"\x01vorbis", b"\x7fFLAC", b"Speex   ")

_BITRATES = {
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def is_wav(file: BinaryIO) -> bool:
    """Whether it says how its sound is written, and has some."""
    at, described = 12, False
    for _ in range(1000):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return False
        name, size = struct.unpack("<4sI", head)
        described = described or name == b"fmt "
        if name == b"data":
            return described
        at += 8 + size + (size & 1)
    return False


def is_ogg(head: bytes) -> bool:
    """Whether its first stream is sound."""
    return any(head[27 + head[26] :].startswith(codec) for codec in _CODECS)


def is_flac(head: bytes) -> bool:
    """Whether its first block says how it is written."""
    return head[4] & 0x7F == 0 and head[5:8] == b"\x00\x00\x22"


def is_mp3(file: BinaryIO) -> bool:
    """Whether two frames follow one another, behind a tag where there is one."""
    at = _behind_tag(file)
    size = _mp3_frame(_at(file, at))
    return size is not None and _mp3_frame(_at(file, at + size)) is not None


def is_aac(file: BinaryIO) -> bool:
    """Whether two ADTS frames follow one another, behind a tag where there is one."""
    at = _behind_tag(file)
    size = _aac_frame(_at(file, at))
    return size is not None and _aac_frame(_at(file, at + size)) is not None


def _behind_tag(file: BinaryIO) -> int:
    head = _at(file, 0, 10)
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if head[5] & 0x10 else 0)


def _at(file: BinaryIO, at: int, size: int = 7) -> bytes:
    file.seek(at)
    return file.read(size)


def _mp3_frame(head: bytes) -> int | None:
    """How long the frame is that begins so; None where it is none of layer III."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, rate, bits = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or rate == 3 or bits in (0, 15):
        return None
    kilobits = _BITRATES[3 if version == 3 else 2][bits - 1]
    return (144 if version == 3 else 72) * kilobits * 1000 // _RATES[version][rate] + (head[2] >> 1 & 1)


def _aac_frame(head: bytes) -> int | None:
    """How long the ADTS frame is that begins so; None where it is none."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return None
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size >= 7 else None
