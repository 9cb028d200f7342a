"""What a model asks of the documents becomes what the database is asked, and never more than its user may read. Pure."""

from collections.abc import Collection
from typing import Any

from msgspec import Struct

from legato.errors import ToolError
from legato.tools.mongodb.pipeline import SKIP, fields_of, order_of, pipeline_of, whole
from legato.tools.mongodb.query import Filter, check_size, filter_of


class Find(Struct, frozen=True):
    """As a cursor takes it. One row more than may be shown is asked for, to know whether there are more."""

    collection: str
    filter: Filter
    fields: dict[str, int] | None
    order: dict[str, int] | None
    skip: int
    rows: int


class Count(Struct, frozen=True):
    collection: str
    filter: Filter


class Aggregate(Struct, frozen=True):
    collection: str
    pipeline: list[dict[str, Any]]
    rows: int


class QueryGuard:
    """The rules of one toolset.

    Only `collections` are read. With `owner_field`, every query begins with "this field is exactly this user": it stands
    beside whatever the model asks, in front of everything, and nothing behind it sees another's document.
    """

    def __init__(self, collections: Collection[str], owner_field: str | None, max_rows: int) -> None:
        self.collections = tuple(collections)
        self.owner_field = owner_field
        self.max_rows = max_rows

    def owned(self, user: str) -> Filter:
        """The filter that `user` cannot get rid of; empty where documents have no owner.

        :raises ToolError: documents have owners, and it is not known who asks.
        """
        if self.owner_field is None:
            return {}
        if not user:
            raise ToolError("It is not known for whom this is asked, so nothing can be read. Ask again.")
        return {self.owner_field: {"$eq": str(user)}}

    def find(self, arguments: dict[str, Any], user: str) -> Find:
        """:raises ToolError: the arguments ask for something that is not allowed."""
        check_arguments(arguments, {"collection", "filter", "projection", "sort", "skip", "limit"})
        limit = arguments.get("limit")
        return Find(
            self._collection(arguments),
            self._beside(filter_of(arguments.get("filter")), user),
            fields_of(arguments.get("projection")),
            order_of(arguments.get("sort")),
            whole(arguments.get("skip") or 0, 0, SKIP, "skip"),
            self.max_rows if limit is None else min(whole(limit, 1, 2**31, "limit"), self.max_rows),
        )

    def count(self, arguments: dict[str, Any], user: str) -> Count:
        """:raises ToolError: as above."""
        check_arguments(arguments, {"collection", "filter"})
        return Count(self._collection(arguments), self._beside(filter_of(arguments.get("filter")), user))

    def aggregate(self, arguments: dict[str, Any], user: str) -> Aggregate:
        """:raises ToolError: as above."""
        check_arguments(arguments, {"collection", "pipeline"})
        stages = pipeline_of(arguments.get("pipeline"))
        owned = self.owned(user)
        first = [{"$match": owned}] if owned else []
        return Aggregate(
            self._collection(arguments), [*first, *stages, {"$limit": self.max_rows + 1}], self.max_rows
        )

    def _beside(self, asked: Filter, user: str) -> Filter:
        owned = self.owned(user)
        if not owned:
            return asked
        return {"$and": [owned, asked]} if asked else owned

    def _collection(self, arguments: dict[str, Any]) -> str:
        name = arguments.get("collection")
        if name is None and len(self.collections) == 1:
            return self.collections[0]
        if not isinstance(name, str) or name not in self.collections:
            raise ToolError(f"There is no collection {name!r:.60}. There is: {', '.join(self.collections)}.")
        return name


def check_arguments(arguments: dict[str, Any], known: Collection[str]) -> None:
    """:raises ToolError: there are others, or they are too much."""
    check_size(arguments)
    if unknown := set(arguments) - set(known):
        raise ToolError(f"There is no argument {min(unknown)!r:.60}. There is: {', '.join(sorted(known))}.")
