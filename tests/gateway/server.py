"""A whole server in the test's own loop, on a free port, and the plain clients that tests use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from legato.gateway.server import Server
from legato.gateway.settings import Settings


def settings_for(folder: Path, **sections: dict[str, Any]) -> Settings:
    """The settings of a test's server: everything as it is without a file, but for where it is and what is said here."""
    server = {"port": 0, "data_dir": folder, **sections.pop("server", {})}
    assistants = sections.pop("assistants", {"default": {"engine": "demo", "model": "demo:echo"}})
    return Settings(server=server, assistants=assistants, **sections)  # type: ignore[arg-type]


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Server]:
    """The server while it runs; it is told to stop, and ends, with the context."""
    server = Server(settings)
    running = asyncio.create_task(server.run())
    started = asyncio.create_task(server.started.wait())
    await asyncio.wait([running, started], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        started.cancel()
        running.result()
    try:
        yield server
    finally:
        server.stop()
        server.stop()
        assert await running == 0


@asynccontextmanager
async def calling(server: Server, token: str | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(server.address, headers=headers) as http:
        yield http
