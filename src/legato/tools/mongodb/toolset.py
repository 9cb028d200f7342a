"""The tools `find_documents`, `count_documents`, `aggregate` and `list_collections`, over pymongo's asynchronous client.

What may be asked is decided in `legato.tools.mongodb.guard`. Needs the extra `legato[mongodb]`.
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
from legato.tools.mongodb.guard import QueryGuard, check_arguments

logger = logging.getLogger(__name__)

DEFAULT_URI = "mongodb://127.0.0.1:27017"

GONE_MS = 4500
"""How long a server may be out of reach before a query says so."""

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

    With `owner_field`, only documents in which that field is the id of the user who asks. `approval` names the tools that
    wait for a person's word (`*`: all). A query may take `max_time_ms` and give `max_rows`, of which `max_bytes` are told.
    A server that is gone is noticed half a second after `gone_ms`, which is 5 s, or after `max_time_ms` where that is longer.
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
        gone_ms: int = GONE_MS,
    ) -> None:
        """:raises SettingsError: the `uri` is none, or there is no database in it nor beside it, or no collection."""
        if not collections:
            raise SettingsError(f"[tools.{name}] needs `collections`: the names of those that may be read.")
        self._name = name
        self._guard = QueryGuard(collections, owner_field, max_rows)
        self._max_time_ms = max_time_ms
        self._max_bytes = max_bytes
        self._gone_ms = gone_ms
        self._patience = max(gone_ms, max_time_ms) / 1000 + 0.5
        self._database_name = database
        self._uri = uri
        self._client: AsyncMongoClient[Document] | None = None
        self._database: AsyncDatabase[Document] | None = None
        self.tools = tuple(
            _MongoTool(spec, "*" in approval or spec.name in approval, seconds, act)
            for spec, act in self._offered()
        )

    @property
    def name(self) -> str:
        return self._name

    async def open(self) -> None:
        """Make the client. It connects when it is first needed."""
        try:
            self._client = AsyncMongoClient(
                self._uri,
                appname="legato",
                serverSelectionTimeoutMS=self._gone_ms,
                connectTimeoutMS=self._gone_ms,
                socketTimeoutMS=max(self._gone_ms, self._max_time_ms + 500),
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
            said = str(error).rstrip(".")
            raise SettingsError(
                f"[tools.{self._name}] uri or database cannot be used: {said[:1].lower()}{said[1:]}."
            ) from None

    async def reach(self) -> None:
        async def ping(database: AsyncDatabase[Document]) -> str:
            return dumps(await database.command("ping"))

        if self._client is None:
            await self.open()
        await self._asked(ping)

    async def close(self) -> None:
        if self._client is not None:
            client, self._client, self._database = self._client, None, None
            await client.close()

    async def _find(self, arguments: dict[str, Any], context: Context) -> str:
        find = self._guard.find(arguments, context.user)

        async def ask(database: AsyncDatabase[Document]) -> str:
            async with database[find.collection].find(
                find.filter,
                find.fields,
                skip=find.skip,
                limit=find.rows + 1,
                sort=list(find.order.items()) if find.order else None,
                max_time_ms=self._max_time_ms,
            ) as cursor:
                return await told(cursor, find.rows, self._max_bytes)

        return await self._asked(ask)

    async def _count(self, arguments: dict[str, Any], context: Context) -> str:
        count = self._guard.count(arguments, context.user)

        async def ask(database: AsyncDatabase[Document]) -> str:
            number = await database[count.collection].count_documents(
                count.filter, maxTimeMS=self._max_time_ms
            )
            return dumps({"count": number})

        return await self._asked(ask)

    async def _aggregate(self, arguments: dict[str, Any], context: Context) -> str:
        aggregate = self._guard.aggregate(arguments, context.user)

        async def ask(database: AsyncDatabase[Document]) -> str:
            async with await database[aggregate.collection].aggregate(
                aggregate.pipeline, maxTimeMS=self._max_time_ms, allowDiskUse=False
            ) as cursor:
                return await told(cursor, aggregate.rows, self._max_bytes)

        return await self._asked(ask)

    async def _list(self, arguments: dict[str, Any], context: Context) -> str:
        """The collections, and the names of the fields of one document of each, of those that the user may read."""
        check_arguments(arguments, ())
        owned = self._guard.owned(context.user)

        async def ask(database: AsyncDatabase[Document]) -> str:
            listed = []
            for name in self._guard.collections:
                one = await database[name].find_one(owned, max_time_ms=self._max_time_ms)
                listed.append({"name": name, "fields": list(one or ())[:100]})
            return dumps({"collections": listed})

        return await self._asked(ask)

    async def _asked(self, ask: Callable[[AsyncDatabase[Document]], Awaitable[str]]) -> str:
        """Ask the database, with patience, and say in a sentence what went wrong.

        :raises ToolError: it did.
        """
        if self._database is None:
            raise ToolError("The document store is not open.")
        try:
            async with asyncio.timeout(self._patience):
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

    def _offered(self) -> list[tuple[ToolSpec, Callable[[dict[str, Any], Context], Awaitable[str]]]]:
        collection = {"type": "string", "enum": list(self._guard.collections)}
        query = {
            "type": "object",
            "description": 'A MongoDB filter, such as {"status": "open"}. Ids are {"$oid": "…"}, times {"$date": "…"}.',
        }

        def spec(name: str, description: str, required: list[str], **properties: Any) -> ToolSpec:
            return ToolSpec(
                name, description, {"type": "object", "properties": properties, "required": required}
            )

        rows = self._guard.max_rows
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


async def told(rows: AsyncIterator[Mapping[str, Any]], limit: int, most_bytes: int) -> str:
    """Rows as JSON text (MongoDB's Extended JSON, relaxed), so many and so long at most; `truncated` where there are more."""
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
