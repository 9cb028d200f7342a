"""HTTP as uvicorn reads it, with the deadlines it does not have.

uvicorn waits for ever for a request that never comes, or never ends, and keeps whatever head it is sent. Here the head
has a deadline and a size, and a body may not fall silent. Bytes that follow the request of a WebSocket at once are handed on.
"""

import asyncio
import socket
import sys
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from legato.gateway.websocket.asgi import TRANSPORT
from legato.gateway.websocket.limits import Limits
from legato.gateway.websocket.timer_wheel import TimerClock, TimerWheel

INTERNET = {socket.AF_INET, socket.AF_INET6}
UNSENT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)

REFUSAL = b"HTTP/1.1 %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
TOO_LATE = (b"408 Request Timeout", b"The request took too long to arrive.\n")
TOO_LARGE = (b"431 Request Header Fields Too Large", b"The head of the request is too large.\n")


class PatientHttpProtocol(HttpToolsProtocol):
    """What uvicorn takes as `http=`; made by `http_class`."""

    limits: ClassVar[Limits]
    wheel: ClassVar[TimerWheel]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.slot = 0
        self._chunk = b""
        self._head_bytes = 0
        self._head_since: float | None = self.wheel.now
        self._body_since: float | None = None
        self._owed: int | None = None
        self._refused = False
        self._owed_since = 0.0
        self.wheel.watch(self, self.limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self.wheel.forget(self)
        super().connection_lost(exc)

    def due(self) -> float:
        """The wheel looks: is the client taking too long?"""
        now, limits = self.wheel.now, self.limits
        if self._refused:
            self.transport.abort()
            return 0
        if self.flow.write_paused or self.transport.is_closing():
            return self._look_at_debt()
        self._owed = None
        if self._head_since is not None:
            left = self._head_since + limits.head_seconds - now
            if left <= 0:
                self._refuse(*TOO_LATE)
            return max(left, 0)
        if self._body_since is not None and not self.flow.read_paused:
            left = self._body_since + limits.body_seconds - now
            if left <= 0:
                self.transport.abort()
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
        self._head_bytes = 0
        self._head_since = self.wheel.now
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_since = None
        self._body_since = self.wheel.now
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._body_since = None
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        upgrade = sys.exception()
        self.wheel.forget(self)
        connection = self.transport.get_extra_info("socket")
        if UNSENT is not None and connection is not None and connection.family in INTERNET:
            connection.setsockopt(socket.IPPROTO_TCP, UNSENT, self.limits.unsent_bytes)
        self.app_state = {**self.app_state, TRANSPORT: self.transport}
        super().handle_websocket_upgrade()
        rest = self._chunk[upgrade.args[0] :] if upgrade is not None and upgrade.args else b""
        protocol: Any = self.transport.get_protocol()
        # A connection keeps nothing of how it began: parser and protocol refer to each other.
        self.parser = None  # type: ignore[assignment]
        if rest:
            protocol.data_received(rest)

    def _look_at_debt(self) -> float:
        """A client may read slowly, but not stop for `stall_seconds`."""
        now, owed = self.wheel.now, self.transport.get_write_buffer_size()
        if self._owed is None or owed < self._owed:
            self._owed, self._owed_since = owed, now
        elif now - self._owed_since >= self.limits.stall_seconds:
            self.transport.abort()
            return 0
        return self.limits.stall_seconds / 3

    def _refuse(self, status: bytes, sentence: bytes) -> None:
        self._refused = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            self.transport.abort()
            return
        self.transport.write(REFUSAL % (status, len(sentence), sentence))
        # A close with unread bytes would be a reset, and the client might never read why.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()
        self.wheel.watch(self, self.limits.close_seconds)


def http_class(limits: Limits, wheel: TimerWheel | None = None) -> type[PatientHttpProtocol]:
    """A class for uvicorn's `http=`."""
    turned = wheel if wheel is not None else TimerClock(limits.tick_seconds)
    return type("PatientHttpProtocol", (PatientHttpProtocol,), {"limits": limits, "wheel": turned})
