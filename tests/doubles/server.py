"""An HTTP server on a free port, or on a unix socket, for as long as a test wants it."""

import ssl
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web


class Server:
    """Serves `app`. Handlers are cancelled when their client goes away, as those of the real servers are."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, unix_socket: Path | None = None) -> None:
        self.app = web.Application(client_max_size=64 * 1024 * 1024)
        self._tls = tls
        self._unix_socket = unix_socket
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._runner = web.AppRunner(
            self.app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1, handle_signals=False
        )
        await self._runner.setup()
        if self._unix_socket is not None:
            await web.UnixSite(self._runner, str(self._unix_socket)).start()
            return self
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
