"""A server that is told to stop before it is up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from legato.gateway import server as server_module
from legato.gateway.server import Server
from legato.gateway.settings import Settings
from legato.gateway.wiring import Wired

from .server import settings_for


async def test_one_that_is_stopped_while_it_starts_ends_there_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting, closed = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def slow(settings: Settings) -> AsyncIterator[Wired]:
        starting.set()
        try:
            await asyncio.Event().wait()
            raise AssertionError
            yield
        finally:
            closed.set()

    monkeypatch.setattr(server_module, "wire", slow)
    server = Server(settings_for(tmp_path))
    running = asyncio.create_task(server.run())
    await starting.wait()
    server.stop()
    server.stop()
    assert await running == 0
    assert closed.is_set()
    assert not server.started.is_set()
