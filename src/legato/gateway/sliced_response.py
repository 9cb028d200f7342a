"""A response of any size that is made in slices while its client reads, so that neither the event loop nor memory holds all of it."""

import asyncio
from collections.abc import Iterable, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from legato.gateway.sse_response import disconnected

SLICE_BYTES = 64 * 1024
"""A slice is sent as soon as it has so many bytes."""


class SlicedResponse(Response):
    """Sends the pieces that `content` yields, joined to slices of about `SLICE_BYTES`.

    The next piece is made when the client has read enough of those before it. Each slice is one step of the event loop.
    """

    def __init__(
        self,
        content: Iterable[bytes],
        *,
        media_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._content = content
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        # Without `body` there is no `content-length`.
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        disconnect = asyncio.ensure_future(disconnected(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            waiting = bytearray()
            for piece in self._content:
                waiting += piece
                if len(waiting) < SLICE_BYTES:
                    continue
                await send({"type": "http.response.body", "body": bytes(waiting), "more_body": True})
                waiting.clear()
                # A client that reads fast never makes `send` wait.
                await asyncio.sleep(0)
                if disconnect.done():
                    return
            await send({"type": "http.response.body", "body": bytes(waiting)})
        finally:
            disconnect.cancel()
