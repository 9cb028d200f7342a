"""What all sockets of one server share."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.utils import get_remote_addr
from websockets.http11 import Request

from legato.dialects.base import Endpoint
from legato.gateway.websocket.handshake import EndpointTable
from legato.gateway.websocket.limits import Limits
from legato.gateway.websocket.origins import Origins
from legato.gateway.websocket.path_prefix import HEADER, PathPrefix, TrustedProxies
from legato.gateway.websocket.timer_wheel import TimerWheel


class FlushTarget(Protocol):
    """A socket with frames that are not sent yet."""

    def flush(self) -> None:
        """Send them."""
        ...


class SocketServer:
    """What all sockets of one server share: endpoints, limits and the timer."""

    __slots__ = ("_proxies", "_to_flush", "_trusted", "endpoints", "limits", "origins", "prefix", "wheel")

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        limits: Limits,
        origins: Origins,
        wheel: TimerWheel,
        prefix: PathPrefix,
    ) -> None:
        self.endpoints = EndpointTable(endpoints)
        self.limits = limits
        self.origins = origins
        self.wheel = wheel
        self.prefix = prefix
        self._to_flush: list[FlushTarget] = []
        self._proxies: ProxyHeadersMiddleware | None = None
        self._trusted: TrustedProxies | None = None

    def flush_soon(self, socket: FlushTarget) -> None:
        """Flush `socket` at the end of this turn of the loop, together with all others."""
        if not self._to_flush:
            asyncio.get_running_loop().call_soon(self._flush)
        self._to_flush.append(socket)

    def _flush(self) -> None:
        sockets, self._to_flush = self._to_flush, []
        for each in sockets:
            each.flush()

    def client(self, config: Config, transport: asyncio.Transport, request: Request) -> str:
        """Return the client's address: the one that a trusted proxy names, or the other end of the connection."""
        scope: Any = {"type": "websocket", "client": get_remote_addr(transport), "headers": []}
        if config.proxy_headers and "X-Forwarded-For" in request.headers:
            if self._proxies is None:
                self._proxies = ProxyHeadersMiddleware(_nothing, config.forwarded_allow_ips)
            forwarded = [value.encode("latin-1") for value in request.headers.get_all("X-Forwarded-For")]
            scope["headers"] = [(b"x-forwarded-for", value) for value in forwarded]
            # It awaits only `_nothing`, so one step completes it.
            step = self._proxies(scope, _not_called, _not_called)
            try:
                step.send(None)
            except StopIteration:
                step.close()
        client = scope["client"]
        return str(client[0]) if client else ""

    def target(self, config: Config, transport: asyncio.Transport, request: Request) -> str:
        """Return the path and query of a request without the prefix below which a proxy publishes this server."""
        forwarded = request.headers.get_all(HEADER)
        if not forwarded and not self.prefix.root_path:
            return request.path
        if self._trusted is None:
            self._trusted = TrustedProxies(config.forwarded_allow_ips)
        peer = get_remote_addr(transport)
        believed = forwarded if config.proxy_headers and peer and peer[0] in self._trusted else ()
        path, separator, query = request.path.partition("?")
        return f"{self.prefix.split(path, believed)[1]}{separator}{query}"


async def _nothing(*_: Any) -> None:
    pass


async def _not_called(*_: Any) -> Any:
    raise NotImplementedError
