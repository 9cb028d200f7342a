"""A picture is decoded whole before it is kept, within limits, and is shown to a model upright."""

import contextlib
import io
import struct
import time
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from PIL.ExifTags import Base

from legato.chat.media import pictures
from legato.chat.media.pictures import check_picture, upright
from legato.errors import InvalidError

from .test_sniff import FOLDER, KINDS, PICTURES, chunk, kind_of, png

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
FORMATS = ("png", "jpeg", "webp")


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def four_corners(form: str, orientation: int | None) -> bytes:
    """A picture of 64 by 32 with a colour in each corner, that says how it is to be turned."""
    image = Image.new("RGB", (64, 32))
    for colour, x, y in ((RED, 0, 0), (GREEN, 32, 0), (BLUE, 0, 16), (WHITE, 32, 16)):
        image.paste(colour, (x, y, x + 32, y + 16))
    exif = Image.Exif()
    exif[Base.Model] = "A camera that says where it was"
    if orientation is not None:
        exif[Base.Orientation] = orientation
    return encoded(image, form, quality=95, exif=exif)


def corners(data: bytes) -> list[tuple[int, int, int]]:
    """The colours from the upper left to the lower right, rounded."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    places = [(x, y) for y in (4, image.height - 5) for x in (4, image.width - 5)]
    colours = [image.getpixel(place) for place in places]
    return [tuple(255 if part > 127 else 0 for part in colour) for colour in colours]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("orientation", "size", "seen"),
    [
        (2, (64, 32), [GREEN, RED, WHITE, BLUE]),
        (3, (64, 32), [WHITE, BLUE, GREEN, RED]),
        (4, (64, 32), [BLUE, WHITE, RED, GREEN]),
        (5, (32, 64), [RED, BLUE, GREEN, WHITE]),
        (6, (32, 64), [BLUE, RED, WHITE, GREEN]),
        (7, (32, 64), [WHITE, GREEN, BLUE, RED]),
        (8, (32, 64), [GREEN, WHITE, RED, BLUE]),
    ],
)
def test_a_picture_that_was_taken_sideways_is_turned_upright(form, orientation, size, seen):
    data = four_corners(form, orientation)
    assert kind_of(data) == f"image/{form}"
    turned = upright(data, f"image/{form}")
    image = Image.open(io.BytesIO(turned))
    assert (image.format, image.size) == (form.upper(), size)
    assert corners(turned) == seen
    assert not image.getexif()
    assert upright(turned, f"image/{form}") == turned


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("orientation", [None, 0, 1, 9])
def test_a_picture_that_is_upright_stays_as_it_is(form, orientation):
    data = four_corners(form, orientation)
    assert upright(data, f"image/{form}") is data


def test_a_picture_keeps_its_colour_profile_if_it_is_turned():
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    data = encoded(Image.new("RGB", (8, 8)), "jpeg", exif=exif, icc_profile=b"a profile")
    assert Image.open(io.BytesIO(upright(data, "image/jpeg"))).info["icc_profile"] == b"a profile"


def test_what_cannot_be_turned_stays_as_it_is():
    data = four_corners("jpeg", 6)[:-200]
    assert upright(data, "image/jpeg") is data


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_cut_off_at_any_byte_is_refused(name):
    data = (FOLDER / name).read_bytes()
    for cut in range(len(data)):
        with pytest.raises(InvalidError):
            kind_of(data[:cut])


@pytest.mark.parametrize("form", ["png", "gif"])
def test_a_picture_whose_pixels_are_damaged_is_refused(form):
    noise = Image.effect_noise((64, 64), 60)
    data = bytearray(encoded(noise, form))
    data[len(data) // 2 : len(data) // 2 + 600] = bytes(600)
    with pytest.raises(InvalidError, match="broken or cut off"):
        kind_of(bytes(data))


def test_a_png_with_fewer_pixels_than_it_claims_is_refused():
    data = png(100, 100)
    with pytest.raises(InvalidError, match="broken"):
        kind_of(data.replace(struct.pack(">II", 100, 100), struct.pack(">II", 100, 101)))


def test_a_frame_that_is_broken_makes_the_animation_broken():
    data = bytearray((FOLDER / "anim.gif").read_bytes())
    second = data.rindex(b"\x2c\0\0\0\0")
    data[second + 9] = 0
    data[second + 10] = 13
    with pytest.raises(InvalidError, match="broken"):
        kind_of(bytes(data))


def test_a_camera_that_puts_a_second_picture_behind_the_first_is_taken():
    first, second = Image.new("RGB", (8, 8)), Image.new("RGB", (4, 4))
    data = encoded(first, "mpo", save_all=True, append_images=[second])
    assert kind_of(data) == "image/jpeg"
    assert kind_of(data[:-20]) == "image/jpeg"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_pictures_of_all_colour_types_are_taken(mode):
    assert kind_of(encoded(Image.new(mode, (8, 8)), "png")) == "image/png"


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_of_all_kinds_are_taken(mode, progressive):
    assert kind_of(encoded(Image.new(mode, (40, 40)), "jpeg", progressive=progressive)) == "image/jpeg"


def test_of_a_long_animation_the_frames_within_the_limit_are_decoded(monkeypatch):
    frames = [Image.new("L", (100, 100), shade) for shade in range(50)]
    data = encoded(frames[0], "gif", save_all=True, append_images=frames[1:])
    monkeypatch.setattr(pictures, "PIXELS", 35_000)
    seen = []

    class Counting(ImageSequence.Iterator):
        def __next__(self):
            frame = super().__next__()
            seen.append(frame.tell())
            return frame

    monkeypatch.setattr(ImageSequence, "Iterator", Counting)
    check_picture(data, "image/gif")
    assert seen == [0, 1, 2, 3]


def webp_canvas(width: int, height: int) -> bytes:
    data = (FOLDER / "anim.webp").read_bytes()
    assert data[12:16] == b"VP8X"
    return data[:24] + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + data[30:]


def jpeg_of(width: int, height: int) -> bytes:
    data = (FOLDER / "picture.jpeg").read_bytes()
    frame = data.index(b"\xff\xc0") + 5
    return data[:frame] + struct.pack(">HH", height, width) + data[frame + 4 :]


@pytest.mark.parametrize("width", [7072, 12_000, 16_383])
@pytest.mark.parametrize("make", [webp_canvas, jpeg_of])
def test_a_header_that_claims_too_many_pixels_is_refused_before_any_is_decoded(make, width):
    began = time.thread_time()
    with pytest.raises(InvalidError, match="50 megapixels"):
        kind_of(make(width, width))
    assert time.thread_time() - began < 0.5


def with_chunks(*more: bytes) -> bytes:
    data = png(8, 8)
    return data[:33] + b"".join(more) + data[33:]


def deflated(name: bytes, head: bytes, size: int) -> bytes:
    return chunk(name, head + zlib.compress(bytes(size), 9))


@pytest.mark.parametrize(
    ("name", "head"),
    [(b"zTXt", b"key\0\0"), (b"iTXt", b"key\0\1\0\0\0"), (b"iCCP", b"name\0\0")],
    ids=["zTXt", "iTXt", "iCCP"],
)
def test_what_is_packed_beside_the_pixels_is_bounded(name, head):
    with pytest.raises(InvalidError, match="broken"):
        kind_of(with_chunks(deflated(name, head, 100_000_000)))
    assert kind_of(with_chunks(deflated(name, head, 4_000_000))) == "image/png"


def jpeg_of_scans(count: int) -> bytes:
    """A progressive JPEG of 16 megapixels, with so many scans behind its first that say nothing."""

    def segment(marker: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data

    quantisation = segment(0xDB, b"\0" + b"\1" * 64)
    frame = segment(0xC2, struct.pack(">BHHB", 8, 4000, 4000, 1) + b"\1\x11\0")
    codes = segment(0xC4, b"\0\1" + bytes(15) + b"\0") + segment(0xC4, b"\x10\1" + bytes(15) + b"\xe0")
    first = segment(0xDA, b"\1\1\0\0\0\0") + bytes(500 * 500 // 8 + 1)
    more = segment(0xDA, b"\1\1\0\1\x3f\0")
    return b"\xff\xd8" + quantisation + frame + codes + first + more * count + b"\xff\xd9"


@pytest.mark.parametrize(
    "make",
    [
        lambda: jpeg_of_scans(30_000),
        lambda: with_chunks(*[deflated(b"iCCP", b"name\0\0", 8_000_000)] * 2000),
    ],
    ids=["scans", "profiles"],
)
def test_a_picture_that_costs_too_much_time_is_given_up(make: Callable[[], bytes], monkeypatch):
    monkeypatch.setattr(pictures, "SECONDS", 0.3)
    data = make()
    began = time.thread_time()
    with pytest.raises(InvalidError, match="broken"):
        kind_of(data)
    assert time.thread_time() - began < 5


def test_a_jpeg_of_a_few_scans_is_taken():
    assert kind_of(jpeg_of_scans(10)) == "image/jpeg"


def pieces(count: int) -> list[bytes]:
    """A PNG, a JPEG and a GIF with so many empty pieces in them."""
    jpeg, gif = ((FOLDER / name).read_bytes() for name in ("picture.jpeg", "picture.gif"))
    return [
        with_chunks(chunk(b"teSt", b"") * count),
        jpeg[:2] + b"\xff\xe5\0\2" * count + jpeg[2:],
        gif[:-1] + b"\x21\xfe\1a\0" * count + b";",
    ]


@pytest.mark.parametrize("kind", range(3), ids=["png", "jpeg", "gif"])
def test_a_picture_of_too_many_pieces_is_given_up(kind, monkeypatch):
    monkeypatch.setattr(pictures, "READS", 3000)
    assert kind_of(pieces(100)[kind])
    with pytest.raises(InvalidError, match="broken"):
        kind_of(pieces(3000)[kind])


@given(st.sampled_from(PICTURES), st.data())
def test_damage_anywhere_in_a_picture_does_no_harm(name, drawn):
    data = bytearray((FOLDER / name).read_bytes())
    for _ in range(drawn.draw(st.integers(1, 20))):
        data[drawn.draw(st.integers(8, len(data) - 1))] = drawn.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidError):
        kind_of(bytes(data))
    assert upright(bytes(data), KINDS[name])


@given(st.sampled_from(PICTURES), st.binary(max_size=2000))
def test_anything_behind_the_first_bytes_of_a_picture_does_no_harm(name, rest):
    data = (FOLDER / name).read_bytes()[:16] + rest
    with contextlib.suppress(InvalidError):
        kind_of(data)
    assert upright(data, KINDS[name]) is data


@given(st.sampled_from(FORMATS), st.binary(max_size=200))
def test_odd_metadata_makes_no_picture_unusable(form, exif):
    data = encoded(Image.new("RGB", (8, 8)), form, exif=b"Exif\0\0" + exif)
    assert kind_of(data) == f"image/{form}"
    assert upright(data, f"image/{form}")
