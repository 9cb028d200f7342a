"""A response with the bytes of a blob, whole or the ranges that a client asks for (RFC 9110, section 14)."""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from email.utils import formatdate
from secrets import token_hex
from urllib.parse import quote

from fastapi.responses import PlainTextResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Receive, Scope, Send

from legato.errors import InvalidError
from legato.storage.blobs import BlobInfo

MAX_RANGES = 100
"""A request for more ranges gets the whole blob."""

Range = tuple[int, int]
"""Offsets of the first byte, and of the one behind the last."""


class BlobResponse(Response):
    """Streams a blob. `content(start, end)` returns the bytes between two offsets.

    It is shown by browsers (`inline`) under `filename`. A client that has a part of it asks for the rest by `Range`, and
    by `If-Range` gets the whole blob if it is another one meanwhile.
    """

    def __init__(
        self,
        content: Callable[[int, int], AsyncIterator[bytes]],
        info: BlobInfo,
        *,
        media_type: str,
        filename: str,
        headers: Mapping[str, str],
    ) -> None:
        self._content = content
        self._size = info.size
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        quoted = quote(filename)
        name = f'filename="{filename}"' if quoted == filename else f"filename*=utf-8''{quoted}"
        tag = hashlib.md5(f"{info.modified}-{info.size}".encode(), usedforsecurity=False).hexdigest()
        self.init_headers(
            {
                **headers,
                "accept-ranges": "bytes",
                "content-disposition": f"inline; {name}",
                "content-length": str(info.size),
                "last-modified": formatdate(info.modified, usegmt=True),
                "etag": f'"{tag}"',
            }
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope)
        wanted = asked.get("range")
        unless = asked.get("if-range")
        if wanted is None or (
            unless is not None and unless not in (self.headers["etag"], self.headers["last-modified"])
        ):
            await self._send_whole(send)
            return
        try:
            ranges = parse_ranges(wanted, self._size)
        except InvalidError as error:
            await PlainTextResponse(error.message, status_code=400)(scope, receive, send)
            return
        if ranges is None:
            refused = PlainTextResponse(status_code=416, headers={"Content-Range": f"bytes */{self._size}"})
            await refused(scope, receive, send)
        elif not ranges:
            await self._send_whole(send)
        elif len(ranges) == 1:
            await self._send_range(send, *ranges[0])
        else:
            await self._send_ranges(send, ranges)

    async def _send_whole(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._send_bytes(send, 0, self._size)
        await _send_body(send, b"", more=False)

    async def _send_range(self, send: Send, start: int, end: int) -> None:
        await self._start_partial(
            send,
            {"content-range": f"bytes {start}-{end - 1}/{self._size}", "content-length": str(end - start)},
        )
        await self._send_bytes(send, start, end)
        await _send_body(send, b"", more=False)

    async def _send_ranges(self, send: Send, ranges: list[Range]) -> None:
        boundary = token_hex(13)
        media_type = self.headers["content-type"]
        heads = [
            f"--{boundary}\r\nContent-Type: {media_type}\r\n"
            f"Content-Range: bytes {start}-{end - 1}/{self._size}\r\n\r\n".encode("latin-1")
            for start, end in ranges
        ]
        last = f"--{boundary}--".encode("latin-1")
        length = len(last) + sum(
            len(head) + end - start + 2 for head, (start, end) in zip(heads, ranges, strict=True)
        )
        await self._start_partial(
            send,
            {
                "content-type": f"multipart/byteranges; boundary={boundary}",
                "content-length": str(length),
            },
        )
        for head, (start, end) in zip(heads, ranges, strict=True):
            await _send_body(send, head)
            await self._send_bytes(send, start, end)
            await _send_body(send, b"\r\n")
        await _send_body(send, last, more=False)

    async def _start_partial(self, send: Send, changed: Mapping[str, str]) -> None:
        headers = MutableHeaders(raw=list(self.raw_headers))
        headers.update(changed)
        await send({"type": "http.response.start", "status": 206, "headers": headers.raw})

    async def _send_bytes(self, send: Send, start: int, end: int) -> None:
        async for chunk in self._content(start, end):
            await _send_body(send, chunk)


async def _send_body(send: Send, data: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


def parse_ranges(header: str, size: int) -> list[Range] | None:
    """Return the ranges of a `Range` header, in order and merged where they overlap; nothing if there are too many, and None if one lies outside of the blob.

    :raises InvalidError: the header is malformed.
    """
    unit, equals, listed = header.partition("=")
    if not equals:
        raise InvalidError("Malformed range header.")
    if unit.strip().lower() != "bytes":
        raise InvalidError("Only support bytes range")
    if listed.count(",") + 1 > MAX_RANGES:
        return []
    ranges = [each for each in (_parse_range(part.strip(), size) for part in listed.split(",")) if each]
    if not ranges:
        raise InvalidError("Range header: range must be requested")
    if any(not 0 <= start < size for start, _ in ranges):
        return None
    if any(start >= end for start, end in ranges):
        raise InvalidError("Range header: start must be less than end")
    ranges.sort()
    merged = [ranges[0]]
    for start, end in ranges[1:]:
        last_start, last_end = merged[-1]
        if start <= last_end:
            merged[-1] = (last_start, max(last_end, end))
        else:
            merged.append((start, end))
    return merged


def _parse_range(part: str, size: int) -> Range | None:
    """Return one range, or None if it is not `first-last`, `first-` or `-count`."""
    first, dash, last = (each.strip() for each in part.partition("-"))
    if not dash or not (first or last):
        return None
    try:
        if not first:
            return max(size - int(last), 0), size
        return int(first), min(int(last) + 1, size) if last else size
    except ValueError:
        return None
