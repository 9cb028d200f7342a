"""Bodies that a server compressed although it was asked not to, decompressed in bounded pieces."""

import zlib
from typing import Protocol

import brotli

PIECE = 256 * 1024
"""Bytes that one call returns, about, whatever the compressed bytes expand to."""


class DecompressError(Exception):
    """The bytes are not what the header says, or the encoding is not known."""


class _Decoder(Protocol):
    def decode(self, data: bytes) -> bytes: ...


class _Zlib:
    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._first: bytes | None = b""

    def decode(self, data: bytes) -> bytes:
        if self._first is not None:
            self._first += data
        try:
            decoded = self._decoder.decompress(self._decoder.unconsumed_tail + data, PIECE)
        except zlib.error as error:
            first, self._first = self._first, None
            if first is None:
                raise DecompressError(str(error)) from None
            # Some servers send `deflate` without the header of zlib.
            self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
            return self.decode(first)
        if decoded:
            self._first = None
        return decoded


class _Brotli:
    def __init__(self) -> None:
        self._decoder = brotli.Decompressor()
        self._waiting = b""

    def decode(self, data: bytes) -> bytes:
        self._waiting += data
        given = b""
        if self._decoder.can_accept_more_data():
            given, self._waiting = self._waiting, b""
        try:
            decoded: bytes = self._decoder.process(given, output_buffer_limit=PIECE)
        except brotli.error as error:
            raise DecompressError(str(error)) from None
        return decoded


class Decompressor:
    """Decompresses the body of one response. `encoding` is its `Content-Encoding`.

    :raises DecompressError: the encoding is not known, or there are several.
    """

    def __init__(self, encoding: str) -> None:
        match encoding.strip().lower():
            case "gzip" | "x-gzip" | "deflate":
                self._decoder: _Decoder = _Zlib()
            case "br":
                self._decoder = _Brotli()
            case other:
                raise DecompressError(f"it is compressed as {other[:40]}, which is not known here")

    def feed(self, data: bytes) -> bytes:
        """Return what `data` yields, about `PIECE` bytes at most. Call it with nothing for what is left.

        :raises DecompressError: the bytes are not what the header says.
        """
        return self._decoder.decode(data)
