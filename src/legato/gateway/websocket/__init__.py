"""The WebSocket transport: frames and sockets. The sessions of `legato.dialects` interpret the messages."""

from collections.abc import Sequence
from typing import Any, Literal

from starlette.applications import Starlette

from legato.dialects.base import Endpoint
from legato.gateway.websocket import asgi, direct
from legato.gateway.websocket.connection_limiter import ConnectionLimiter
from legato.gateway.websocket.http_timeouts import http_class
from legato.gateway.websocket.limits import Limits
from legato.gateway.websocket.origins import Origins
from legato.gateway.websocket.path_prefix import PathPrefix
from legato.gateway.websocket.timer_wheel import TimerClock

__all__ = ["ConnectionLimiter", "Limits", "Origins", "PathPrefix", "open_endpoints"]


def open_endpoints(
    app: Starlette,
    endpoints: Sequence[Endpoint],
    *,
    transport: Literal["direct", "asgi"] = "direct",
    limits: Limits | None = None,
    origins: Origins | None = None,
    prefix: PathPrefix | None = None,
    connections: ConnectionLimiter | None = None,
) -> dict[str, Any]:
    """Make `app` accept WebSockets at `endpoints`. Return the further arguments of `uvicorn.Config`.

    `uvicorn.Config(app, host=…, port=…, **open_endpoints(app, endpoints))`. Over ASGI, `PrefixMiddleware` applies `prefix`.
    """
    limits = limits or Limits()
    wheel = TimerClock(limits.tick_seconds)
    http = http_class(limits, wheel, connections)
    if transport == "direct":
        return {
            "http": http,
            "ws": direct.protocol_class(
                endpoints, limits=limits, origins=origins, wheel=wheel, prefix=prefix
            ),
        }
    asgi.mount(app, endpoints, limits=limits, origins=origins, wheel=wheel)
    largest = max([limits.frame_bytes, *(endpoint.max_frame_bytes or 0 for endpoint in endpoints)])
    return {
        "http": http,
        "ws": asgi.CountedSansIOProtocol,
        "ws_max_size": largest,
        "ws_ping_interval": limits.ping_seconds,
        "ws_ping_timeout": limits.silent_seconds - limits.ping_seconds,
        "ws_per_message_deflate": False,
    }
