"""uvicorn's HTTP protocol with the timeouts that it lacks.

uvicorn waits without limit for a request that never arrives or never ends, and keeps a head of any size. Here the head has
a timeout and a maximum size, and a body must not pause too long. Bytes directly after a WebSocket request are passed on.
"""

import asyncio
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from legato.gateway.websocket.asgi import LEAVE, TRANSPORT
from legato.gateway.websocket.connection_limiter import ConnectionLimiter
from legato.gateway.websocket.limits import Limits
from legato.gateway.websocket.timer_wheel import TimerClock, TimerWheel

INTERNET = {socket.AF_INET, socket.AF_INET6}
UNSENT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)

REFUSAL = b"HTTP/1.1 %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
TOO_LATE = (b"408 Request Timeout", b"The request took too long to arrive.\n")
NO_ROOM = (
    b"503 Service Unavailable",
    b"The server has as many connections as it can hold. Try again in a moment.\n",
)
TOO_LARGE = (b"431 Request Header Fields Too Large", b"The head of the request is too large.\n")


class TooManyRequestsError(Exception):
    """A client sent more requests than may wait on one connection."""


class TimeoutHttpProtocol(HttpToolsProtocol):
    """The protocol for uvicorn's `http=`; created by `http_class`."""

    limits: ClassVar[Limits]
    wheel: ClassVar[TimerWheel]
    limiter: ClassVar[ConnectionLimiter | None]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.slot = 0
        self._chunk = b""
        self._head_bytes = 0
        self._head_since: float | None = self.wheel.now
        self._body_since: float | None = None
        self._body_began = 0.0
        self._was_answered = False
        self._backlog: int | None = None
        self._refused = False
        self._answering: RequestResponseCycle | None = None
        self._backlog_since = 0.0
        self.wheel.watch(self, self.limits.head_seconds)
        self._leave: Callable[[], None] | None = None
        if self.limiter is not None:
            peer = transport.get_extra_info("peername")
            address = str(peer[0]) if isinstance(peer, tuple) else ""
            if self.limiter.admit(address):
                self._leave = partial(self.limiter.leave, address)
            else:
                self._refuse(*NO_ROOM)

    def connection_lost(self, exc: Exception | None) -> None:
        self.wheel.forget(self)
        if self._leave is not None:
            self._leave()
            self._leave = None
        super().connection_lost(exc)

    def due(self) -> float:
        """Check whether the client takes too long."""
        now, limits = self.wheel.now, self.limits
        if self._refused:
            self._abort()
            return 0
        if self.flow.write_paused or self.transport.is_closing():
            return self._check_backlog()
        self._backlog = None
        if self._head_since is not None:
            left = self._head_since + limits.head_seconds - now
            if left <= 0:
                self._refuse(*TOO_LATE)
            return max(left, 0)
        cycle: RequestResponseCycle | None = self.cycle
        if self._body_since is not None and cycle is not None and cycle.response_complete:
            # The answer needs no more of the body. The client gets some time to read it.
            if self._was_answered:
                self._abort()
                return 0
            self._was_answered = True
            return limits.close_seconds
        if self._body_since is not None and not self.flow.read_paused:
            pause = self._body_since + limits.body_seconds - now
            left = min(pause, self._body_began + limits.request_seconds - now)
            if left <= 0:
                self._abort()
                return 0
        return limits.head_seconds

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._chunk = data
        self._body_since = self.wheel.now if self._body_since is not None else None
        super().data_received(data)
        if self.parser is None:
            return
        self._chunk = b""
        if self._head_since is not None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.head_bytes:
                self._refuse(*TOO_LARGE)

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= self.limits.pipelined:
            raise TooManyRequestsError
        self._head_bytes = 0
        self._head_since = self.wheel.now
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_since = None
        self._was_answered = False
        self._body_since = self._body_began = self.wheel.now
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._body_since = None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be parsed. A response that is being written is not mixed with another one."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            super().send_400_response(msg)
        else:
            self.pipeline.clear()
            self._abort()

    def _abort(self) -> None:
        """End the connection now. What still answers a request writes nothing more: uvloop raises on a closed transport."""
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()
        self.transport.abort()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # `self.cycle` is the last request that was parsed; this is the one that is answered.
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def handle_websocket_upgrade(self) -> None:
        upgrade = sys.exception()
        self.wheel.forget(self)
        connection = self.transport.get_extra_info("socket")
        if UNSENT is not None and connection is not None and connection.family in INTERNET:
            connection.setsockopt(socket.IPPROTO_TCP, UNSENT, self.limits.unsent_bytes)
        self.app_state = {**self.app_state, TRANSPORT: self.transport, LEAVE: self._leave}
        self._leave = None
        super().handle_websocket_upgrade()
        rest = self._chunk[upgrade.args[0] :] if upgrade is not None and upgrade.args else b""
        protocol: Any = self.transport.get_protocol()
        # Free the parser: it and the protocol refer to each other.
        self.parser = None  # type: ignore[assignment]
        if rest:
            protocol.data_received(rest)

    def _check_backlog(self) -> float:
        """Abort a client that reads nothing for `stall_seconds`. A slow client is allowed."""
        now, backlog = self.wheel.now, self.transport.get_write_buffer_size()
        if self._backlog is None or backlog < self._backlog:
            self._backlog, self._backlog_since = backlog, now
        elif now - self._backlog_since >= self.limits.stall_seconds:
            self._abort()
            return 0
        return self.limits.stall_seconds / 3

    def _refuse(self, status: bytes, sentence: bytes) -> None:
        self._refused = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._abort()
            return
        self.transport.write(REFUSAL % (status, len(sentence), sentence))
        # A close with unread bytes would be a reset, and the client might not read the response.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()
        self.wheel.watch(self, self.limits.close_seconds)


def http_class(
    limits: Limits, wheel: TimerWheel | None = None, connections: ConnectionLimiter | None = None
) -> type[TimeoutHttpProtocol]:
    """Return a class for uvicorn's `http=`. `connections` says which connections are refused; None: none."""
    clock = wheel if wheel is not None else TimerClock(limits.tick_seconds)
    return type(
        "TimeoutHttpProtocol",
        (TimeoutHttpProtocol,),
        {"limits": limits, "wheel": clock, "limiter": connections},
    )
