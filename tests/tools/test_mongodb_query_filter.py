"""What a model may ask of documents: every hostile argument is refused before a database hears of it."""

import contextlib
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from legato.errors import ToolError
from legato.tools.mongodb.pattern import check_pattern
from legato.tools.mongodb.pipeline import (
    _ACCUMULATORS,
    _OF_LISTS,
    _OF_OBJECTS,
    _OF_ONE,
    _STAGES,
    pipeline_of,
)
from legato.tools.mongodb.query import _OPERATORS, filter_of
from legato.tools.mongodb.query_filter import QueryFilter

FILTER = QueryFilter(["bookings"], "owner", 10)

HOSTILE_FILTERS: list[Any] = [
    {"$where": "sleep(1000) || true"},
    {"a": {"$where": "1"}},
    {"$or": [{"a": 1}, {"$where": "1"}]},
    {"$and": [{"$or": [{"$nor": [{"$where": "1"}]}]}]},
    {"a": {"$not": {"$where": "1"}}},
    {"a": {"$elemMatch": {"$where": "1"}}},
    {"a": {"$elemMatch": {"b": {"$elemMatch": {"$where": "1"}}}}},
    {"a": {"b": {"$where": "1"}}},
    {"a": [{"$where": "1"}]},
    {"a": {"$in": [{"$where": "1"}]}},
    {"a": {"$eq": {"$where": "1"}}},
    {"$expr": {"$function": {"body": "function(){}", "args": [], "lang": "js"}}},
    {"$expr": {"$eq": [1, 1]}},
    {"$function": {}},
    {"$accumulator": {}},
    {"$jsonSchema": {}},
    {"$text": {"$search": "x"}},
    {"$comment": "x"},
    {"$lookup": {"from": "salaries"}},
    {"a": {"$near": [0, 0]}},
    {"a": {"$eq": 1, "b": 2}},
    {"a": {"$ne": None, "$unknown": 1}},
    {"a.$where": 1},
    {"a": {"$regex": {"$ne": 1}}},
    {"a": {"$regex": "x", "$options": "x"}},
    {"a": {"$options": "i"}},
    {"a": {"$in": "abc"}},
    {"a": {"$size": True}},
    {"a": {"$exists": "yes"}},
    {"a": {"$type": "javascript"}},
    {"a": {"$type": {"x": 1}}},
    {"a": {"$type": [["string"]]}},
    {"a": {"$mod": [0, 1]}},
    {"a": {"$oid": "xyz"}},
    {"a": {"$date": "soon"}},
    {"a": {"$date": {"$numberLong": "1"}}},
    {"a": {"$code": "x"}},
    {"a": 2**63},
    {"a": "x" * 5000},
    {"": 1},
    {"a\0b": 1},
    {"a": {"b..c": 1}},
    {"$and": []},
    {"$and": {"a": 1}},
    ["a"],
    "a",
    {"a": {"$not": "x"}},
    {"a": {"$not": {}}},
]

HOSTILE_PIPELINES: list[Any] = [
    [{"$lookup": {"from": "salaries", "localField": "a", "foreignField": "a", "as": "x"}}],
    [{"$graphLookup": {"from": "salaries"}}],
    [{"$unionWith": "salaries"}],
    [{"$unionWith": {"coll": "salaries", "pipeline": []}}],
    [{"$out": "bookings"}],
    [{"$merge": {"into": "bookings"}}],
    [{"$facet": {"a": [{"$lookup": {"from": "salaries"}}]}}],
    [{"$collStats": {}}],
    [{"$indexStats": {}}],
    [{"$currentOp": {}}],
    [{"$listSessions": {}}],
    [{"$documents": [{"a": 1}]}],
    [{"$redact": "$$DESCEND"}],
    [{"$sample": {"size": 1}}],
    [{"$match": {"$where": "1"}}],
    [{"$match": {"$expr": {"$function": {}}}}],
    [{"$project": {"a": {"$function": {"body": "function(){}", "args": [], "lang": "js"}}}}],
    [{"$addFields": {"a": {"$add": [1, {"$function": {}}]}}}],
    [{"$addFields": {"a": {"$cond": {"if": True, "then": {"$function": {}}, "else": 1}}}}],
    [{"$addFields": {"a": {"$regexMatch": {"input": "$a", "regex": "(a+)+"}}}}],
    [{"$addFields": {"a": "$$USER_ROLES"}}],
    [{"$addFields": {"a": "$$ROOT.$where"}}],
    [{"$addFields": {"a": {"$getField": "x"}}}],
    [{"$group": {"_id": None, "a": {"$accumulator": {}}}}],
    [{"$group": {"_id": {"$function": {}}}}],
    [{"$group": {"_id": None, "a": {"$sum": 1, "$avg": 2}}}],
    [{"$group": {"_id": None, "a": {"$push": {"$function": {}}}}}],
    [{"$group": {"a": {"$sum": 1}}}],
    [{"$sort": {"a": {"$meta": "textScore"}}}],
    [{"$limit": -1}],
    [{"$limit": 10**9}],
    [{"$limit": True}],
    [{"$match": {}, "$out": "x"}],
    [{}],
    ["$match"],
    [{"$unwind": "rooms"}],
    [{"$unwind": {"path": "$rooms", "includeArrayIndex": "$x"}}],
    [{"$count": "$x"}],
    {"$match": {}},
    [{"$match": {}}] * 21,
]

SLOW_PATTERNS = [
    "(a+)+$",
    "(a*)*b",
    "(a|a)*b",
    "(a|ab)+$",
    "((a+)b?)+",
    "(?:a+)+",
    "(?:(a+))+",
    "(a{1,40}){1,40}",
    "a?" * 20 + "a" * 20,
    "a??" * 12,
    "a{0,50}" * 6 + "b",
    "(a|a)" * 20,
    "(a?)?" * 10 + "b",
    "(.*)(.*)(.*)x",
    "a*a*a*a*b",
    "a{60}",
    "a{1,999}",
    "(?=a)b",
    "(?<=a)b",
    "(?<name>a)",
    "(?R)",
    "(?(1)a)",
    "(?#x)",
    r"(a)\1",
    r"\k<n>",
    r"\Qa+\E",
    "(*UTF8)a",
    "(a",
    "a)",
    "x" * 200,
    "",
    "a\0b",
]


@pytest.mark.parametrize("hostile", HOSTILE_FILTERS, ids=repr)
def test_a_filter_that_does_more_than_match_is_refused(hostile: Any) -> None:
    with pytest.raises(ToolError):
        filter_of(hostile)


@pytest.mark.parametrize("hostile", HOSTILE_PIPELINES, ids=lambda each: repr(each)[:60])
def test_a_stage_that_does_more_than_read_is_refused(hostile: Any) -> None:
    with pytest.raises(ToolError):
        pipeline_of(hostile)


@pytest.mark.parametrize("pattern", SLOW_PATTERNS)
def test_a_pattern_that_could_take_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(ToolError):
        filter_of({"a": {"$regex": pattern}})


@pytest.mark.parametrize(
    "pattern",
    [
        "^gr",
        "gr.*ce$",
        "(foo|bar)",
        "(ab)+c",
        "a{2,5}",
        r"\d+-\d+",
        "[a-z]+@",
        "(a|b)?",
        r"\(x\)",
        "[(+]*",
        r"^https?://(www\.)?.*\.(com|org|net)$",
        r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}",
        "a{2}b{3,}",
        "|".join("abcdefghij"),
    ],
)
def test_a_simple_pattern_is_taken(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


def test_what_is_allowed_comes_out_as_the_database_takes_it() -> None:
    asked = {
        "$or": [{"nights": {"$gte": 2, "$lt": 5}}, {"guest": {"$regex": "^gr", "$options": "i"}}],
        "_id": {"$oid": "507f1f77bcf86cd799439011"},
        "rooms": {"$elemMatch": {"$eq": "blue"}},
        "address": {"city": "Paris"},
        "tags": {"$in": ["a", None]},
        "gone": {"$not": {"$exists": True}},
    }
    assert filter_of(asked) == {**asked, "_id": ObjectId("507f1f77bcf86cd799439011")}


def test_the_owner_stands_in_front_of_every_query() -> None:
    mine = {"owner": {"$eq": "ada"}}
    widened = {"$or": [{"owner": {"$ne": None}}, {"owner": "bob"}]}
    assert FILTER.find({"filter": widened}, "ada").filter == {"$and": [mine, widened]}
    assert FILTER.find({}, "ada").filter == mine
    assert FILTER.count({"filter": widened}, "ada").filter == {"$and": [mine, widened]}
    pipeline = FILTER.aggregate({"pipeline": [{"$match": widened}]}, "ada").pipeline
    assert pipeline == [{"$match": mine}, {"$match": widened}, {"$limit": 11}]


def test_where_no_one_is_known_to_ask_nothing_is_read() -> None:
    for ask in (FILTER.find, FILTER.count, FILTER.aggregate):
        with pytest.raises(ToolError, match="for whom"):
            ask({"pipeline": []} if ask == FILTER.aggregate else {}, "")


@pytest.mark.parametrize(
    "name", ["salaries", "system.users", "bookings ", "", None, 3, ["bookings"], {"$ne": 1}]
)
def test_only_the_collections_that_are_set_can_be_read(name: Any) -> None:
    query_filter = QueryFilter(["bookings", "guests"], None, 10)
    with pytest.raises(ToolError, match="There is no collection"):
        query_filter.find({"collection": name}, "ada")


@pytest.mark.parametrize(
    "arguments",
    [
        {"filter": {}, "owner": "bob"},
        {"hint": "x"},
        {"limit": 0},
        {"limit": "all"},
        {"skip": -1},
        {"projection": {"a": {"$function": {}}}},
        {"projection": {"a": "$b"}},
        {"sort": {"a": 2}},
        {"sort": {"$where": 1}},
    ],
    ids=repr,
)
def test_other_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ToolError):
        FILTER.find(arguments, "ada")


def test_rows_have_a_limit_whatever_is_asked_for() -> None:
    assert FILTER.find({"limit": 2**31}, "ada").rows == 10
    assert FILTER.find({"limit": 3}, "ada").rows == 3


def test_what_is_nested_too_deeply_or_too_much_is_refused() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for filter_ in ({"a": deep}, {"a": {"$in": list(range(1000))}}):
        with pytest.raises(ToolError):
            FILTER.find({"filter": filter_}, "ada")
    while isinstance(deep, list):  # a list nested so deeply cannot be given up in one go
        deep = deep[0]


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
OPERATORS = st.sampled_from(
    [
        "$eq",
        "$ne",
        "$gt",
        "$in",
        "$nin",
        "$and",
        "$or",
        "$nor",
        "$not",
        "$exists",
        "$type",
        "$regex",
        "$options",
        "$where",
        "$expr",
        "$function",
        "$elemMatch",
        "$size",
        "$all",
        "$mod",
        "$oid",
        "$date",
        "$lookup",
        "$out",
        "owner",
        "guest",
        "a.b",
        "_id",
    ]
)
JSON = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(OPERATORS | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)
FORBIDDEN = {
    "$where",
    "$expr",
    "$function",
    "$accumulator",
    "$lookup",
    "$out",
    "$merge",
    "$unionWith",
    "$graphLookup",
}


def keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for each in value.values() for key in keys(each)}
    if isinstance(value, list):
        return {key for each in value for key in keys(each)}
    return set()


@given(JSON)
def test_no_forbidden_operator_comes_through_at_any_depth(asked: Any) -> None:
    try:
        found = FILTER.find({"filter": asked}, "ada").filter
    except ToolError:
        return
    assert not keys(found) & FORBIDDEN
    assert found == {"owner": {"$eq": "ada"}} or found["$and"][0] == {"owner": {"$eq": "ada"}}


STAGES = st.dictionaries(
    st.sampled_from(
        [
            "$match",
            "$project",
            "$group",
            "$lookup",
            "$out",
            "$unionWith",
            "$addFields",
            "$unwind",
            "$limit",
            "$facet",
            "$count",
        ]
    ),
    JSON,
    min_size=1,
    max_size=1,
)


@given(st.lists(STAGES, max_size=4) | JSON)
def test_no_pipeline_reaches_beyond_the_owner(asked: Any) -> None:
    try:
        pipeline = FILTER.aggregate({"pipeline": asked}, "ada").pipeline
    except ToolError:
        return
    assert pipeline[0] == {"$match": {"owner": {"$eq": "ada"}}}
    assert not keys(pipeline) & FORBIDDEN


PIECES = st.sampled_from(
    ["a?", "a??", "a{0,3}", "a{,9}", "(a|a)", "(a|a?)?", "(aa?)", "a", "a{2}", "a*", "b?"]
)


@given(
    st.text("ab.*+?{}()|[]^\\1,2", max_size=14)
    | st.lists(PIECES, max_size=40).map(lambda pieces: "".join(pieces) + "b")
)
def test_a_pattern_that_is_taken_comes_to_an_end_even_for_a_backtracking_matcher(pattern: str) -> None:
    try:
        check_pattern(pattern)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            compiled = re.compile(pattern)
    except (ToolError, re.error):
        return
    # One that takes for ever runs into the time limit of the tests.
    found = compiled.search("a" * 200 + "!")
    assert found is None or found.end() <= 201


NAMES = st.sampled_from(
    [
        *_OPERATORS,
        *_STAGES,
        *_OF_LISTS,
        *_OF_ONE,
        *_OF_OBJECTS,
        *_ACCUMULATORS,
        "$and",
        "$or",
        "$nor",
        "$oid",
        "$date",
        "collection",
        "filter",
        "pipeline",
        "projection",
        "sort",
        "skip",
        "limit",
        "_id",
        "path",
        "a",
        "a.b",
        "$$ROOT",
        "",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(JSON, JSON, JSON)
def test_whatever_a_model_writes_is_taken_or_refused(one: Any, two: Any, three: Any) -> None:
    query_filter = QueryFilter(["bookings"], "owner", 10)
    asked: list[tuple[Callable[..., Any], dict[str, Any]]] = [
        (query_filter.find, {"filter": one, "projection": two, "sort": three}),
        (query_filter.find, {"collection": one, "skip": two, "limit": three}),
        (query_filter.count, {"filter": {"a": one}}),
        (query_filter.aggregate, {"pipeline": [one, {"$match": {"a": two}}, {"$group": {"_id": three}}]}),
        (query_filter.aggregate, {"pipeline": one}),
    ]
    for verb, arguments in asked:
        with contextlib.suppress(ToolError):
            verb(arguments, "ada")
