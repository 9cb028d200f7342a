"""Searches over HTTP: one that nobody waits for any more is stopped."""

import asyncio
import threading
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from legato.storage.sql import search

from .server import calling, serving, settings_for

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def test_a_search_ends_with_its_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, stopped = threading.Event(), threading.Event()

    def find(connection: Connection, **_: object) -> None:
        began.set()
        try:
            connection.exec_driver_sql(ENDLESS)
        except OperationalError:
            stopped.set()
            raise

    # The deadline would end it too.
    monkeypatch.setattr("legato.storage.sql.store.SEARCH_SECONDS", 600.0)
    async with serving(settings_for(tmp_path)) as server, calling(server) as http:
        with monkeypatch.context() as patched:
            patched.setattr(search, "find", find)
            async with aiohttp.ClientSession(server.address) as leaving:
                asking = asyncio.create_task(leaving.get("/api/conversations?q=x"))
                assert await asyncio.to_thread(began.wait, 10)
                asking.cancel()
            assert await asyncio.to_thread(stopped.wait, 60)
        async with http.get("/api/conversations?q=x") as response:
            assert (await response.json())["conversations"] == []


async def test_a_search_that_takes_too_long_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(connection: Connection, **_: object) -> None:
        connection.exec_driver_sql(ENDLESS)

    monkeypatch.setattr(search, "find", find)
    monkeypatch.setattr("legato.storage.sql.store.SEARCH_SECONDS", 0.05)
    async with serving(settings_for(tmp_path)) as server, calling(server) as http:
        async with http.get("/api/conversations?q=x") as response:
            assert response.status == 503
            error = (await response.json())["error"]
        assert error["code"] == "timeout"
        assert "took too long" in error["message"]
