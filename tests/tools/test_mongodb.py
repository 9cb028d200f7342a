"""The document tools against a server that speaks MongoDB's wire protocol."""

import asyncio
import gc
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.services import MongoServer, mongo_server

from legato.errors import SettingsError, ToolError
from legato.tools.base import Context
from legato.tools.mongodb.toolset import MongoTools

from .conftest import BOB, run

pytestmark = [
    pytest.mark.mongodb,
    # A client that is closed while it connects in vain leaves its socket to the garbage collector (pymongo 4.16).
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


async def found(tools: MongoTools, **arguments: Any) -> list[dict[str, Any]]:
    return list(json.loads(await run(tools, "find_documents", arguments))["documents"])


async def test_documents_are_found_counted_and_added_up(tools: MongoTools) -> None:
    (grace,) = await found(tools, filter={"nights": {"$gte": 2}}, projection=["guest", "from"])
    assert grace == {
        "_id": {"$oid": "507f1f77bcf86cd799439011"},
        "guest": "Grace",
        "from": {"$date": "2026-01-31T12:00:00Z"},
    }
    assert [each["guest"] for each in await found(tools, sort={"nights": 1})] == ["Alan", "Grace"]
    assert json.loads(await run(tools, "count_documents", {"filter": {"guest": "Alan"}})) == {"count": 1}
    pipeline = [
        {"$group": {"_id": None, "nights": {"$sum": "$nights"}}},
        {"$project": {"_id": 0, "nights": 1}},
    ]
    summed = await run(tools, "aggregate", {"collection": "bookings", "pipeline": pipeline})
    assert json.loads(summed)["documents"] == [{"nights": 4}]


async def test_an_id_and_a_time_can_be_asked_for_as_they_were_shown(tools: MongoTools) -> None:
    (by_id,) = await found(tools, filter={"_id": {"$oid": "507f1f77bcf86cd799439011"}})
    (by_time,) = await found(tools, filter={"from": {"$date": "2026-01-31T12:00:00Z"}})
    assert by_id == by_time


async def test_collections_are_listed_with_the_fields_of_one_of_the_users_own(tools: MongoTools) -> None:
    listed = json.loads(await run(tools, "list_collections", {}))
    (bookings,) = listed["collections"]
    assert bookings["name"] == "bookings"
    assert "guest" in bookings["fields"]
    stranger = json.loads(await run(tools, "list_collections", {}, Context("nobody", "c", "r")))
    assert stranger["collections"] == [{"name": "bookings", "fields": []}]


async def test_each_user_reads_their_own(tools: MongoTools) -> None:
    assert len(await found(tools)) == 2
    theirs = await run(tools, "find_documents", {}, BOB)
    assert "SECRET of bob" in theirs
    assert "Grace" not in theirs


@pytest.mark.parametrize(
    "filter_",
    [
        {"owner": {"$ne": None}},
        {"owner": {"$ne": "ada"}},
        {"owner": "bob"},
        {"$or": [{"owner": "bob"}, {"owner": {"$exists": False}}]},
        {"$nor": [{"owner": "ada"}]},
        {"owner": {"$in": ["bob", None]}},
        {"owner": {"$not": {"$eq": "ada"}}},
        {"owner": {"$regex": ".*"}},
        {"guest": {"$regex": "SECRET"}},
        {},
    ],
    ids=repr,
)
async def test_nothing_that_is_let_through_widens_it(tools: MongoTools, filter_: dict[str, Any]) -> None:
    said = await run(tools, "find_documents", {"filter": filter_})
    said += await run(tools, "aggregate", {"collection": "bookings", "pipeline": [{"$match": filter_}]})
    assert "SECRET" not in said
    assert json.loads(await run(tools, "count_documents", {"filter": filter_}))["count"] <= 2


FIELDS = st.sampled_from(["owner", "guest", "nights", "status", "_id", "rooms", "address.city"])
SCALARS = st.sampled_from([None, True, "ada", "bob", "Grace", "SECRET of bob", 1, 2, 99.0, "", "open"])
CONDITIONS = SCALARS | st.one_of(
    st.dictionaries(st.sampled_from(["$ne", "$eq", "$gt", "$lte"]), SCALARS, min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(["$in", "$nin"]), st.lists(SCALARS, max_size=3), min_size=1),
    st.builds(lambda yes: {"$exists": yes}, st.booleans()),
    st.builds(lambda word: {"$not": {"$eq": word}}, SCALARS),
    st.builds(lambda text: {"$regex": text}, st.sampled_from([".*", "SEC", "^S", "b"])),
)
FILTERS = st.recursive(
    st.dictionaries(FIELDS, CONDITIONS, max_size=2),
    lambda inner: st.dictionaries(
        st.sampled_from(["$and", "$or", "$nor"]),
        st.lists(inner, min_size=1, max_size=3),
        min_size=1,
        max_size=2,
    ),
    max_leaves=6,
)
STAGES = st.one_of(
    st.builds(lambda each: {"$match": each}, FILTERS),
    st.sampled_from(
        [
            {"$group": {"_id": "$owner", "all": {"$push": "$$ROOT"}}},
            {"$addFields": {"owner": "bob"}},
            {"$unset": "owner"},
            {"$project": {"doc": "$$ROOT"}},
            {"$unwind": "$rooms"},
            {"$sort": {"guest": -1}},
            {"$skip": 0},
            {"$sortByCount": "$guest"},
        ]
    ),
)


Ask = Callable[[str, dict[str, Any]], str]


@pytest.fixture
def ask(mongodb: MongoServer) -> Iterator[Ask]:
    """What a tool says, or an empty text where it refuses: for tests that are no coroutines."""
    tools = MongoTools(
        "m", uri=mongodb.uri, database="pms", collections=["bookings"], owner_field="owner", max_rows=10
    )

    async def said(name: str, arguments: dict[str, Any]) -> str:
        try:
            return await run(tools, name, arguments)
        except ToolError:
            return ""

    with asyncio.Runner() as runner:
        runner.run(tools.open())
        yield lambda name, arguments: runner.run(said(name, arguments))
        runner.run(tools.close())


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter_=FILTERS)
def test_no_filter_gives_a_document_of_another_owner_or_collection(ask: Ask, filter_: dict[str, Any]) -> None:
    said = ask("find_documents", {"collection": "bookings", "filter": filter_})
    assert "SECRET" not in said
    if said:
        assert all(each["owner"] == "ada" for each in json.loads(said)["documents"])


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stages=st.lists(STAGES, max_size=4))
def test_no_pipeline_gives_a_document_of_another_owner_or_collection(ask: Ask, stages: list[Any]) -> None:
    assert "SECRET" not in ask("aggregate", {"collection": "bookings", "pipeline": stages})


async def test_rows_and_bytes_are_bounded_and_the_cut_is_reported(mongodb: MongoServer) -> None:
    few = MongoTools(
        "m", uri=mongodb.uri, database="pms", collections=["bookings"], owner_field="owner", max_rows=1
    )
    short = MongoTools(
        "m", uri=mongodb.uri, database="pms", collections=["bookings"], owner_field="owner", max_bytes=256
    )
    for tools in (few, short):
        await tools.open()
        for name in ("find_documents", "aggregate"):
            arguments: dict[str, Any] = {"pipeline": []} if name == "aggregate" else {}
            said = json.loads(await run(tools, name, arguments))
            assert (said["count"], said["truncated"]) == (1, True)
        await tools.close()


async def test_a_store_that_was_never_there_is_noticed(free_tcp_port: int) -> None:
    tools = MongoTools(
        "m",
        uri=f"mongodb://127.0.0.1:{free_tcp_port}",
        database="d",
        collections=["c"],
        unreachable_ms=200,
        max_time_ms=200,
    )
    await tools.open()
    with pytest.raises(ToolError, match="cannot be reached"):
        await run(tools, "count_documents", {})
    await tools.close()


async def test_a_store_that_says_nothing_is_noticed() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    tools = MongoTools(
        "m",
        uri=f"mongodb://127.0.0.1:{port}",
        database="d",
        collections=["c"],
        unreachable_ms=200,
        max_time_ms=200,
    )
    await tools.open()
    with pytest.raises(ToolError, match="cannot be reached"):
        await run(tools, "find_documents", {})
    await tools.close()
    server.close()
    await server.wait_closed()


async def test_a_store_that_dies_is_reported_and_one_that_is_back_is_read() -> None:
    with mongo_server() as server:
        tools = MongoTools(
            "m", uri=server.uri, database="d", collections=["c"], unreachable_ms=300, max_time_ms=300
        )
        await tools.open()
        assert json.loads(await run(tools, "count_documents", {})) == {"count": 0}
        server.stop()
        with pytest.raises(ToolError, match="cannot be reached"):
            await run(tools, "count_documents", {})
        await tools.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"uri": "http://x", "database": "d", "collections": ["c"]},
        {"uri": "mongodb://127.0.0.1", "collections": ["c"]},
        {"uri": "mongodb://127.0.0.1", "database": "d", "collections": []},
        {"uri": "mongodb://127.0.0.1", "database": "a b/c", "collections": ["c"]},
    ],
    ids=repr,
)
async def test_what_cannot_be_stops_the_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"\[tools\.m\]"):
        await MongoTools("m", **wrong).open()


async def test_approval_is_by_tool_or_for_all() -> None:
    def asking(*names: str) -> list[str]:
        tools = MongoTools("m", collections=["c"], approval=names).tools
        return [tool.spec.name for tool in tools if tool.approval]

    assert asking() == []
    assert asking("aggregate") == ["aggregate"]
    assert len(asking("*")) == 4


@pytest.fixture
def free_tcp_port() -> Iterator[int]:
    """A port that nobody listens on, kept while the test runs."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]
