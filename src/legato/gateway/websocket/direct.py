"""The token path: an `asyncio.Protocol` that uvicorn takes as `ws=`, and that no task, queue or lock passes through.

uvicorn hands over the transport and the request that asked for the upgrade. From then on a message goes from
`data_received` into the session, and a frame from the session into `transport.write`, in the same turn of the loop.
"""

import asyncio
import logging
from collections.abc import Sequence
from enum import IntEnum
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from legato.broker.rate_limit import RateLimiter
from legato.dialects.base import BinarySession, Endpoint, Session
from legato.gateway.websocket import close_reasons
from legato.gateway.websocket.frame_parser import PING_FRAME, FrameParser, quiet, text_frame
from legato.gateway.websocket.handshake import EndpointTable, RefusedError, admit
from legato.gateway.websocket.limits import Limits
from legato.gateway.websocket.origins import Origins
from legato.gateway.websocket.timer_wheel import TimerClock, TimerWheel
from legato.protocol.close_codes import CloseCode

logger = logging.getLogger(__name__)


class Phase(IntEnum):
    OPENING = 0
    OPEN = 1
    CLOSING = 2
    GONE = 3


OPENING, OPEN, CLOSING, GONE = Phase
# Looking one up in the class costs a tenth of a microsecond, for each token.


class SocketServer:
    """What all sockets of a server share."""

    __slots__ = ("_late", "_proxies", "doors", "limits", "origins", "wheel")

    def __init__(
        self, doors: Sequence[Endpoint], limits: Limits, origins: Origins, wheel: TimerWheel
    ) -> None:
        self.doors = EndpointTable(doors)
        self.limits = limits
        self.origins = origins
        self.wheel = wheel
        self._late: list[DirectSocket] = []
        self._proxies: ProxyHeadersMiddleware | None = None

    def flush_soon(self, late: "DirectSocket") -> None:
        """`late` sends when this turn of the loop is over, with all others that do."""
        if not self._late:
            asyncio.get_running_loop().call_soon(self._flush)
        self._late.append(late)

    def _flush(self) -> None:
        late, self._late = self._late, []
        for each in late:
            each.flush()

    def client(self, config: Config, transport: asyncio.Transport, request: Request) -> str:
        """Who called: the address that a trusted proxy names, or the other end of the connection."""
        scope: Any = {"type": "websocket", "client": get_remote_addr(transport), "headers": []}
        if config.proxy_headers and "X-Forwarded-For" in request.headers:
            if self._proxies is None:
                self._proxies = ProxyHeadersMiddleware(_nothing, config.forwarded_allow_ips)
            forwarded = [value.encode("latin-1") for value in request.headers.get_all("X-Forwarded-For")]
            scope["headers"] = [(b"x-forwarded-for", value) for value in forwarded]
            # It awaits nothing but `_nothing`, so that one step is the whole of it.
            step = self._proxies(scope, _unused, _unused)
            try:
                step.send(None)
            except StopIteration:
                step.close()
        client = scope["client"]
        return str(client[0]) if client else ""


async def _nothing(*_: Any) -> None:
    pass


async def _unused(*_: Any) -> Any:
    raise NotImplementedError


class DirectSocket(FrameParser, asyncio.Protocol):
    """One connection; the `Socket` of its session. Made by `protocol_class`.

    Frames collect in a list during a turn of the loop and leave with one `transport.write`. The transport tells when it
    holds too much; then the socket is not `writable`, and viewers wait.
    """

    __slots__ = (
        "_config",
        "_connections",
        "_heard",
        "_long",
        "_out",
        "_owed",
        "_owed_since",
        "_pending",
        "_phase",
        "_session",
        "_soon",
        "_transport",
        "slot",
        "writable",
    )

    hub: ClassVar[SocketServer]

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__()
        self._config = config
        self._connections: set[Any] = server_state.connections
        self._heard = self.hub.wheel.now
        self._long = 0
        self._out: list[bytes] = []
        self._owed = 0
        self._owed_since = 0.0
        self._pending = 0
        self._phase = OPENING
        self._session: Session | None = None
        self._soon = False
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
        """As uvicorn's own protocols have it."""
        return self._transport

    @property
    def owed(self) -> int:
        """Bytes that were sent and that the kernel has not taken."""
        return self._pending + self._transport.get_write_buffer_size()

    # The transport speaks.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._connections.add(self)
        # uvicorn does this after the handshake only, and `pause_writing` would be told to the wrong one until then.
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        now = self.hub.wheel.now
        self._heard = now
        if self._phase is GONE:
            return
        self._soon = True
        if self._phase is OPENING:
            self._open(data)
        else:
            self.feed(data, now)
        self._soon = False
        if self._out:
            self.flush()

    def pause_writing(self) -> None:
        self.writable = False
        self._owed = self._transport.get_write_buffer_size()
        self._owed_since = self.hub.wheel.now
        self._long = self._owed if self._owed > self.hub.limits.owed_bytes else 0
        if self._phase is OPEN:
            self.hub.wheel.watch(self, self.hub.limits.tick_seconds)

    def resume_writing(self) -> None:
        if self._phase is OPEN:
            self.writable = True
            self._heard = self.hub.wheel.now
            if self._session is not None:
                try:
                    self._session.resumed()
                except Exception:
                    logger.exception(close_reasons.SESSION_FAILED)
                    self._broke()

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = GONE
        self.writable = False
        self.hub.wheel.forget(self)
        self._connections.discard(self)
        self._out.clear()
        self._leave()

    def shutdown(self) -> None:
        """uvicorn drains: every client is told to come back."""
        if self._phase is OPENING:
            self._transport.close()
        self.close(CloseCode.GOING_AWAY, close_reasons.GOING_AWAY)

    # The session speaks.

    def write(self, data: bytes) -> None:
        if self._phase is OPEN:
            self._out.append(data)
            self._pending += len(data)
            if self._pending >= self.hub.limits.high_water:
                self.flush()

    def flush(self) -> None:
        self._soon = False
        out = self._out
        if not out:
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._pending = 0
        if not self.writable:
            limit = self.hub.limits.owed_bytes
            if self._transport.get_write_buffer_size() - self._long > limit:
                self.close(CloseCode.SLOW, close_reasons.TOO_SLOW)
                return
            if len(data) > limit:
                self._long += len(data)
        self._transport.write(data)

    def send(self, payload: bytes) -> None:
        if self._phase is OPEN:
            self.write(text_frame(payload))
            if not self._soon:
                self._soon = True
                self.hub.flush_soon(self)

    def close(self, code: int, reason: str = "") -> None:
        if self._phase is OPEN:
            self.flush()
        if self._phase is OPEN:
            self._phase = CLOSING
            self.writable = False
            self._transport.write(self.close_frame(code, reason))
            self.hub.wheel.watch(self, self.hub.limits.close_seconds)

    # The reader speaks.

    def on_text(self, payload: bytes) -> None:
        session = self._session
        if session is not None:
            try:
                session.received(payload)
            except Exception:
                logger.exception(close_reasons.SESSION_FAILED)
                self._broke()

    def on_binary(self) -> bool:
        session = self._session
        return isinstance(session, BinarySession) and session.binary()

    def on_reply(self, data: bytes) -> None:
        self.write(data)

    def on_end(self, code: int) -> None:
        """Goodbye is said: let the client read what is on its way, and hang up."""
        self.flush()
        self._phase = CLOSING
        self.writable = False
        transport = self._transport
        if transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()
        else:
            transport.close()
        self.hub.wheel.watch(self, self.hub.limits.close_seconds)
        self._leave()

    # The wheel looks.

    def due(self) -> float:
        limits, now = self.hub.limits, self.hub.wheel.now
        if self._phase is not OPEN:
            self._transport.abort()
            return 0
        if not self.writable:
            owed = self._transport.get_write_buffer_size()
            if owed < self._owed:
                self._owed, self._owed_since = owed, now
                self._heard = now
            elif now - self._owed_since >= limits.stall_seconds:
                self.close(CloseCode.SLOW, close_reasons.TOO_SLOW)
                return 0
            return limits.tick_seconds
        silence = now - self._heard
        if silence >= limits.silent_seconds:
            self.close(CloseCode.SILENT, close_reasons.TOO_SILENT)
            self._transport.abort()
            return 0
        if silence >= limits.ping_seconds:
            self._transport.write(PING_FRAME)
            return limits.silent_seconds - silence
        return limits.ping_seconds - silence

    def _leave(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            try:
                session.closed()
            except Exception:
                logger.exception(close_reasons.SESSION_FAILED)

    def _broke(self) -> None:
        self.close(close_reasons.INTERNAL_ERROR, close_reasons.BROKE)

    # The handshake.

    def _open(self, data: bytes) -> None:
        protocol = ServerProtocol(logger=quiet)
        protocol.receive_data(data)
        request = next(iter(protocol.events_received()), None)
        if not isinstance(request, Request):
            answer = b"".join(protocol.data_to_send())
            self._turn_away(
                answer or protocol.reject(HTTPStatus.BAD_REQUEST, "This is not a request.\n").serialize()
            )
            return
        response = protocol.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._turn_away(response.serialize())
            return
        client = self.hub.client(self._config, self._transport, request)
        try:
            door, handshake = admit(
                self.hub.doors, self.hub.origins, request.path, request.headers.raw_items(), client
            )
        except RefusedError as refused:
            self._turn_away(protocol.reject(refused.status, f"{refused.message}\n").serialize())
            return
        if handshake.subprotocol is not None:
            response.headers["Sec-WebSocket-Protocol"] = handshake.subprotocol
        self._welcome(door, response)
        try:
            self._session = door.open(handshake, self)
        except Exception:
            logger.exception(close_reasons.SESSION_FAILED)
            self._broke()

    def _welcome(self, door: Endpoint, response: Response) -> None:
        limits, transport = self.hub.limits, self._transport
        rate = limits.frames_per_second if door.max_frames_per_second is None else door.max_frames_per_second
        self.frame_bytes = limits.frame_bytes if door.max_frame_bytes is None else door.max_frame_bytes
        self.pace = RateLimiter(rate, limits.frames_burst_seconds) if rate else None
        transport.set_write_buffer_limits(limits.high_water, limits.low_water)
        self._phase = OPEN
        self.writable = True
        self.hub.wheel.watch(self, limits.ping_seconds)
        transport.write(response.serialize())

    def _turn_away(self, response: bytes) -> None:
        self._phase = GONE
        self._transport.write(response)
        self._transport.close()
        self.hub.wheel.watch(self, self.hub.limits.close_seconds)


def protocol_class(
    doors: Sequence[Endpoint],
    *,
    limits: Limits | None = None,
    origins: Origins | None = None,
    wheel: TimerWheel | None = None,
) -> type[DirectSocket]:
    """A class for uvicorn's `ws=`. Its sockets lead to `doors`, and share one timer, which may be given as `wheel`."""
    limits = limits or Limits()
    hub = SocketServer(
        doors, limits, origins or Origins(), wheel if wheel is not None else TimerClock(limits.tick_seconds)
    )
    return type("DirectSocket", (DirectSocket,), {"__slots__": (), "hub": hub})
