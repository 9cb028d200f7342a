"""The body of `POST /api/chat` as a request of an engine, without I/O. The format is that of Ollama's `docs/api.md`, November 2026."""

from typing import Any

import msgspec
from msgspec import Struct

from legato.api.ollama.fields import (
    format_of,
    keep_alive_of,
    logprobs_of,
    model_of,
    options_of,
    pictures_of,
    think_of,
)
from legato.api.request_fields import (
    InvalidFieldError,
    check_tool_choice,
    function_tool,
    parts_of,
    tool_choice_of,
)
from legato.domain.message import MessageRole, Part, TextPart, ToolCallPart, ToolResultPart
from legato.engines.base import Request, Turn

ROLES: dict[object, MessageRole] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


class OllamaChatBody(Struct, frozen=True):
    """The fields that are read. `name` stands for `model`. A prompt is never cut, so `truncate` and `shift` have no effect."""

    model: str | None = None
    name: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    format: str | dict[str, Any] | None = None
    stream: bool | None = None
    think: bool | str | None = None
    options: dict[str, Any] | None = None
    keep_alive: str | float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    truncate: bool | None = None
    shift: bool | None = None


class OllamaRequest(Struct, frozen=True):
    """What a body of `chat` or `generate` asks for. Its model is the name that the client used.

    `loads`: there is nothing to answer; the client only wants the model to be loaded, or unloaded. `history` is what the
    `context` of the response has to tell besides the answer, by role and text; None: it has no `context`.
    """

    model: str
    request: Request
    stream: bool
    loads: bool
    history: list[tuple[MessageRole, str]] | None = None


def parse_chat_request(body: OllamaChatBody) -> OllamaRequest:
    """Return what the body asks for. If the last message is the assistant's, its text is the prefix of the answer.

    :raises InvalidFieldError: a field is wrong, or asks for what no engine here does.
    """
    model = model_of(body)
    choice = tool_choice_of(body.tool_choice)
    tools = tuple(
        function_tool({"type": "function", **tool}, "tools", index)
        for index, tool in enumerate(body.tools or ())
    )
    check_tool_choice(choice, tools)
    turns, prefix = _without_prefix(_turns(body.messages or []))
    request = Request(
        model="",
        turns=turns,
        prefix=prefix,
        options=options_of(body.options),
        # A model that must not call a tool is not told of one.
        tools=() if choice == "none" else tools,
        think=think_of(body.think),
        keep_alive=keep_alive_of(body.keep_alive),
        format=format_of(body.format),
        tool_choice=None if choice == "none" else choice,
        logprobs=logprobs_of(body.logprobs, body.top_logprobs),
    )
    return OllamaRequest(model, request, body.stream is not False, not body.messages)


def _without_prefix(turns: list[Turn]) -> tuple[tuple[Turn, ...], str]:
    match turns:
        case [*before, Turn(role="assistant", parts=(TextPart(text=text),))] if before:
            return tuple(before), text
    return tuple(turns), ""


def _turns(messages: list[dict[str, Any]]) -> list[Turn]:
    turns: list[Turn] = []
    waiting: list[ToolCallPart] = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = ROLES.get(str(message.get("role")))
        if role is None:
            raise InvalidFieldError(f"`{where}.role` is system, user, assistant or tool.", f"{where}.role")
        parts = _parts(message, where)
        if role == "tool":
            turns.append(Turn(role, (_result(message, parts, waiting, where),)))
            continue
        calls = _calls(message, index) if role == "assistant" else []
        waiting = [*waiting, *calls] if calls else waiting
        turns.append(Turn(role, (*parts, *calls)))
    return turns


def _parts(message: dict[str, Any], where: str) -> tuple[Part, ...]:
    images = message.get("images")
    if images is not None and not (isinstance(images, list) and all(isinstance(one, str) for one in images)):
        raise InvalidFieldError(f"`{where}.images` is a list of base64 texts.", f"{where}.images")
    return (
        *parts_of(message.get("content"), f"{where}.content"),
        *pictures_of(images, f"{where}.images"),
    )


def _calls(message: dict[str, Any], at: int) -> list[ToolCallPart]:
    """Return the tool calls of a message. Ollama's have no id; the id of one here is its place."""
    where = f"messages[{at}].tool_calls"
    listed = message.get("tool_calls") or []
    if not isinstance(listed, list):
        raise InvalidFieldError(f"`{where}` is a list.", where)
    calls: list[ToolCallPart] = []
    for index, call in enumerate(listed):
        match call:
            case {"function": {"name": str() as name, **function}} if name:
                arguments = function.get("arguments") or {}
                if not isinstance(arguments, str):
                    arguments = msgspec.json.encode(arguments).decode()
                calls.append(ToolCallPart(str(call.get("id") or f"call_{at}_{index}"), name, arguments))
            case _:
                raise InvalidFieldError(f"`{where}[{index}]` needs a function with a name.", where)
    return calls


def _result(
    message: dict[str, Any], parts: tuple[Part, ...], waiting: list[ToolCallPart], where: str
) -> ToolResultPart:
    """Return the result of a tool. It belongs to the call that it names by `tool_call_id`, or else to the first call of `tool_name`
    that has no result yet. If it names nothing, it belongs to the first call without a result.
    """
    named = message.get("tool_call_id")
    tool = message.get("tool_name") or message.get("name")
    found = next((call for call in waiting if named and call.call == named), None)
    if found is None and not named:
        found = next((call for call in waiting if call.name == tool), None)
        found = found or next((call for call in waiting if not tool), None)
    if found is not None:
        waiting.remove(found)
    elif not named and not tool:
        raise InvalidFieldError(f"`{where}` needs the `tool_name` of a call before it.", f"{where}.tool_name")
    if any(not isinstance(part, TextPart) for part in parts):
        raise InvalidFieldError(f"`{where}` is the result of a tool, which is text.", f"{where}.images")
    text = "".join(part.text for part in parts if isinstance(part, TextPart))
    call = found.call if found is not None else str(named or tool)
    return ToolResultPart(call, str(tool or (found.name if found is not None else "")), text)
