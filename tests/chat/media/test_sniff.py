"""What a file is, found in its content. The files in `tests/data/media` were written by Pillow and by FFmpeg."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.chat.media import find_kind, looks_familiar
from legato.chat.media.pictures import PIXELS
from legato.errors import InvalidError, UnsupportedError

FOLDER = Path(__file__).parents[2] / "data" / "media"

KINDS = {
    "picture.png": "image/png",
    "picture.jpeg": "image/jpeg",
    "picture.gif": "image/gif",
    "anim.gif": "image/gif",
    "picture.webp": "image/webp",
    "lossless.webp": "image/webp",
    "anim.webp": "image/webp",
    "sound.wav": "audio/wav",
    "sound.mp3": "audio/mpeg",
    "sound.aac": "audio/aac",
    "sound.ogg": "audio/ogg",
    "sound.flac": "audio/flac",
    "sound.m4a": "audio/mp4",
    "recorder.mp4": "audio/mp4",
    "sound.webm": "audio/webm",
    "recorder.webm": "audio/webm",
}
PICTURES = [name for name, kind in KINDS.items() if kind.startswith("image/")]


def kind_of(data: bytes) -> str:
    return find_kind(io.BytesIO(data)).media_type


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int) -> bytes:
    """A black PNG of these measures; a broken one if they are more than can be taken."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = bytes(height * (1 + (width + 7) // 8)) if width * height <= PIXELS else b""
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_what_other_programs_write_is_known_by_its_content(name, kind):
    data = (FOLDER / name).read_bytes()
    assert looks_familiar(data[:64])
    assert kind_of(data) == kind


@pytest.mark.parametrize("name", ["video.mp4", "video.webm"])
def test_a_video_is_no_recording(name):
    with pytest.raises(UnsupportedError, match="no picture or recording"):
        kind_of((FOLDER / name).read_bytes())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG",
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b"<!doctype html><script>alert(1)</script>",
        b"%PDF-1.7\n",
        b"PK\x03\x04" + bytes(60),
        b"BM" + bytes(60),
        b"\xff\xfeh\0e\0l\0l\0o\0" * 100,
        b"\xff\xfb" + b"\xff" * 600,
        b"RIFF\xff\xff\xff\xffAVI LIST" + bytes(60),
        b"RIFF\x10\0\0\0WAVEjunk" + bytes(60),
        b"OggS" + bytes(22) + b"\x01\x2a\x80theora" + bytes(40),
        b"\x1aE\xdf\xa3\x88\x42\x82\x85other",
        b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + b"\0\0\0\x08mdat",
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
        b"GIF88a" + bytes(60),
    ],
)
def test_what_is_none_of_the_kinds_is_refused(data):
    with pytest.raises(UnsupportedError, match="Send a PNG"):
        kind_of(data)


def test_a_picture_that_hides_behind_another_type_is_no_picture():
    data = (FOLDER / "picture.png").read_bytes()
    with pytest.raises(UnsupportedError):
        kind_of(b"<html>" + data)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_that_is_cut_off_is_said_to_be_broken(name):
    data = (FOLDER / name).read_bytes()
    for cut in {len(data) - 2, len(data) * 2 // 3, len(data) // 2, 20}:
        with pytest.raises(InvalidError, match="broken or cut off"):
            kind_of(data[:cut])


@pytest.mark.parametrize(
    ("width", "height"), [(7072, 7071), (20_001, 1), (65_535, 65_535), (2**31 - 1, 2**31 - 1)]
)
def test_a_picture_that_would_unpack_to_too_much_is_refused_by_its_header(width, height):
    with pytest.raises(InvalidError, match="50 megapixels"):
        kind_of(png(width, height))


def test_a_picture_of_the_largest_size_is_taken():
    assert kind_of(png(7071, 7071)) == "image/png"


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0)])
def test_a_picture_without_any_size_is_broken(width, height):
    with pytest.raises(InvalidError, match="broken"):
        kind_of(png(width, height))


def test_the_frames_of_a_gif_count_not_only_its_screen():
    data = bytearray((FOLDER / "picture.gif").read_bytes())
    frame = data.index(b"\x2c", 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 13))
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(InvalidError, match="50 megapixels"):
        kind_of(bytes(data))


def test_a_camera_writes_more_behind_the_end_of_a_jpeg():
    data = (FOLDER / "picture.jpeg").read_bytes()
    assert kind_of(data + bytes(200_000)) == "image/jpeg"


def element(name: bytes, content: bytes) -> bytes:
    return name + (0x10000000 | len(content)).to_bytes(4, "big") + content


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


class Counting(io.BytesIO):
    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        return super().read(size)


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a" + struct.pack("<HHBxx", 1, 1, 0) + (b"\x21\xfe" + b"\x01a" * 700_000 + b"\0") * 3,
        element(b"\x1a\x45\xdf\xa3", element(b"\x42\x82", b"webm"))
        + element(
            b"\x18\x53\x80\x67", element(b"\x16\x54\xae\x6b", element(b"\xae", b"\x84\x80" * 900) * 900)
        ),
        box(b"ftyp", b"M4A ") + box(b"moov", box(b"trak", box(b"mdia", box(b"hdlr", b"") * 900) * 90) * 3),
    ],
    ids=["gif", "webm", "mp4"],
)
def test_a_file_of_tiny_pieces_costs_no_more_than_an_honest_one(data):
    file = Counting(data)
    with pytest.raises(InvalidError):
        find_kind(file)
    assert file.reads < (2_100_000 if data.startswith(b"GIF") else 110_000)


@given(st.binary(max_size=400))
def test_no_bytes_do_any_harm(data):
    with contextlib.suppress(InvalidError):
        kind_of(data)


@given(st.sampled_from(sorted(KINDS)), st.data())
def test_no_damage_to_a_file_does_any_harm(name, drawn):
    data = bytearray((FOLDER / name).read_bytes())
    for _ in range(drawn.draw(st.integers(1, 8))):
        data[drawn.draw(st.integers(0, min(len(data) - 1, 300)))] = drawn.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidError):
        kind_of(bytes(data))
