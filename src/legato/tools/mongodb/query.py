"""What a model may say in a filter: values and operators by allowlist, at any depth. Pure; no operator passes because it is not known.

What it allows cannot run code, cannot name another collection, and matches with no pattern that takes for ever.
"""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from bson.errors import InvalidId

from legato.errors import ToolError
from legato.tools.mongodb.pattern import check_pattern

DEPTH = 12
"""How deep arguments may be nested."""

NODES = 500
"""How many values they may hold."""

STRING = 4096
_LONG = 2**63

Filter = dict[str, Any]


def check_size(value: object) -> None:
    """Check the size of arguments.

    :raises ToolError: they are nested too deeply or contain too many values.
    """
    nodes, level = 0, [value]
    for _ in range(DEPTH):
        nodes += len(level)
        if nodes > NODES:
            raise ToolError(f"This is too much: a query may hold {NODES} values at most.")
        below: list[object] = []
        for each in level:
            if isinstance(each, Mapping):
                below += each.values()
            elif isinstance(each, list):
                below += each
        if not below:
            return
        level = below
    raise ToolError(f"This is nested too deeply: {DEPTH} levels at most.")


def filter_of(value: object) -> Filter:
    """Return a checked filter.

    :raises ToolError: it is not permitted.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ToolError('A filter must be an object, such as {"status": "open"}.')
    checked: Filter = {}
    for key, each in value.items():
        if key in ("$and", "$or", "$nor"):
            if not isinstance(each, list) or not each:
                raise ToolError(f"{key} needs a list of filters.")
            checked[key] = [filter_of(one) for one in each]
        elif key.startswith("$"):
            raise refused(key)
        else:
            checked[field_name(key)] = _condition(each)
    return checked


def field_name(name: object) -> str:
    """Return a checked field name, or a path to a field.

    :raises ToolError: it is not permitted.
    """
    if not isinstance(name, str) or not name or len(name) > 200 or "\0" in name:
        raise ToolError(f"A field must be named by a short text, not {name!r:.60}.")
    if any(step.startswith("$") or not step for step in name.split(".")):
        raise ToolError(f"{name!r:.60} is no name of a field.")
    return name


def literal(value: object) -> Any:
    """Return a value that is not an operator. `{"$oid": …}` and `{"$date": …}` are an id and a time, as in results.

    :raises ToolError: it is not permitted.
    """
    match value:
        case None | bool():
            return value
        case str():
            if len(value) > STRING:
                raise ToolError(f"A text in a query may have {STRING:,} characters at most.")
            return value
        case int():
            if not -_LONG <= value < _LONG:
                raise ToolError("A number is too large.")
            return value
        case float():
            if not math.isfinite(value):
                raise ToolError("A number must be finite.")
            return value
        case list():
            return [literal(each) for each in value]
        case {"$oid": str() as text, **rest} if not rest:
            return _object_id(text)
        case {"$date": str() as text, **rest} if not rest:
            return _date(text)
        case dict():
            return {field_name(key): literal(each) for key, each in value.items()}
    raise ToolError(f"{value!r:.60} is no value that can be looked for.")


def refused(operator: object) -> ToolError:
    return ToolError(f"{operator!r:.60} is not allowed here: documents can only be read, in simple ways.")


def _condition(value: object) -> Any:
    """Return a checked condition of a field: a value, or operators."""
    if not isinstance(value, dict) or not any(key.startswith("$") for key in value):
        return literal(value)
    if len(value) == 1 and ("$oid" in value or "$date" in value):
        return literal(value)
    if "$options" in value and "$regex" not in value:
        raise ToolError("$options needs $regex beside it.")
    checked: dict[str, Any] = {}
    for key, each in value.items():
        if key not in _OPERATORS:
            raise refused(key)
        checked[key] = _OPERATORS[key](each)
    if "$regex" in checked:
        check_pattern(checked["$regex"])
    return checked


def _values(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ToolError("$in, $nin and $all need a list of values.")
    return [literal(each) for each in value]


def _negated(value: object) -> Any:
    if not isinstance(value, dict) or not value or not all(key.startswith("$") for key in value):
        raise ToolError('$not needs operators, such as {"$not": {"$gt": 3}}.')
    return _condition(value)


def _of_elements(value: object) -> Any:
    """Return a checked `$elemMatch`: operators for an element, or a filter for an element that is a document."""
    if not isinstance(value, dict):
        raise ToolError("$elemMatch needs an object.")
    if value and all(key in _OPERATORS for key in value):
        return _condition(value)
    return filter_of(value)


def _whether(value: object) -> bool:
    if not isinstance(value, bool):
        raise ToolError("$exists is true or false.")
    return value


def _size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise ToolError("$size is a whole number.")
    return value


def _remainder(value: object) -> list[int]:
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 2 or any(isinstance(each, bool) or not isinstance(each, int) for each in numbers):
        raise ToolError("$mod needs a divisor and a remainder, two whole numbers.")
    if numbers[0] == 0 or any(abs(each) >= 2**31 for each in numbers):
        raise ToolError("$mod needs a divisor that is not 0, and small numbers.")
    return numbers


def _pattern(value: object) -> str:
    if not isinstance(value, str):
        raise ToolError("$regex is a text.")
    return value


def _options(value: object) -> str:
    if not isinstance(value, str) or set(value) - set("ims"):
        raise ToolError("$options may be made of i, m and s.")
    return value


def _type(value: object) -> Any:
    names = value if isinstance(value, list) else [value]
    if not names or any(not isinstance(name, str) or name not in _TYPES for name in names):
        raise ToolError(f"$type is one of {', '.join(sorted(_TYPES))}.")
    return value


def _object_id(text: str) -> ObjectId:
    try:
        return ObjectId(text)
    except InvalidId:
        raise ToolError(f"{text!r:.60} is no id: those have 24 digits of 0-9 and a-f.") from None


def _date(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ToolError(f"{text!r:.60} is no time: write it as 2026-01-31 or 2026-01-31T12:00:00Z.") from None


_TYPES = frozenset(
    {
        "double",
        "string",
        "object",
        "array",
        "objectId",
        "bool",
        "date",
        "null",
        "int",
        "long",
        "decimal",
        "number",
    }
)

_OPERATORS: dict[str, Callable[[object], Any]] = {
    **dict.fromkeys(("$eq", "$ne", "$gt", "$gte", "$lt", "$lte"), literal),
    **dict.fromkeys(("$in", "$nin", "$all"), _values),
    "$not": _negated,
    "$elemMatch": _of_elements,
    "$exists": _whether,
    "$size": _size,
    "$mod": _remainder,
    "$regex": _pattern,
    "$options": _options,
    "$type": _type,
}
"""What may stand under a field. Whatever runs code, reads another collection, or is not known here does not."""
