"""A proxy that ends each streamed response after a few server-sent events, as a network that cuts connections does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web


class EventCutter:
    """Forwards requests to `upstream`. Each streamed response ends after `events` of them, until `cuts` were made.

    `requests` are the method and the path, with the query, of all requests.
    """

    def __init__(self, upstream: str, events: int, cuts: int) -> None:
        self._upstream = upstream
        self._events = events
        self._cuts = cuts
        self.requests: list[str] = []
        self.address = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["EventCutter"]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._forward)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        async with (
            aiohttp.ClientSession() as http,
            http.request(
                request.method,
                f"{self._upstream}{request.path_qs}",
                data=await request.read(),
                headers={"content-type": "application/json"},
            ) as answer,
        ):
            response = web.StreamResponse(status=answer.status)
            response.content_type = answer.content_type
            await response.prepare(request)
            told = 0
            async for line in answer.content:
                await response.write(line)
                told += line == b"\n"
                if self._cuts and told == self._events and answer.content_type == "text/event-stream":
                    self._cuts -= 1
                    break
            await response.write_eof()
            return response
