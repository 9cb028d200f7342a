"""The body of `POST /v1/messages` as a request of an engine, without I/O. The format is that of Anthropic's reference, November 2026."""

import re
from typing import Any, Literal

import msgspec
from msgspec import Struct

from legato.api.request_fields import InvalidFieldError, check_stop, check_tool_choice, options_of
from legato.domain.message import ImagePart, Part, TextPart, ToolCallPart, ToolResultPart
from legato.engines.base import Request, ToolSpec, Turn

BILLING = re.compile(r"\A(?:x-anthropic-billing-header:[^\n]*(?:\n|\Z))+")
"""What coding agents write before their system prompt. It is another with each request, so no prefix of a prompt would ever be
found again in a model's cache.
"""


class MessagesBody(Struct, frozen=True):
    """The fields that are read. `metadata`, `service_tier`, `container` and `cache_control` are accepted and have no effect."""

    model: str
    messages: list[dict[str, Any]]
    max_tokens: int | None = None
    system: str | list[dict[str, Any]] | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    mcp_servers: list[Any] | None = None

    @property
    def stop(self) -> list[str] | None:
        """The stop sequences, by the name that `options_of` reads."""
        return self.stop_sequences


class MessagesRequest(Struct, frozen=True):
    """What a body asks for. `thinking`: the thoughts of the model are told."""

    model: str
    request: Request
    stream: bool
    thinking: bool


def parse_messages_request(body: MessagesBody, *, counts: bool = False) -> MessagesRequest:
    """Return what the body asks for. `counts`: it only asks for its number of tokens, and needs no `max_tokens`.

    :raises InvalidFieldError: a field is wrong, or asks for what no engine here does.
    """
    if body.max_tokens is None and not counts:
        raise InvalidFieldError("`max_tokens` is required.", "max_tokens")
    if not body.messages:
        raise InvalidFieldError("`messages` is empty: a request needs at least one message.", "messages")
    if body.mcp_servers:
        raise InvalidFieldError("`mcp_servers` is not supported here. Leave it out.", "mcp_servers")
    check_stop(body.stop_sequences or (), "stop_sequences")
    system = _text_parts(body.system, "system")
    turns = [Turn("system", system)] if system else []
    for index, message in enumerate(body.messages):
        turns += _turns(message, f"messages[{index}]")
    choice, parallel = _tool_choice(body.tool_choice)
    tools = tuple(_tool(each, index) for index, each in enumerate(body.tools or ()))
    check_tool_choice(choice, tools)
    request = Request(
        model="",
        turns=tuple(turns),
        options=options_of(body),
        # A model that must not call a tool is not told of one.
        tools=() if choice == "none" else tools,
        think=_think(body.thinking),
        format=_format(body),
        tool_choice=choice,
        parallel_tools=parallel,
    )
    return MessagesRequest(body.model, request, bool(body.stream), bool(request.think))


def _turns(message: dict[str, Any], where: str) -> list[Turn]:
    """Return the turns of one message: results of tools are turns of their own, before the rest."""
    role = message.get("role")
    if role not in ("user", "assistant", "system"):
        raise InvalidFieldError(f"`{where}.role` is user or assistant.", f"{where}.role")
    content = message.get("content")
    if isinstance(content, str):
        return [Turn(_role(role), (TextPart(content),))]
    if not isinstance(content, list):
        raise InvalidFieldError(f"`{where}.content` is a text, or a list of blocks.", f"{where}.content")
    parts: list[Part] = []
    results: list[Part] = []
    for index, block in enumerate(content):
        for part in _parts(block, f"{where}.content[{index}]"):
            (results if isinstance(part, ToolResultPart) else parts).append(part)
    turns = [Turn("tool", (result,)) for result in results]
    return [*turns, Turn(_role(role), tuple(parts))] if parts or not turns else turns


def _role(role: str) -> Literal["user", "assistant", "system"]:
    return "assistant" if role == "assistant" else "system" if role == "system" else "user"


def _parts(block: Any, where: str) -> list[Part]:
    match block:
        case {"type": "text", "text": str() as text}:
            return [TextPart(text)]
        case {"type": "thinking" | "redacted_thinking"}:
            return []
        case {
            "type": "image",
            "source": {"type": "base64", "media_type": str() as kind, "data": str() as data},
        }:
            return [ImagePart(f"data:{kind};base64,{data}")]
        case {"type": "image"}:
            raise InvalidFieldError(
                f"`{where}.source` is {{type: base64, media_type, data}}: this server fetches nothing from the network.",
                where,
            )
        case {"type": "tool_use", "id": str() as call, "name": str() as name}:
            arguments = msgspec.json.encode(block.get("input") or {}).decode()
            return [ToolCallPart(call, name, arguments)]
        case {"type": "tool_result", "tool_use_id": str() as call}:
            return _result(block, call, where)
    raise InvalidFieldError(
        f"`{where}` is of a kind that is not supported here: text, image, tool_use, tool_result and thinking are.",
        where,
    )


def _result(block: dict[str, Any], call: str, where: str) -> list[Part]:
    """Return the result of a tool, and the pictures in it, which follow as the user's."""
    content = block.get("content") or ""
    failed = bool(block.get("is_error"))
    if isinstance(content, str):
        return [ToolResultPart(call, "", content, failed)]
    if not isinstance(content, list):
        raise InvalidFieldError(f"`{where}.content` is a text, or a list of blocks.", f"{where}.content")
    parts = [part for index, each in enumerate(content) for part in _parts(each, f"{where}.content[{index}]")]
    text = "\n".join(part.text for part in parts if isinstance(part, TextPart))
    return [ToolResultPart(call, "", text, failed), *[part for part in parts if isinstance(part, ImagePart)]]


def _text_parts(system: str | list[dict[str, Any]] | None, where: str) -> tuple[TextPart, ...]:
    """Return the system prompt, without the lines that coding agents write for Anthropic's bills."""
    if isinstance(system, str):
        system = [{"type": "text", "text": system}]
    texts: list[str] = []
    for index, block in enumerate(system or ()):
        match block:
            case {"type": "text", "text": str() as text}:
                texts.append(BILLING.sub("", text))
            case _:
                raise InvalidFieldError(f"`{where}[{index}]` is not a text block.", f"{where}[{index}]")
    prompt = "\n\n".join(text for text in texts if text)
    return (TextPart(prompt),) if prompt else ()


def _tool(tool: dict[str, Any], index: int) -> ToolSpec:
    where = f"tools[{index}]"
    match tool:
        case {"name": str() as name, "input_schema": dict() as schema} if name:
            description = tool.get("description") or ""
            if isinstance(description, str):
                return ToolSpec(name, description, schema)
        case {"type": str() as kind} if kind != "custom":
            raise InvalidFieldError(
                f"`{where}` is of the type {kind[:40]!r}, which runs at Anthropic only.", where
            )
    raise InvalidFieldError(f"`{where}` needs a `name` and an `input_schema`.", where)


def _tool_choice(choice: dict[str, Any] | None) -> tuple[str | None, bool | None]:
    if choice is None:
        return None, None
    parallel = False if choice.get("disable_parallel_tool_use") else None
    match choice:
        case {"type": "auto" | "none" as kind}:
            return kind, parallel
        case {"type": "any"}:
            return "required", parallel
        case {"type": "tool", "name": str() as name}:
            return f"function:{name}", parallel
    raise InvalidFieldError("`tool_choice.type` is auto, any, tool (with `name`) or none.", "tool_choice")


def _think(thinking: dict[str, Any] | None) -> bool | None:
    match thinking:
        case None:
            return None
        case {"type": "enabled" | "adaptive"}:
            return True
        case {"type": "disabled"}:
            return False
    raise InvalidFieldError("`thinking.type` is enabled, adaptive or disabled.", "thinking")


def _format(body: MessagesBody) -> dict[str, Any] | None:
    asked = body.output_format or (body.output_config or {}).get("format")
    match asked:
        case None:
            return None
        case {"type": "json_schema", "schema": dict() as schema}:
            return schema
    raise InvalidFieldError("`output_format` is {type: json_schema, schema}.", "output_format")
