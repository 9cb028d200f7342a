"""The same contract through ASGI: the setting to fall back to, should the direct path ever be in the way.

A task per connection writes what the session said, a message a frame. It costs about twice the CPU and memory of the
direct path. Framing, ping, UTF-8 and the first cap on a message are uvicorn's own here, and so is the code at shutdown (1012).
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

from legato.broker.rate_limit import RateLimiter
from legato.dialects.base import BinarySession, Endpoint, Session
from legato.gateway.websocket import close_reasons
from legato.gateway.websocket.frame_parser import short
from legato.gateway.websocket.handshake import EndpointTable, RefusedError, admit
from legato.gateway.websocket.limits import Limits
from legato.gateway.websocket.origins import Origins
from legato.gateway.websocket.timer_wheel import TimerClock, TimerWheel
from legato.protocol.close_codes import CloseCode

logger = logging.getLogger(__name__)

TRANSPORT = "legato.transport"
"""Where the HTTP class leaves the transport, in the state of the connection: ASGI has no way to abort one."""


class AsgiSocket:
    """One connection; the `Socket` of its session."""

    __slots__ = (
        "_farewell",
        "_limits",
        "_long",
        "_out",
        "_owed",
        "_sent",
        "_sent_since",
        "_sent_then",
        "_task",
        "_wake",
        "_websocket",
        "_wheel",
        "at_fault",
        "session",
        "slot",
        "writable",
    )

    def __init__(self, websocket: WebSocket, limits: Limits, wheel: TimerWheel) -> None:
        self._websocket = websocket
        self._limits = limits
        self._wheel = wheel
        self._task = asyncio.current_task()
        self._out: deque[bytes] = deque()
        self._owed = 0
        self._long = 0
        self._sent = self._sent_then = 0
        self._sent_since = wheel.now
        self._wake = asyncio.Event()
        self._farewell: tuple[int, str] | None = None
        self.at_fault = False
        self.session: Session | None = None
        self.slot = 0
        self.writable = True

    @staticmethod
    def frame(payload: bytes) -> bytes:
        """What is framed is JSON, which has no bare newline: `write` finds the frames by it."""
        return payload + b"\n"

    @property
    def closing(self) -> bool:
        return self._farewell is not None

    def write(self, data: bytes) -> None:
        for payload in data.split(b"\n"):
            if payload:
                self.send(payload)

    def send(self, payload: bytes) -> None:
        if self._farewell is None:
            limit = self._limits.owed_bytes
            if not self.writable and self._owed - self._long > limit:
                self.close(CloseCode.SLOW, close_reasons.TOO_SLOW)
                return
            if len(payload) > limit:
                self._long += len(payload)
            self._out.append(payload)
            self._owed += len(payload)
            if self.writable and self._owed > self._limits.high_water:
                self.writable = False
                self._sent_then, self._sent_since = self._sent, self._wheel.now
                self._wheel.watch(self, self._limits.tick_seconds)
            self._wake.set()

    def flush(self) -> None:
        """Nothing to do: the task writes when this turn of the loop is over."""

    def close(self, code: int, reason: str = "") -> None:
        if self._farewell is None:
            self._farewell = (code, short(reason))
            self.writable = False
            self._wake.set()
            self._wheel.watch(self, self._limits.close_seconds)

    def fail(self, code: int, reason: str) -> None:
        """The client is wrong: say so, and hang up."""
        if self._farewell is None:
            self.at_fault = True
            self.close(code, reason)

    def broke(self) -> None:
        self.close(close_reasons.INTERNAL_ERROR, close_reasons.BROKE)

    async def run(self) -> None:
        """Write what there is, as fast as the client takes it, until the close is said."""
        try:
            while self._out or self._farewell is None:
                if not self._out:
                    self._wake.clear()
                    await self._wake.wait()
                while self._out:
                    data = self._out.popleft()
                    await self._websocket.send_text(data.decode())
                    self._owed -= len(data)
                    self._sent += 1
                    if not self.writable and self._owed <= self._limits.low_water:
                        self._resume()
            await self._websocket.close(*self._farewell)
        except (WebSocketDisconnect, RuntimeError):
            # The reading side is told of it as well, and ends the session.
            self._out.clear()

    def due(self) -> float:
        now, limits = self._wheel.now, self._limits
        if self._farewell is not None:
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
        if self._farewell is None:
            self.writable = True
            self._long = 0
            if self.session is not None:
                try:
                    self.session.resumed()
                except Exception:
                    logger.exception(close_reasons.SESSION_FAILED)
                    self.broke()

    def _abort(self) -> None:
        transport = self._websocket.scope.get("state", {}).get(TRANSPORT)
        if transport is not None:
            transport.abort()
        elif self._task is not None:
            self._task.cancel()


class AsgiEndpoints:
    """The doors as an endpoint of Starlette."""

    def __init__(
        self, doors: Sequence[Endpoint], limits: Limits, origins: Origins, wheel: TimerWheel
    ) -> None:
        self._doors = EndpointTable(doors)
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
            door, handshake = admit(self._doors, self._origins, target, headers, client[0] if client else "")
        except RefusedError as refused:
            await websocket.send_denial_response(PlainTextResponse(f"{refused.message}\n", refused.status))
            return
        await websocket.accept(subprotocol=handshake.subprotocol)
        socket = AsgiSocket(websocket, self._limits, self._wheel)
        try:
            socket.session = door.open(handshake, socket)
        except Exception:
            logger.exception(close_reasons.SESSION_FAILED)
            socket.broke()
        writer = asyncio.create_task(socket.run())
        try:
            await self._read(websocket, socket, door)
        finally:
            if not socket.closing:  # else the wheel sees to it that the client hangs up
                self._wheel.forget(socket)
            writer.cancel()
            session, socket.session = socket.session, None
            if session is not None:
                try:
                    session.closed()
                except Exception:
                    logger.exception(close_reasons.SESSION_FAILED)

    async def _read(self, websocket: WebSocket, socket: AsgiSocket, door: Endpoint) -> None:
        limits = self._limits
        limit = limits.frame_bytes if door.max_frame_bytes is None else door.max_frame_bytes
        rate = limits.frames_per_second if door.max_frames_per_second is None else door.max_frames_per_second
        pace = RateLimiter(rate, limits.frames_burst_seconds)
        while (message := await websocket.receive())["type"] != "websocket.disconnect":
            if socket.closing or socket.session is None:
                continue
            text: Any = message.get("text")
            forgiving = socket.session if isinstance(socket.session, BinarySession) else None
            if text is None and forgiving is None:
                socket.fail(close_reasons.UNSUPPORTED, close_reasons.TEXT_ONLY)
            elif not pace.allows(self._wheel.now):
                socket.fail(close_reasons.POLICY, close_reasons.TOO_MANY)
            elif text is None and forgiving is not None:
                if not forgiving.binary():
                    socket.fail(close_reasons.UNSUPPORTED, close_reasons.TEXT_ONLY)
            elif len(payload := text.encode()) > limit:
                socket.fail(close_reasons.TOO_BIG, close_reasons.too_big(limit))
            else:
                try:
                    socket.session.received(payload)
                except Exception:
                    logger.exception(close_reasons.SESSION_FAILED)
                    socket.broke()
        # The library hangs up by itself on what is no frame or no text, and tells with which code.
        socket.at_fault |= not socket.closing and message.get("code") in close_reasons.FAULTS


def mount(
    app: Starlette,
    doors: Sequence[Endpoint],
    *,
    limits: Limits | None = None,
    origins: Origins | None = None,
    wheel: TimerWheel | None = None,
) -> None:
    """Let `app` (a FastAPI is one) take every WebSocket, and lead it to `doors`."""
    limits = limits or Limits()
    turned = wheel if wheel is not None else TimerClock(limits.tick_seconds)
    endpoint = AsgiEndpoints(doors, limits, origins or Origins(), turned).endpoint
    app.router.routes.insert(0, WebSocketRoute("/{path:path}", endpoint))
