"""Checks pictures and turns them upright. Pillow decodes them.

Calls here block, for seconds if a picture is large, and take up to 800 MiB of memory for one of `PIXELS`.
"""

import io
import logging
import struct
import time
import warnings
from typing import Final

from PIL import ExifTags, Image, ImageOps, ImageSequence, PngImagePlugin

from legato.errors import InvalidError

logger = logging.getLogger(__name__)

PIXELS: Final = 50_000_000
"""The most that a picture may be decoded to: a file of a few kilobytes can claim any size."""

SIDE: Final = 20_000

READS: Final = 100_000
"""Reads that one picture may take, and one more for each 100 bytes: a file can be made of millions of empty blocks."""

SECONDS: Final = 20.0
"""CPU time that one picture may take. One of `PIXELS` takes about 2 s."""

BROKEN = "This picture is broken or cut off. Save it anew and send it again."
TOO_LARGE = f"This picture is too large: it may have {PIXELS // 1_000_000} megapixels, and {SIDE:,} on a side. Scale it down and send it again."

_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

# Pillow warns from one time the limit on, and fails only from two times on.
Image.MAX_IMAGE_PIXELS = PIXELS
# Colour profiles of several MiB exist; Pillow takes a PNG with one of 1 MiB at most.
PngImagePlugin.MAX_TEXT_CHUNK = 8 * 1024 * 1024
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def check_picture(data: bytes, media_type: str) -> None:
    """Decode the picture. Of an animation, decode the first frame and as many more as have `PIXELS` together.

    :raises InvalidError: it is broken, cut off, or larger than `PIXELS` or `SIDE`, or takes more than `READS` or `SECONDS`.
    """
    try:
        if media_type == "image/gif":
            _check_size(_gif_size(_MeteredFile(data)))
        if media_type == "image/png" and _PNG_END not in data:
            raise InvalidError(BROKEN)
        with _open(data, media_type) as image:
            # A JPEG may have more pictures behind it (a preview, a depth map) that nothing shows.
            frames = [image] if media_type == "image/jpeg" else ImageSequence.Iterator(image)
            rest = PIXELS
            for frame in frames:
                _check_size(frame.size)
                frame.load()
                rest -= frame.width * frame.height
                if rest <= 0:
                    break
    except InvalidError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidError(TOO_LARGE) from error
    except Exception as error:
        raise InvalidError(BROKEN) from error


def upright(data: bytes, media_type: str) -> bytes:
    """Return the picture as its EXIF orientation says that it is to be seen, encoded anew without metadata.

    Return `data` itself if the orientation is the usual one or none, or if the picture cannot be decoded. An animation
    that is turned loses all frames but the first.
    """
    try:
        with _open(data, media_type) as image:
            if image.getexif().get(ExifTags.Base.Orientation) not in range(2, 9):
                return data
            _check_size(image.size)
            turned = ImageOps.exif_transpose(image)
            out = io.BytesIO()
            profile = image.info.get("icc_profile")
            turned.save(out, _format(media_type), quality=95, icc_profile=profile)
    except Exception:
        logger.warning("A picture could not be turned upright", exc_info=True)
        return data
    return out.getvalue()


class _MeteredFile(io.BytesIO):
    """Bytes in memory that can be read so many times, and for `SECONDS` of the thread's CPU time.

    :raises ValueError: in `read`, if it was read more.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = READS + len(data) // 100
        self._end = time.thread_time() + SECONDS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0 or time.thread_time() > self._end:
            raise ValueError("it takes too long to read")
        return super().read(size)


def _open(data: bytes, media_type: str) -> Image.Image:
    image = Image.open(_MeteredFile(data), formats=(_format(media_type),))
    if media_type == "image/jpeg":
        # Each scan of a few bytes goes over all of the picture: read little at a time, to stop in time.
        image.decodermaxblock = 1024
    return image


def _format(media_type: str) -> str:
    return media_type.removeprefix("image/").upper()


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if not (width and height):
        raise InvalidError(BROKEN)
    if width * height > PIXELS or max(width, height) > SIDE:
        raise InvalidError(TOO_LARGE)


def _gif_size(file: io.BytesIO) -> tuple[int, int]:
    """Return width and height of the largest of the screen and all frames.

    Pillow takes a GIF without its end, and sees the size of a frame only when it comes to it.

    :raises ValueError, IndexError, struct.error: a block is missing or of no known kind.
    """
    file.seek(6)
    width, height, flags = struct.unpack("<HHBxx", file.read(7))
    file.seek(_palette_bytes(flags), io.SEEK_CUR)
    while (block := file.read(1)) != b";":
        if block == b",":
            left, top, wide, high, flags = struct.unpack("<HHHHB", file.read(9))
            width, height = max(width, left + wide), max(height, top + high)
            file.seek(_palette_bytes(flags) + 1, io.SEEK_CUR)
        elif block == b"!":
            file.seek(1, io.SEEK_CUR)
        else:
            raise ValueError("no such block")
        while size := file.read(1)[0]:
            file.seek(size, io.SEEK_CUR)
    return width, height


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
