"""The same contract over ASGI: a fallback in case the direct path causes trouble.

A task for each connection writes the frames, one message each. It costs about twice the CPU and memory of the direct path.
Framing, pings, UTF-8 and the first limit of a message are uvicorn's own, and so is the close code at shutdown (1012).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from legato.broker.rate_limit import RateLimiter
from legato.dialects.base import BinarySession, Endpoint, Session
from legato.gateway.websocket import close_reasons
from legato.gateway.websocket.frame_parser import truncate_reason
from legato.gateway.websocket.handshake import EndpointTable, RefusedError, admit
from legato.gateway.websocket.limits import Limits
from legato.gateway.websocket.origins import Origins
from legato.gateway.websocket.timer_wheel import TimerClock, TimerWheel
from legato.protocol.close_codes import CloseCode

logger = logging.getLogger(__name__)

TRANSPORT = "legato.transport"
"""Where the HTTP class puts the transport in the state of the connection: ASGI cannot abort a connection."""


LEAVE = "legato.leave"
"""Where the HTTP class puts the call that counts the connection no more."""


class CountedSansIOProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol of sockets, which tells that its connection has ended."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if (leave := self.app_state.get(LEAVE)) is not None:
            leave()


class AsgiSocket:
    """One connection; the `Socket` of its session."""

    __slots__ = (
        "_backlog",
        "_close",
        "_limits",
        "_message_bytes",
        "_out",
        "_oversize",
        "_sent",
        "_sent_since",
        "_sent_then",
        "_task",
        "_wake",
        "_websocket",
        "_wheel",
        "at_fault",
        "frame_bytes",
        "session",
        "slot",
        "writable",
    )

    def __init__(self, websocket: WebSocket, limits: Limits, wheel: TimerWheel, message_bytes: int) -> None:
        self.frame_bytes = self._message_bytes = message_bytes
        self._websocket = websocket
        self._limits = limits
        self._wheel = wheel
        self._task = asyncio.current_task()
        self._out: deque[bytes] = deque()
        self._backlog = 0
        self._oversize = 0
        self._sent = self._sent_then = 0
        self._sent_since = wheel.now
        self._wake = asyncio.Event()
        self._close: tuple[int, str] | None = None
        self.at_fault = False
        self.session: Session | None = None
        self.slot = 0
        self.writable = True

    @staticmethod
    def frame(payload: bytes) -> bytes:
        """Return the payload and a newline. JSON contains no bare newline, so `write` can split frames at it."""
        return payload + b"\n"

    @property
    def closing(self) -> bool:
        return self._close is not None

    def write(self, data: bytes) -> None:
        for payload in data.split(b"\n"):
            if payload:
                self.send(payload)

    def send(self, payload: bytes) -> None:
        if self._close is None:
            limit = self._limits.backlog_bytes
            if not self.writable and self._backlog - self._oversize > limit:
                self.close(CloseCode.SLOW, close_reasons.TOO_SLOW)
                return
            if len(payload) > limit:
                self._oversize += len(payload)
            self._out.append(payload)
            self._backlog += len(payload)
            if self.writable and self._backlog > self._limits.high_water:
                self.writable = False
                self._sent_then, self._sent_since = self._sent, self._wheel.now
                self._wheel.watch(self, self._limits.tick_seconds)
            self._wake.set()

    def flush(self) -> None:
        """Do nothing: the task writes at the end of this turn of the loop."""

    def close(self, code: int, reason: str = "") -> None:
        if self._close is None:
            self._close = (code, truncate_reason(reason))
            self.writable = False
            self._wake.set()
            self._wheel.watch(self, self._limits.close_seconds)

    def limit_message(self, limit: int | None) -> None:
        self.frame_bytes = self._message_bytes if limit is None else min(limit, self._message_bytes)

    def fail(self, code: int, reason: str) -> None:
        """Close the connection because of what the client sent."""
        if self._close is None:
            self.at_fault = True
            self.close(code, reason)

    def fail_session(self) -> None:
        self.close(close_reasons.INTERNAL_ERROR, close_reasons.SERVER_ERROR)

    async def run(self) -> None:
        """Send everything as fast as the client reads, until the close is sent."""
        try:
            while self._out or self._close is None:
                if not self._out:
                    self._wake.clear()
                    await self._wake.wait()
                while self._out:
                    data = self._out.popleft()
                    await self._websocket.send_text(data.decode())
                    self._backlog -= len(data)
                    self._sent += 1
                    if not self.writable and self._backlog <= self._limits.low_water:
                        self._resume()
            await self._websocket.close(*self._close)
        except (WebSocketDisconnect, RuntimeError):
            # The reading side notices it too, and ends the session.
            self._out.clear()

    def due(self) -> float:
        now, limits = self._wheel.now, self._limits
        if self._close is not None:
            self._abort()
            return 0
        if self.writable:
            return 0
        if self._sent != self._sent_then:
            self._sent_then, self._sent_since = self._sent, now
        elif now - self._sent_since >= limits.stall_seconds:
            self.close(CloseCode.SLOW, close_reasons.TOO_SLOW)
            return 0
        return limits.tick_seconds

    def _resume(self) -> None:
        if self._close is None:
            self.writable = True
            self._oversize = 0
            if self.session is not None:
                try:
                    self.session.resumed()
                except Exception:
                    logger.exception(close_reasons.SESSION_FAILED)
                    self.fail_session()

    def _abort(self) -> None:
        transport = self._websocket.scope.get("state", {}).get(TRANSPORT)
        if transport is not None:
            transport.abort()
        elif self._task is not None:
            self._task.cancel()


class AsgiHandler:
    """The endpoints as one handler of Starlette."""

    def __init__(
        self, endpoints: Sequence[Endpoint], limits: Limits, origins: Origins, wheel: TimerWheel
    ) -> None:
        self._endpoints = EndpointTable(endpoints)
        self._limits = limits
        self._origins = origins
        self._wheel = wheel

    async def endpoint(self, websocket: WebSocket) -> None:
        scope = websocket.scope
        path = scope["raw_path"].decode("ascii").removeprefix(scope.get("root_path", ""))
        target = f"{path}?{scope['query_string'].decode('ascii')}"
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        client = scope["client"]
        try:
            endpoint, handshake = admit(
                self._endpoints, self._origins, target, headers, client[0] if client else ""
            )
        except RefusedError as refused:
            await websocket.send_denial_response(PlainTextResponse(f"{refused.message}\n", refused.status))
            return
        await websocket.accept(subprotocol=handshake.subprotocol)
        largest = endpoint.max_frame_bytes
        largest = self._limits.frame_bytes if largest is None else largest
        socket = AsgiSocket(websocket, self._limits, self._wheel, largest)
        try:
            socket.session = endpoint.open(handshake, socket)
        except Exception:
            logger.exception(close_reasons.SESSION_FAILED)
            socket.fail_session()
        writer = asyncio.create_task(socket.run())
        try:
            await self._read(websocket, socket, endpoint)
        finally:
            if not socket.closing:  # otherwise the timer ends the connection
                self._wheel.forget(socket)
            writer.cancel()
            session, socket.session = socket.session, None
            if session is not None:
                try:
                    session.closed()
                except Exception:
                    logger.exception(close_reasons.SESSION_FAILED)

    async def _read(self, websocket: WebSocket, socket: AsgiSocket, endpoint: Endpoint) -> None:
        limits = self._limits
        rate = (
            limits.frames_per_second
            if endpoint.max_frames_per_second is None
            else endpoint.max_frames_per_second
        )
        rate_limiter = RateLimiter(rate, limits.frames_burst_seconds)
        while (message := await websocket.receive())["type"] != "websocket.disconnect":
            if socket.closing or socket.session is None:
                continue
            text: Any = message.get("text")
            binary_session = socket.session if isinstance(socket.session, BinarySession) else None
            if text is None and binary_session is None:
                socket.fail(close_reasons.UNSUPPORTED, close_reasons.TEXT_ONLY)
            elif not rate_limiter.allows(self._wheel.now):
                socket.fail(close_reasons.POLICY, close_reasons.TOO_MANY)
            elif text is None and binary_session is not None:
                if not binary_session.binary():
                    socket.fail(close_reasons.UNSUPPORTED, close_reasons.TEXT_ONLY)
            elif len(payload := text.encode()) > socket.frame_bytes:
                socket.fail(close_reasons.TOO_BIG, close_reasons.too_big(socket.frame_bytes))
            else:
                try:
                    socket.session.received(payload)
                except Exception:
                    logger.exception(close_reasons.SESSION_FAILED)
                    socket.fail_session()
        # The library closes by itself on an invalid frame or text, and reports the code.
        socket.at_fault |= not socket.closing and message.get("code") in close_reasons.FAULTS


def mount(
    app: Starlette,
    endpoints: Sequence[Endpoint],
    *,
    limits: Limits | None = None,
    origins: Origins | None = None,
    wheel: TimerWheel | None = None,
) -> None:
    """Make `app` (a FastAPI is one) accept every WebSocket and route it to `endpoints`."""
    limits = limits or Limits()
    clock = wheel if wheel is not None else TimerClock(limits.tick_seconds)
    endpoint = AsgiHandler(endpoints, limits, origins or Origins(), clock).endpoint
    app.router.routes.insert(0, WebSocketRoute("/{path:path}", endpoint))
