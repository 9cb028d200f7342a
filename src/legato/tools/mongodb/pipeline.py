"""What a model may write in an aggregation: allowed stages and expressions, which all read the one collection. It does no I/O."""

from collections.abc import Callable
from typing import Any

from legato.errors import ToolError
from legato.tools.mongodb.query import field_name, filter_of, literal, refused

STAGES = 20
SKIP = 1_000_000
LIMIT = 100_000


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VARIABLES = frozenset({"ROOT", "CURRENT", "NOW", "REMOVE"})

_OF_LISTS = _words(
    """$add $subtract $multiply $divide $mod $pow $concat $and $or $eq $ne $gt $gte $lt $lte $cmp $ifNull $in $arrayElemAt
    $concatArrays $setUnion $setIntersection $setDifference $setEquals $setIsSubset $slice $strcasecmp $substrCP $substrBytes
    $split $indexOfCP $indexOfArray $round $trunc $log $mergeObjects $allElementsTrue $anyElementTrue"""
)
"""Expressions over a list of expressions, or over one."""

_OF_ONE = _words(
    """$abs $ceil $floor $exp $ln $log10 $sqrt $not $size $isArray $isNumber $type $toString $toInt $toLong $toDouble
    $toDecimal $toDate $toBool $toObjectId $toLower $toUpper $strLenCP $strLenBytes $reverseArray $objectToArray
    $arrayToObject $year $month $week $dayOfMonth $dayOfWeek $dayOfYear $hour $minute $second $millisecond $isoWeek
    $isoWeekYear $isoDayOfWeek $sum $avg $min $max $first $last"""
)

_OF_OBJECTS = {
    "$cond": {"if", "then", "else"},
    "$dateToString": {"date", "format", "timezone", "onNull"},
    "$dateFromString": {"dateString", "format", "timezone", "onError", "onNull"},
    "$dateToParts": {"date", "timezone", "iso8601"},
    "$dateDiff": {"startDate", "endDate", "unit", "timezone", "startOfWeek"},
    "$dateTrunc": {"date", "unit", "binSize", "timezone", "startOfWeek"},
    "$dateAdd": {"startDate", "unit", "amount", "timezone"},
    "$dateSubtract": {"startDate", "unit", "amount", "timezone"},
    "$trim": {"input", "chars"},
    "$ltrim": {"input", "chars"},
    "$rtrim": {"input", "chars"},
}
"""Expressions that take an object of named expressions, and the names."""

_ACCUMULATORS = _words("$sum $avg $min $max $first $last $push $addToSet")


def pipeline_of(value: object) -> list[dict[str, Any]]:
    """Return a checked pipeline.

    :raises ToolError: it is not permitted.
    """
    if not isinstance(value, list):
        raise ToolError('A pipeline must be a list of stages, such as [{"$match": {…}}].')
    if len(value) > STAGES:
        raise ToolError(f"A pipeline may have {STAGES} stages at most.")
    return [_stage(each) for each in value]


def _stage(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) != 1:
        raise ToolError('Each stage must be an object with one operator, such as {"$limit": 5}.')
    ((name, what),) = value.items()
    check = _STAGES.get(name)
    if check is None:
        raise ToolError(f"The stage {name!r:.60} is not allowed. These are: {', '.join(sorted(_STAGES))}.")
    return {name: check(what)}


def expression(value: object) -> Any:
    """Return a checked expression over the fields of a document.

    :raises ToolError: it is not permitted.
    """
    match value:
        case str() if value.startswith("$"):
            return path(value)
        case list():
            return [expression(each) for each in value]
        case dict() if any(key.startswith("$") for key in value):
            return _operator(value)
        case dict():
            return {field_name(key): expression(each) for key, each in value.items()}
    return literal(value)


def path(value: object) -> str:
    """Return a checked `$field`, or `$$ROOT` and similar.

    :raises ToolError: it is not permitted.
    """
    if isinstance(value, str) and value.startswith("$$"):
        variable, _, rest = value[2:].partition(".")
        if variable in _VARIABLES:
            if rest:
                field_name(rest)
            return value
    elif isinstance(value, str) and value.startswith("$"):
        field_name(value[1:])
        return value
    raise ToolError(f'{value!r:.60} names no field: write it as "$field".')


def _operator(value: dict[str, Any]) -> Any:
    if len(value) != 1:
        raise ToolError("An expression has one operator.")
    ((name, what),) = value.items()
    if name in ("$oid", "$date"):
        return literal(value)
    if name in _OF_LISTS or name in _OF_ONE or (name == "$cond" and isinstance(what, list)):
        return {name: expression(what)}
    if name in _OF_OBJECTS:
        if not isinstance(what, dict) or set(what) - _OF_OBJECTS[name]:
            raise ToolError(f"{name} takes an object of {', '.join(sorted(_OF_OBJECTS[name]))}.")
        return {name: {key: expression(each) for key, each in what.items()}}
    raise refused(name)


def _projection(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        raise ToolError('$project needs an object, such as {"name": 1}.')
    return {field_name(key): _shown(each) for key, each in value.items()}


def _shown(value: object) -> Any:
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return value
    return expression(value)


def fields_of(value: object) -> dict[str, int] | None:
    """Return the fields to show: an object of 0 and 1, or a list of names.

    :raises ToolError: it is neither.
    """
    if value is None or value == {} or value == []:
        return None
    if isinstance(value, list):
        return {field_name(each): 1 for each in value}
    if not isinstance(value, dict) or any(each not in (0, 1) for each in value.values()):
        raise ToolError('The fields to show are told by 1 and 0: {"name": 1}.')
    return {field_name(key): int(each) for key, each in value.items()}


def order_of(value: object) -> dict[str, int] | None:
    """Return the order: an object of 1 (ascending) and -1 (descending).

    :raises ToolError: it is not.
    """
    if value is None or value == {}:
        return None
    wrong = ToolError('The order is told by 1 and -1: {"date": -1}.')
    if not isinstance(value, dict):
        raise wrong
    for each in value.values():
        if isinstance(each, bool) or not isinstance(each, int) or each not in (1, -1):
            raise wrong
    return {field_name(key): each for key, each in value.items()}


def _order(value: object) -> dict[str, int]:
    order = order_of(value)
    if not order:
        raise ToolError('$sort needs an object, such as {"date": -1}.')
    return order


def _groups(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or "_id" not in value:
        raise ToolError('$group needs an "_id" (null for one group of all).')
    grouped: dict[str, Any] = {"_id": expression(value["_id"])}
    for key, each in value.items():
        if key == "_id":
            continue
        if "." in field_name(key) or not isinstance(each, dict) or len(each) != 1:
            raise ToolError('Each field of $group needs one accumulator: {"total": {"$sum": "$price"}}.')
        ((name, what),) = each.items()
        if name == "$count" and what == {}:
            grouped[key] = {"$sum": 1}
        elif name in _ACCUMULATORS:
            grouped[key] = {name: expression(what)}
        else:
            raise refused(name)
    return grouped


def _added(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        raise ToolError("$addFields needs an object.")
    return {field_name(key): expression(each) for key, each in value.items()}


def _removed(value: object) -> Any:
    names = value if isinstance(value, list) else [value]
    if not names:
        raise ToolError("$unset needs the name of a field.")
    return [field_name(each) for each in names]


def _unwound(value: object) -> dict[str, Any]:
    if isinstance(value, str):
        value = {"path": value}
    if not isinstance(value, dict) or "path" not in value:
        raise ToolError('$unwind needs a path: "$rooms".')
    if set(value) - {"path", "preserveNullAndEmptyArrays"}:
        raise ToolError("$unwind takes path and preserveNullAndEmptyArrays.")
    keep = value.get("preserveNullAndEmptyArrays", False)
    if not isinstance(keep, bool):
        raise ToolError("preserveNullAndEmptyArrays is true or false.")
    return {"path": path(value["path"]), "preserveNullAndEmptyArrays": keep}


def _counted(value: object) -> str:
    name = field_name(value)
    if "." in name:
        raise ToolError("$count needs a plain name.")
    return name


def whole(value: object, least: int, most: int, what: str) -> int:
    """Return a whole number within these bounds.

    :raises ToolError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ToolError(f"{what} is a whole number from {least:,} to {most:,}.")
    return value


_STAGES: dict[str, Callable[[object], Any]] = {
    "$match": filter_of,
    "$project": _projection,
    "$group": _groups,
    "$sort": _order,
    "$limit": lambda value: whole(value, 1, LIMIT, "$limit"),
    "$skip": lambda value: whole(value, 0, SKIP, "$skip"),
    "$count": _counted,
    "$unwind": _unwound,
    "$addFields": _added,
    "$set": _added,
    "$unset": _removed,
    "$sortByCount": expression,
}
"""Stages that read nothing but what the stage before gives them, and write nothing."""
