"""Tools, and a server of documents that are somebody's."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from tests.services import MongoServer, mongo_server

from legato.tools.base import Context
from legato.tools.mongodb.toolset import MongoTools

ADA = Context("ada", "c1", "r1")
BOB = Context("bob", "c2", "r2")

OURS = ObjectId("507f1f77bcf86cd799439011")

BOOKINGS = [
    {
        "_id": OURS,
        "owner": "ada",
        "guest": "Grace",
        "nights": 3,
        "price": 120.5,
        "from": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "rooms": ["blue", "green"],
        "address": {"city": "Paris", "zip": None},
    },
    {"owner": "ada", "guest": "Alan", "nights": 1, "price": 80.0, "status": "open"},
    {"owner": "bob", "guest": "SECRET of bob", "nights": 2, "price": 99.0, "status": "open"},
    {"owner": None, "guest": "SECRET of nobody"},
    {"guest": "SECRET without an owner"},
    {"owner": {"$ne": None}, "guest": "SECRET of an odd owner"},
    {"owner": ["bob"], "guest": "SECRET of a list"},
]


@pytest.fixture(scope="session")
def mongodb() -> Iterator[MongoServer]:
    with mongo_server() as server:
        with MongoClient[dict[str, Any]](server.uri) as client:
            client["pms"]["bookings"].insert_many(
                [{**each} for each in BOOKINGS if each.get("owner") != {"$ne": None}]
            )
            client["pms"]["salaries"].insert_one({"owner": "ada", "guest": "SECRET salary"})
            client["other"]["bookings"].insert_one({"owner": "ada", "guest": "SECRET of another database"})
        yield server


@pytest.fixture
async def tools(mongodb: MongoServer) -> AsyncIterator[MongoTools]:
    tools = MongoTools(
        "mongodb", uri=mongodb.uri, database="pms", collections=["bookings"], owner_field="owner", max_rows=10
    )
    await tools.open()
    yield tools
    await tools.close()


async def run(tools: MongoTools, name: str, arguments: dict[str, Any], context: Context = ADA) -> str:
    """What the tool says.

    :raises ToolError: it fails.
    """
    tool = next(tool for tool in tools.tools if tool.spec.name == name)
    return await tool.run(arguments, context)
