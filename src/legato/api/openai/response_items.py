"""The items of OpenAI's Responses, which are its input and its output, as turns of an engine, without I/O."""

from collections.abc import Sequence
from typing import Any

import msgspec

from legato.api.openai.chat_request import ROLES
from legato.api.request_fields import InvalidFieldError, parts_of
from legato.domain.message import ImagePart, Part, TextPart, ToolCallPart, ToolResultPart
from legato.engines.base import Turn

KINDS = "message, function_call, function_call_output, reasoning and item_reference"

ITEMS = 10_000
"""The largest number of items of one prompt, with those of all responses before it."""


def input_items(given: str | list[Any]) -> list[dict[str, Any]]:
    """Return the `input` of a request as items that `turns_of` takes. References are left as they are.

    :raises InvalidFieldError: an item is of a kind that no engine here takes, or misses a field.
    """
    if isinstance(given, str):
        return [message_item("user", [{"type": "input_text", "text": given}])]
    if len(given) > ITEMS:
        raise InvalidFieldError(f"`input` has at most {ITEMS} items.", "input")
    return [_item(each, f"input[{index}]") for index, each in enumerate(given)]


def message_item(role: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a message."""
    return {"type": "message", "role": role, "status": "completed", "content": content}


def is_reference(item: dict[str, Any]) -> bool:
    """Return whether an item only names another one by its id."""
    return bool(item["type"] == "item_reference")


def turns_of(items: Sequence[dict[str, Any]], instructions: str | None = None) -> tuple[Turn, ...]:
    """Return the turns of items in their order, behind the instructions.

    What the assistant wrote in a row, text and tool calls, is one turn, and so are the system messages at the beginning. The
    reasoning of earlier turns is not told to the model again.
    """
    turns: list[Turn] = []
    names: dict[str, str] = {}
    if instructions:
        turns.append(Turn("system", (TextPart(instructions),)))
    for item in items:
        for turn in _turns(item, names):
            before = turns[-1] if turns else None
            if before is None or before.role != turn.role or turn.role not in ("assistant", "system"):
                turns.append(turn)
            else:
                gap = (TextPart("\n\n"),) if turn.role == "system" else ()
                turns[-1] = Turn(turn.role, (*before.parts, *gap, *turn.parts))
    return tuple(turns)


def _item(item: Any, where: str) -> dict[str, Any]:
    """Return one item with all its fields, after a look at each of them."""
    if not isinstance(item, dict):
        raise InvalidFieldError(f"`{where}` is an item of these types: {KINDS}.", where)
    named = {"id": item["id"]} if isinstance(item.get("id"), str) and item["id"] else {}
    kind = item.get("type")
    match item:
        case {"role": str() as role} if kind in (None, "message"):
            if role not in ROLES or ROLES[role] == "tool":
                raise InvalidFieldError(
                    f"`{where}.role` is user, assistant, system or developer.", f"{where}.role"
                )
            return {**message_item(role, _content(item.get("content"), role, where)), **named}
        case {"type": "function_call", "call_id": str() as call, "name": str() as name} if call and name:
            arguments = item.get("arguments") or "{}"
            if isinstance(arguments, str):
                told = {"call_id": call, "name": name, "arguments": arguments, "status": "completed"}
                return {"type": "function_call", **told, **named}
        case {"type": "function_call_output", "call_id": str() as call} if call:
            output = item.get("output")
            if not isinstance(output, str):
                output = _content(output, "user", where, "output")
            result = {"type": "function_call_output", "call_id": call, "status": "completed"}
            return {**result, "output": output, **named}
        case {"type": "reasoning"}:
            return {**item, **named}
        case {"id": str() as name} if kind in (None, "item_reference"):
            return {"type": "item_reference", "id": name}
    if kind in ("function_call", "function_call_output"):
        fields = "call_id, name and arguments" if kind == "function_call" else "call_id and output"
        raise InvalidFieldError(f"`{where}` needs {fields}.", where)
    raise InvalidFieldError(f"`{where}.type` is not supported here: {KINDS} are.", f"{where}.type")


def _content(content: Any, role: str, where: str, name: str = "content") -> list[dict[str, Any]]:
    """Return content as a list of parts that the API knows."""
    where = f"{where}.{name}"
    if isinstance(content, str):
        if role == "assistant":
            return [{"type": "output_text", "text": content, "annotations": []}]
        return [{"type": "input_text", "text": content}]
    if not isinstance(content, list):
        raise InvalidFieldError(f"`{where}` is a text, or a list of parts.", where)
    _parts(content, where)
    return content


def _parts(content: list[Any], where: str) -> tuple[Part, ...]:
    known: list[Any] = []
    for index, part in enumerate(content):
        at = f"{where}[{index}]"
        match part:
            case {"type": "input_image"}:
                url = part.get("image_url")
                if not isinstance(url, str):
                    raise InvalidFieldError(f"`{at}` needs `image_url`: there are no files here.", at)
                known.append({"type": "image_url", "image_url": url})
            case {"type": "input_text" | "output_text" | "refusal" | "input_audio" | "text"}:
                known.append(part)
            case _:
                raise InvalidFieldError(
                    f"`{at}` is of a kind that is not supported here: input_text, input_image, input_audio, output_text and "
                    "refusal are.",
                    f"{at}.type",
                )
    return parts_of(known, where)


def _turns(item: dict[str, Any], names: dict[str, str]) -> list[Turn]:
    """Return the turns of one item. `names` are the functions of the calls so far, by the id of the call."""
    match item:
        case {"type": "message", "role": role, "content": content}:
            return [Turn(ROLES[role], _parts(content, "input"))]
        case {"type": "function_call", "call_id": call, "name": name, "arguments": arguments}:
            names[call] = name
            return [Turn("assistant", (ToolCallPart(call, name, arguments),))]
        case {"type": "function_call_output", "call_id": call, "output": output}:
            if isinstance(output, str):
                return [Turn("tool", (ToolResultPart(call, names.get(call, ""), output),))]
            parts = _parts(output, "input")
            text = "\n".join(part.text for part in parts if isinstance(part, TextPart))
            pictures = tuple(part for part in parts if isinstance(part, ImagePart))
            result = Turn("tool", (ToolResultPart(call, names.get(call, ""), text),))
            return [result, Turn("user", pictures)] if pictures else [result]
    return []


def encoded_size(items: Sequence[dict[str, Any]]) -> int:
    """Return how many bytes items are as JSON."""
    return len(msgspec.json.encode(items))
