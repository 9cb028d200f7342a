"""Heads of HTTP responses as model servers and the proxies in front of them really send them, made fit for aiohttp."""

import asyncio
import functools
import re
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

LARGEST_HEAD = 1024 * 1024
"""Bytes of the head of a response, at most."""

_READ = frozenset({
    b"connection", b"content-encoding", b"content-length", b"content-type", b"keep-alive", b"location",
    b"proxy-authenticate", b"proxy-connection", b"retry-after", b"transfer-encoding", b"upgrade", b"www-authenticate",
})  # fmt: skip
"""The headers that are read. All others are left out, so that neither their number nor their size matters."""

_END = re.compile(rb"\r?\n\r?\n")
_LINE = re.compile(rb"\r?\n")


def mended(head: bytes) -> bytes:
    """Return the head of a response with the headers that are read, in a form without contradictions.

    `chunked` overrides a length (RFC 9112, 6.3). Lengths that contradict each other are left out, and so is the transfer
    coding `identity`. `head` includes its blank line.
    """
    start, *lines = _LINE.split(head.rstrip(b"\r\n"))
    kept: list[tuple[bytes, bytes]] = []
    lengths: set[bytes] = set()
    is_chunked = False
    for line in lines:
        name, colon, value = line.partition(b":")
        name, value = name.strip().lower(), value.strip()
        if not colon or name not in _READ:
            continue
        if name == b"content-length":
            lengths |= {each.strip() for each in value.split(b",")}
        elif name == b"transfer-encoding":
            is_chunked = is_chunked or b"chunked" in value.lower()
        else:
            kept.append((name, value))
    if is_chunked:
        kept.append((b"transfer-encoding", b"chunked"))
    elif len(lengths) == 1 and (length := lengths.pop()).isdigit():
        kept.append((b"content-length", length))
    return b"\r\n".join([start.strip(), *(name + b": " + value for name, value in kept), b"", b""])


class LenientResponseHandler(ResponseHandler):
    """Mends the head of each response before aiohttp parses it, and passes over interim responses (1xx).

    It resumes reading only if reading was paused. aiohttp 3.14 resumes after each chunk that is read, which costs as much as to
    parse one.
    """

    _head: bytearray | None = None
    _paused_once = False

    def pause_reading(self) -> None:
        self._paused_once = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._paused_once:
            self._paused_once = False
            super().resume_reading(resume_parser)

    def set_response_params(self, **params: Any) -> None:
        self._head = bytearray()
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        head = self._head
        if head is None or not data:
            super().data_received(data)
            return
        head += data
        while self._head is not None:
            del head[: len(head) - len(head.lstrip(b"\r\n"))]
            end = _END.search(head)
            if head[:5] != b"HTTP/"[: len(head)] or (end is None and len(head) > LARGEST_HEAD):
                self._head = None
                super().data_received(bytes(head))
            elif end is None:
                return
            elif head[9:10] == b"1" and head[9:12] != b"101":
                del head[: end.end()]
            else:
                self._head = None
                super().data_received(mended(bytes(head[: end.end()])) + bytes(head[end.end() :]))


def _handler(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return LenientResponseHandler(loop)


class LenientTCPConnector(aiohttp.TCPConnector):
    """A `TCPConnector` whose connections mend the heads of responses."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._factory = functools.partial(_handler, loop=self._loop)


class LenientUnixConnector(aiohttp.UnixConnector):
    """A `UnixConnector` whose connections mend the heads of responses."""

    def __init__(self, path: str, **settings: Any) -> None:
        super().__init__(path, **settings)
        self._factory = functools.partial(_handler, loop=self._loop)
