"""A proxy that publishes a server below a path prefix, as nginx does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class PrefixProxy:
    """Forwards requests below `prefix` to `upstream`; others get 404.

    If `strips`, the upstream gets the path without the prefix, and the prefix in `X-Forwarded-Prefix`.
    """

    def __init__(self, upstream: str, prefix: str, *, strips: bool) -> None:
        parts = urlsplit(upstream)
        assert parts.hostname is not None
        assert parts.port is not None
        self._upstream = (parts.hostname, parts.port)
        self._prefix = prefix
        self._strips = strips
        self._connections: set[asyncio.StreamWriter] = set()
        self.address = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["PrefixProxy"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        """Abort all open connections."""
        for each in list(self._connections):
            each.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, rest = head.split(" ", 2)
            if not target.startswith(f"{self._prefix}/"):
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            first, headers = rest.split("\r\n", 1)
            if self._strips:
                target = target[len(self._prefix) :]
                headers = f"X-Forwarded-Prefix: {self._prefix}\r\n{headers}"
            if "upgrade: websocket" not in headers.lower():
                kept = [line for line in headers.split("\r\n") if not line.lower().startswith("connection:")]
                headers = "\r\n".join(["Connection: close", *kept])
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._upstream)
            self._connections.add(upstream_writer)
            upstream_writer.write(f"{method} {target} {first}\r\n{headers}".encode("latin-1"))
            await asyncio.gather(_copy(reader, upstream_writer), _copy(upstream_reader, writer))
            self._connections.discard(upstream_writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self._connections.discard(writer)
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
