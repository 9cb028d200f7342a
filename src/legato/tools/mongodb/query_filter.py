"""Turn what a model requests into what the database is asked, within what the user may read. It does no I/O."""

from collections.abc import Collection
from typing import Any

from msgspec import Struct

from legato.errors import ToolError
from legato.tools.mongodb.pipeline import SKIP, fields_of, order_of, pipeline_of, whole
from legato.tools.mongodb.query import Filter, check_size, filter_of


class Find(Struct, frozen=True):
    """Arguments of a cursor. It requests one row more than may be shown, to find out whether there are more."""

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


class QueryFilter:
    """The rules of one toolset.

    Only `collections` are read. With `owner_field`, every query begins with "this field is exactly this user". This condition
    precedes everything that the model requests, so no later part of the query sees a document of another user.
    """

    def __init__(self, collections: Collection[str], owner_field: str | None, max_rows: int) -> None:
        self.collections = tuple(collections)
        self.owner_field = owner_field
        self.max_rows = max_rows

    def owner_filter(self, user: str) -> Filter:
        """Return the filter for the documents of `user`; empty if documents have no owner.

        :raises ToolError: documents have owners, and the user is unknown.
        """
        if self.owner_field is None:
            return {}
        if not user:
            raise ToolError("It is not known for whom this is asked, so nothing can be read. Ask again.")
        return {self.owner_field: {"$eq": str(user)}}

    def find(self, arguments: dict[str, Any], user: str) -> Find:
        """Return the arguments of a find.

        :raises ToolError: the arguments are not permitted.
        """
        check_arguments(arguments, {"collection", "filter", "projection", "sort", "skip", "limit"})
        limit = arguments.get("limit")
        return Find(
            self._collection(arguments),
            self._with_owner(filter_of(arguments.get("filter")), user),
            fields_of(arguments.get("projection")),
            order_of(arguments.get("sort")),
            whole(arguments.get("skip") or 0, 0, SKIP, "skip"),
            self.max_rows if limit is None else min(whole(limit, 1, 2**31, "limit"), self.max_rows),
        )

    def count(self, arguments: dict[str, Any], user: str) -> Count:
        """Return the arguments of a count.

        :raises ToolError: the arguments are not permitted.
        """
        check_arguments(arguments, {"collection", "filter"})
        return Count(self._collection(arguments), self._with_owner(filter_of(arguments.get("filter")), user))

    def aggregate(self, arguments: dict[str, Any], user: str) -> Aggregate:
        """Return the arguments of an aggregation.

        :raises ToolError: the arguments are not permitted.
        """
        check_arguments(arguments, {"collection", "pipeline"})
        stages = pipeline_of(arguments.get("pipeline"))
        owner_filter = self.owner_filter(user)
        first = [{"$match": owner_filter}] if owner_filter else []
        return Aggregate(
            self._collection(arguments), [*first, *stages, {"$limit": self.max_rows + 1}], self.max_rows
        )

    def _with_owner(self, asked: Filter, user: str) -> Filter:
        owner_filter = self.owner_filter(user)
        if not owner_filter:
            return asked
        return {"$and": [owner_filter, asked]} if asked else owner_filter

    def _collection(self, arguments: dict[str, Any]) -> str:
        name = arguments.get("collection")
        if name is None and len(self.collections) == 1:
            return self.collections[0]
        if not isinstance(name, str) or name not in self.collections:
            raise ToolError(f"There is no collection {name!r:.60}. There is: {', '.join(self.collections)}.")
        return name


def check_arguments(arguments: dict[str, Any], known: Collection[str]) -> None:
    """Check names and size of arguments.

    :raises ToolError: there are unknown arguments, or they are too large.
    """
    check_size(arguments)
    if unknown := set(arguments) - set(known):
        raise ToolError(f"There is no argument {min(unknown)!r:.60}. There is: {', '.join(sorted(known))}.")
