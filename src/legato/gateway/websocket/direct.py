"""The token path: an `asyncio.Protocol` that uvicorn accepts as `ws=`, without a task, queue or lock.

uvicorn hands over the transport and the upgrade request. From then on a message passes from `data_received` into the
session, and a frame from the session into `transport.write`, in the same turn of the loop.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from enum import IntEnum
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from legato.broker.rate_limit import RateLimiter
from legato.dialects.base import BinarySession, Endpoint, Session
from legato.gateway.websocket import close_reasons
from legato.gateway.websocket.asgi import LEAVE
from legato.gateway.websocket.frame_parser import PING_FRAME, FrameParser, quiet_logger, text_frame
from legato.gateway.websocket.handshake import RefusedError, admit
from legato.gateway.websocket.limits import Limits
from legato.gateway.websocket.origins import Origins
from legato.gateway.websocket.path_prefix import PathPrefix
from legato.gateway.websocket.socket_server import SocketServer
from legato.gateway.websocket.timer_wheel import TimerClock, TimerWheel
from legato.protocol.close_codes import CloseCode

logger = logging.getLogger(__name__)


class Phase(IntEnum):
    OPENING = 0
    OPEN = 1
    CLOSING = 2
    GONE = 3


OPENING, OPEN, CLOSING, GONE = Phase
# A lookup in the class costs a tenth of a microsecond, for each token.


class DirectSocket(FrameParser, asyncio.Protocol):
    """One connection; the `Socket` of its session. Created by `protocol_class`.

    Frames collect in a list during a turn of the loop and leave with one `transport.write`. If the transport holds too much,
    the socket is not `writable`, and subscribers wait.
    """

    __slots__ = (
        "_backlog",
        "_backlog_since",
        "_config",
        "_connections",
        "_flush_scheduled",
        "_last_received",
        "_leave",
        "_message_bytes",
        "_message_since",
        "_out",
        "_oversize",
        "_pending",
        "_phase",
        "_session",
        "_transport",
        "slot",
        "writable",
    )

    server: ClassVar[SocketServer]

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__()
        self._config = config
        self._connections: set[Any] = server_state.connections
        self._leave: Callable[[], None] | None = app_state.get(LEAVE)
        self._last_received = self.server.wheel.now
        self._message_since: float | None = None
        self._message_bytes = 0
        self._oversize = 0
        self._out: list[bytes] = []
        self._backlog = 0
        self._backlog_since = 0.0
        self._pending = 0
        self._phase = OPENING
        self._session: Session | None = None
        self._flush_scheduled = False
        self._transport: asyncio.Transport
        self.slot = 0
        self.writable = False

    @staticmethod
    def frame(payload: bytes) -> bytes:
        return text_frame(payload)

    @property
    def closing(self) -> bool:
        return self._phase is not OPEN

    @property
    def transport(self) -> asyncio.Transport:
        """The transport, under the name that uvicorn's own protocols use."""
        return self._transport

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were sent and that the kernel has not accepted yet."""
        return self._pending + self._transport.get_write_buffer_size()

    # Called by the transport.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._connections.add(self)
        # uvicorn does this only after the handshake; until then `pause_writing` would reach the wrong protocol.
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        now = self.server.wheel.now
        self._last_received = now
        if self._phase is GONE:
            return
        self._flush_scheduled = True
        if self._phase is OPENING:
            self._open(data)
        else:
            self.feed(data, now)
        if not self.pending:
            self._message_since = None
        elif self._message_since is None:
            self._message_since = now
        self._flush_scheduled = False
        if self._out:
            self.flush()

    def pause_writing(self) -> None:
        self.writable = False
        self._backlog = self._transport.get_write_buffer_size()
        self._backlog_since = self.server.wheel.now
        self._oversize = self._backlog if self._backlog > self.server.limits.backlog_bytes else 0
        if self._phase is OPEN:
            self.server.wheel.watch(self, self.server.limits.tick_seconds)

    def resume_writing(self) -> None:
        if self._phase is OPEN:
            self.writable = True
            self._last_received = self.server.wheel.now
            if self._session is not None:
                try:
                    self._session.resumed()
                except Exception:
                    logger.exception(close_reasons.SESSION_FAILED)
                    self._fail_session()

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = GONE
        self.writable = False
        self.server.wheel.forget(self)
        self._connections.discard(self)
        if self._leave is not None:
            self._leave()
            self._leave = None
        self._out.clear()
        self._close_session()

    def shutdown(self) -> None:
        """Close the connection because uvicorn drains: the client is asked to reconnect."""
        if self._phase is OPENING:
            self._transport.close()
        self.close(CloseCode.GOING_AWAY, close_reasons.GOING_AWAY)

    # Called by the session.

    def write(self, data: bytes) -> None:
        if self._phase is OPEN:
            self._out.append(data)
            self._pending += len(data)
            if self._pending >= self.server.limits.high_water:
                self.flush()

    def flush(self) -> None:
        self._flush_scheduled = False
        out = self._out
        if not out:
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._pending = 0
        if not self.writable:
            limit = self.server.limits.backlog_bytes
            if self._transport.get_write_buffer_size() - self._oversize > limit:
                self.close(CloseCode.SLOW, close_reasons.TOO_SLOW)
                return
            if len(data) > limit:
                self._oversize += len(data)
        self._transport.write(data)

    def send(self, payload: bytes) -> None:
        if self._phase is OPEN:
            self.write(text_frame(payload))
            if not self._flush_scheduled:
                self._flush_scheduled = True
                self.server.flush_soon(self)

    def limit_message(self, limit: int | None) -> None:
        self.frame_bytes = self._message_bytes if limit is None else min(limit, self._message_bytes)

    def close(self, code: int, reason: str = "") -> None:
        if self._phase is OPEN:
            self.flush()
        if self._phase is OPEN:
            self._phase = CLOSING
            self.writable = False
            self._transport.write(self.close_frame(code, reason))
            self.server.wheel.watch(self, self.server.limits.close_seconds)

    # Called by the parser.

    def on_text(self, payload: bytes) -> None:
        session = self._session
        if session is not None:
            try:
                session.received(payload)
            except Exception:
                logger.exception(close_reasons.SESSION_FAILED)
                self._fail_session()

    def on_binary(self) -> bool:
        session = self._session
        return isinstance(session, BinarySession) and session.binary()

    def on_reply(self, data: bytes) -> None:
        self.write(data)

    def on_end(self, code: int) -> None:
        """End after the close handshake: let the client read what is on its way, and close the connection."""
        self.flush()
        self._phase = CLOSING
        self.writable = False
        transport = self._transport
        if transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()
        else:
            transport.close()
        self.server.wheel.watch(self, self.server.limits.close_seconds)
        self._close_session()

    # Called by the timer.

    def due(self) -> float:
        limits, now = self.server.limits, self.server.wheel.now
        if self._phase is not OPEN:
            self._transport.abort()
            return 0
        if not self.writable:
            backlog = self._transport.get_write_buffer_size()
            if backlog < self._backlog:
                self._backlog, self._backlog_since = backlog, now
                self._last_received = now
            elif now - self._backlog_since >= limits.stall_seconds:
                self.close(CloseCode.SLOW, close_reasons.TOO_SLOW)
                return 0
            return limits.tick_seconds
        if self._message_since is not None and now - self._message_since >= limits.message_seconds:
            self.fail(close_reasons.POLICY, close_reasons.TOO_LONG)
            return limits.close_seconds
        silence = now - self._last_received
        if silence >= limits.silent_seconds:
            self.close(CloseCode.SILENT, close_reasons.TOO_SILENT)
            self._transport.abort()
            return 0
        if silence >= limits.ping_seconds:
            self._transport.write(PING_FRAME)
            return limits.silent_seconds - silence
        return limits.ping_seconds - silence

    def _close_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            try:
                session.closed()
            except Exception:
                logger.exception(close_reasons.SESSION_FAILED)

    def _fail_session(self) -> None:
        self.close(close_reasons.INTERNAL_ERROR, close_reasons.SERVER_ERROR)

    # The handshake.

    def _open(self, data: bytes) -> None:
        protocol = ServerProtocol(logger=quiet_logger)
        protocol.receive_data(data)
        request = next(iter(protocol.events_received()), None)
        if not isinstance(request, Request):
            answer = b"".join(protocol.data_to_send())
            self._reject(
                answer or protocol.reject(HTTPStatus.BAD_REQUEST, "This is not a request.\n").serialize()
            )
            return
        response = protocol.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._reject(response.serialize())
            return
        client = self.server.client(self._config, self._transport, request)
        target = self.server.target(self._config, self._transport, request)
        try:
            endpoint, handshake = admit(
                self.server.endpoints, self.server.origins, target, request.headers.raw_items(), client
            )
        except RefusedError as refused:
            self._reject(protocol.reject(refused.status, f"{refused.message}\n").serialize())
            return
        if handshake.subprotocol is not None:
            response.headers["Sec-WebSocket-Protocol"] = handshake.subprotocol
        self._accept(endpoint, response)
        try:
            self._session = endpoint.open(handshake, self)
        except Exception:
            logger.exception(close_reasons.SESSION_FAILED)
            self._fail_session()

    def _accept(self, endpoint: Endpoint, response: Response) -> None:
        limits, transport = self.server.limits, self._transport
        rate = (
            limits.frames_per_second
            if endpoint.max_frames_per_second is None
            else endpoint.max_frames_per_second
        )
        self.frame_bytes = self._message_bytes = (
            limits.frame_bytes if endpoint.max_frame_bytes is None else endpoint.max_frame_bytes
        )
        self.rate_limiter = RateLimiter(rate, limits.frames_burst_seconds) if rate else None
        transport.set_write_buffer_limits(limits.high_water, limits.low_water)
        self._phase = OPEN
        self.writable = True
        self.server.wheel.watch(self, limits.ping_seconds)
        transport.write(response.serialize())

    def _reject(self, response: bytes) -> None:
        self._phase = GONE
        self._transport.write(response)
        self._transport.close()
        self.server.wheel.watch(self, self.server.limits.close_seconds)


def protocol_class(
    endpoints: Sequence[Endpoint],
    *,
    limits: Limits | None = None,
    origins: Origins | None = None,
    wheel: TimerWheel | None = None,
    prefix: PathPrefix | None = None,
) -> type[DirectSocket]:
    """Return a class for uvicorn's `ws=`. Its sockets lead to `endpoints` and share one timer, `wheel` if it is given."""
    limits = limits or Limits()
    server = SocketServer(
        endpoints,
        limits,
        origins or Origins(),
        wheel if wheel is not None else TimerClock(limits.tick_seconds),
        prefix or PathPrefix(),
    )
    return type("DirectSocket", (DirectSocket,), {"__slots__": (), "server": server})
