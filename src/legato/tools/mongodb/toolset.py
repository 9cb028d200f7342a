"""The tools `find_documents`, `count_documents`, `aggregate` and `list_collections`, over pymongo's asynchronous client.

`legato.tools.mongodb.query_filter` decides what is permitted. Needs the extra `legato[mongodb]`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from bson.json_util import RELAXED_JSON_OPTIONS, dumps
from msgspec import Struct
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    ExecutionTimeout,
    InvalidName,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)

from legato.engines.base import ToolSpec
from legato.errors import SettingsError, ToolError
from legato.tools.base import Context
from legato.tools.mongodb.query_filter import QueryFilter, check_arguments

logger = logging.getLogger(__name__)

DEFAULT_URI = "mongodb://127.0.0.1:27017"

UNREACHABLE_MS = 4500
"""How long a server may be unreachable before a query fails."""

Document = dict[str, Any]


class _MongoTool(Struct, frozen=True):
    spec: ToolSpec
    approval: bool
    seconds: float
    act: Callable[[dict[str, Any], Context], Awaitable[str]]

    async def run(self, arguments: dict[str, Any], context: Context) -> str:
        return await self.act(arguments, context)


class MongoTools:
    """A `Toolset` that reads the `collections` of one database.

    With `owner_field`, only documents in which that field is the id of the user who asks. `approval` names the tools that need
    a person's approval (`*`: all). A query may take `max_time_ms` and return `max_rows`, of which `max_bytes` are returned. An
    unreachable server is detected half a second after `unreachable_ms`, which is 5 s, or after `max_time_ms` if that is longer.
    """

    def __init__(
        self,
        name: str,
        *,
        uri: str = DEFAULT_URI,
        database: str | None = None,
        collections: Collection[str],
        owner_field: str | None = None,
        max_rows: int = 50,
        max_time_ms: int = 4000,
        max_bytes: int = 16384,
        seconds: float = 30.0,
        approval: Collection[str] = (),
        unreachable_ms: int = UNREACHABLE_MS,
    ) -> None:
        """Store the settings.

        :raises SettingsError: there is no collection.
        """
        if not collections:
            raise SettingsError(f"[tools.{name}] needs `collections`: the names of those that may be read.")
        self._name = name
        self._filter = QueryFilter(collections, owner_field, max_rows)
        self._max_time_ms = max_time_ms
        self._max_bytes = max_bytes
        self._unreachable_ms = unreachable_ms
        self._timeout = max(unreachable_ms, max_time_ms) / 1000 + 0.5
        self._database_name = database
        self._uri = uri
        self._client: AsyncMongoClient[Document] | None = None
        self._database: AsyncDatabase[Document] | None = None
        self.tools = tuple(
            _MongoTool(spec, "*" in approval or spec.name in approval, seconds, act)
            for spec, act in self._specs()
        )

    @property
    def name(self) -> str:
        return self._name

    async def open(self) -> None:
        """Create the client. It connects at the first query."""
        try:
            self._client = AsyncMongoClient(
                self._uri,
                appname="legato",
                serverSelectionTimeoutMS=self._unreachable_ms,
                connectTimeoutMS=self._unreachable_ms,
                socketTimeoutMS=max(self._unreachable_ms, self._max_time_ms + 500),
                retryReads=False,
            )
            options: CodecOptions[Document] = CodecOptions(
                tz_aware=True,
                unicode_decode_error_handler="replace",
                datetime_conversion=DatetimeConversion.DATETIME_AUTO,
            )
            if self._database_name is not None:
                self._database = self._client.get_database(self._database_name, options)
            else:
                self._database = self._client.get_default_database().with_options(options)
        except (InvalidName, InvalidURI, ConfigurationError, ValueError) as error:
            await self.close()
            text = str(error).rstrip(".")
            raise SettingsError(
                f"[tools.{self._name}] uri or database cannot be used: {text[:1].lower()}{text[1:]}."
            ) from None

    async def reach(self) -> None:
        async def ping(database: AsyncDatabase[Document]) -> str:
            return dumps(await database.command("ping"))

        if self._client is None:
            await self.open()
        await self._query(ping)

    async def close(self) -> None:
        if self._client is not None:
            client, self._client, self._database = self._client, None, None
            await client.close()

    async def _find(self, arguments: dict[str, Any], context: Context) -> str:
        find = self._filter.find(arguments, context.user)

        async def ask(database: AsyncDatabase[Document]) -> str:
            async with database[find.collection].find(
                find.filter,
                find.fields,
                skip=find.skip,
                limit=find.rows + 1,
                sort=list(find.order.items()) if find.order else None,
                max_time_ms=self._max_time_ms,
            ) as cursor:
                return await rows_as_json(cursor, find.rows, self._max_bytes)

        return await self._query(ask)

    async def _count(self, arguments: dict[str, Any], context: Context) -> str:
        count = self._filter.count(arguments, context.user)

        async def ask(database: AsyncDatabase[Document]) -> str:
            number = await database[count.collection].count_documents(
                count.filter, maxTimeMS=self._max_time_ms
            )
            return dumps({"count": number})

        return await self._query(ask)

    async def _aggregate(self, arguments: dict[str, Any], context: Context) -> str:
        aggregate = self._filter.aggregate(arguments, context.user)

        async def ask(database: AsyncDatabase[Document]) -> str:
            async with await database[aggregate.collection].aggregate(
                aggregate.pipeline, maxTimeMS=self._max_time_ms, allowDiskUse=False
            ) as cursor:
                return await rows_as_json(cursor, aggregate.rows, self._max_bytes)

        return await self._query(ask)

    async def _list(self, arguments: dict[str, Any], context: Context) -> str:
        """List the collections, and the field names of one document in each that the user may read."""
        check_arguments(arguments, ())
        owner_filter = self._filter.owner_filter(context.user)

        async def ask(database: AsyncDatabase[Document]) -> str:
            listed = []
            for name in self._filter.collections:
                one = await database[name].find_one(owner_filter, max_time_ms=self._max_time_ms)
                listed.append({"name": name, "fields": list(one or ())[:100]})
            return dumps({"collections": listed})

        return await self._query(ask)

    async def _query(self, ask: Callable[[AsyncDatabase[Document]], Awaitable[str]]) -> str:
        """Run a query with the time limit.

        :raises ToolError: it failed; the sentence says why.
        """
        if self._database is None:
            raise ToolError("The document store is not open.")
        try:
            async with asyncio.timeout(self._timeout):
                return await ask(self._database)
        except ExecutionTimeout:
            raise ToolError(
                f"The query took longer than {self._max_time_ms / 1000:g} s and was given up. Ask for less."
            ) from None
        except (ConnectionFailure, TimeoutError) as error:
            logger.warning("The document store of [tools.%s] does not answer: %s", self._name, error)
            raise ToolError("The document store cannot be reached. Try again later.") from None
        except OperationFailure as error:
            why = (error.details or {}).get("errmsg") or error
            raise ToolError(f"The document store refuses the query: {str(why)[:300]}.") from None
        except (PyMongoError, BSONError, OverflowError) as error:
            logger.warning("A query of [tools.%s] failed", self._name, exc_info=error)
            raise ToolError(f"The query failed: {str(error)[:300]}.") from None

    def _specs(self) -> list[tuple[ToolSpec, Callable[[dict[str, Any], Context], Awaitable[str]]]]:
        collection = {"type": "string", "enum": list(self._filter.collections)}
        query = {
            "type": "object",
            "description": 'A MongoDB filter, such as {"status": "open"}. Ids are {"$oid": "…"}, times {"$date": "…"}.',
        }

        def spec(name: str, description: str, required: list[str], **properties: Any) -> ToolSpec:
            return ToolSpec(
                name, description, {"type": "object", "properties": properties, "required": required}
            )

        rows = self._filter.max_rows
        return [
            (
                spec(
                    "find_documents",
                    f"Find documents in a collection, {rows} at most.",
                    ["collection"],
                    collection=collection,
                    filter=query,
                    projection={"type": "object", "description": 'The fields to show: {"name": 1}.'},
                    sort={"type": "object", "description": 'The order: {"date": -1} is the latest first.'},
                    skip={"type": "integer"},
                    limit={"type": "integer"},
                ),
                self._find,
            ),
            (
                spec(
                    "count_documents",
                    "Count the documents in a collection that match a filter.",
                    ["collection"],
                    collection=collection,
                    filter=query,
                ),
                self._count,
            ),
            (
                spec(
                    "aggregate",
                    f"Run a read-only aggregation pipeline over one collection; {rows} rows at most.",
                    ["collection", "pipeline"],
                    collection=collection,
                    pipeline={"type": "array", "items": {"type": "object"}},
                ),
                self._aggregate,
            ),
            (
                spec(
                    "list_collections", "List the collections, and the fields that their documents have.", []
                ),
                self._list,
            ),
        ]


async def rows_as_json(rows: AsyncIterator[Mapping[str, Any]], limit: int, most_bytes: int) -> str:
    """Return rows as JSON text (MongoDB's relaxed Extended JSON), within both limits; `truncated` if there are more."""
    texts: list[str] = []
    size, truncated = 0, False
    async for row in rows:
        text = dumps(row, json_options=RELAXED_JSON_OPTIONS, ensure_ascii=False)
        size += len(text.encode("utf-8", "replace")) + 1
        if len(texts) >= limit or size > most_bytes:
            truncated = True
            break
        texts.append(text)
    if truncated and not texts:
        raise ToolError(
            "One document alone is longer than may be told. Ask for some of its fields (projection)."
        )
    more = ', "truncated": true' if truncated else ""
    return f'{{"documents": [{",".join(texts)}], "count": {len(texts)}{more}}}'
