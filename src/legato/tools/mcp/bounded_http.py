"""Bounds on what an MCP server over HTTP sends, checked while it arrives."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import httpx2
from mcp.shared._httpx_utils import create_mcp_http_client

from legato.engines.decompress import DecompressError, Decompressor
from legato.tools.mcp.stdio import MAX_MESSAGE_BYTES

_LINE_ENDS = (b"\n\n", b"\r\r", b"\r\n\r\n")


class McpStreamError(httpx2.StreamError, httpx2.SSEError):
    """A response cannot be read on. It is both errors, because the SDK ends a call for one of them by the type of the body."""

    def __init__(self, message: str) -> None:
        RuntimeError.__init__(self, message)


def bounded_client(headers: Mapping[str, str], overflowed: Callable[[], None]) -> httpx2.AsyncClient:
    """Return a client whose responses have `MAX_MESSAGE_BYTES` at most, or so many in each event of a stream.

    A longer one ends with an error, and `overflowed` is called before. What is compressed although it was asked not to be is
    decompressed in bounded pieces.
    """
    client = create_mcp_http_client(headers={**headers, "accept-encoding": "identity"})

    async def bound(response: httpx2.Response) -> None:
        if isinstance(response.stream, httpx2.AsyncByteStream):
            encoding = response.headers.pop("content-encoding", "identity")
            is_events = response.headers.get("content-type", "").lower().startswith("text/event-stream")
            # The stream of a GET belongs to no call, and the SDK opens another one.
            report = overflowed if response.request.method == "POST" else _nothing
            response.stream = _BoundedStream(response.stream, encoding, report, is_events=is_events)

    client.event_hooks = {"response": [bound]}
    return client


def _nothing() -> None:
    """Do nothing."""


class _BoundedStream(httpx2.AsyncByteStream):
    """The body of a response, decompressed and counted. In a stream of events the count begins anew with each of them."""

    def __init__(
        self,
        stream: httpx2.AsyncByteStream,
        encoding: str,
        overflowed: Callable[[], None],
        *,
        is_events: bool,
    ) -> None:
        self._stream = stream
        self._encoding = encoding
        self._overflowed = overflowed
        self._is_events = is_events
        self._size = 0
        self._end = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._decoded():
            self._count(piece)
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def _decoded(self) -> AsyncIterator[bytes]:
        if self._encoding.strip().lower() in ("", "identity"):
            async for data in self._stream:
                yield data
            return
        try:
            decompressor = Decompressor(self._encoding)
            async for data in self._stream:
                while piece := await asyncio.to_thread(decompressor.feed, data):
                    yield piece
                    data = b""
        except DecompressError as error:
            raise McpStreamError(f"Its answer cannot be decompressed: {error}") from None

    def _count(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._is_events:
            tail = self._end + piece
            found = max(tail.rfind(end) for end in _LINE_ENDS)
            if found >= 0:
                self._size = len(tail) - found
            self._end = tail[-3:]
        if self._size > MAX_MESSAGE_BYTES:
            self._overflowed()
            raise McpStreamError(f"It said more at once than {MAX_MESSAGE_BYTES // 2**20} MiB")
