"""Keys made as `legato key` makes them: through another connection to the database of a running server."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from legato.api.key_cache import digest_of, new_key
from legato.gateway.server import Server
from legato.gateway.wiring import open_database
from legato.storage.api_base import ApiKeyRecord
from legato.storage.sql.api_store import SqlApiStore

SECRET = "a secret that is long enough for HS256"


@asynccontextmanager
async def store_of(server: Server) -> AsyncIterator[SqlApiStore]:
    storage = open_database(server.settings)
    await storage.open()
    try:
        yield SqlApiStore(storage.database)
    finally:
        await storage.close()


async def make_key(server: Server, name: str = "k", user: str = "ann", **fields: Any) -> str:
    key = new_key()
    async with store_of(server) as store:
        await store.add_key(ApiKeyRecord(f"key_{name}", user, name, digest_of(key), time.time(), **fields))
    return key


async def revoke(server: Server, name: str = "k") -> None:
    async with store_of(server) as store:
        assert await store.revoke_key(f"key_{name}", time.time())
