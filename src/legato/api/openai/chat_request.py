"""The body of `POST /v1/chat/completions` as a request of an engine, without I/O. The format is that of OpenAI's reference, November 2026."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from legato.api.call import MAX_CHOICES
from legato.api.request_fields import (
    InvalidFieldError,
    check_tool_choice,
    function_tool,
    options_of,
    parts_of,
    think_of,
    tool_choice_of,
)
from legato.domain.message import (
    MessageRole,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from legato.engines.base import Request, ToolSpec, Turn

ROLES: Mapping[str, MessageRole] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


UNSUPPORTED = (
    "audio", "prediction", "web_search_options", "grammar", "guided_choice", "guided_grammar", "guided_json",
    "guided_regex", "structured_outputs", "ignore_eos", "min_tokens",
)  # fmt: skip
"""Fields of OpenAI's and other servers that shape the answer, and that no engine here is told of."""


class ChatCompletionRequest(Struct, frozen=True):
    """What a body asks for. `include_usage`: the stream ends with the usage."""

    model: str
    request: Request
    stream: bool
    include_usage: bool
    choices: int


class StreamOptions(Struct, frozen=True):
    include_usage: bool | None = None


class ChatCompletionBody(Struct, frozen=True):
    """The fields that are read. Fields that only OpenAI's own service has are accepted and have no effect: `user`, `metadata`,
    `store`, `service_tier`, `safety_identifier`.
    """

    messages: list[dict[str, Any]]
    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[dict[str, Any]] | None = None
    function_call: str | dict[str, Any] | None = None
    reasoning_effort: str | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    grammar: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_regex: str | None = None
    structured_outputs: dict[str, Any] | None = None
    ignore_eos: bool | None = None
    min_tokens: int | None = None
    verbosity: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = field(default=None)


def parse_chat_request(body: ChatCompletionBody) -> ChatCompletionRequest:
    """Return what the body asks for. Its model is the name that the client used.

    :raises InvalidFieldError: a field is wrong, or asks for what no engine here does.
    """
    if not body.messages:
        raise InvalidFieldError("`messages` is empty: a request needs at least one message.", "messages")
    for name in UNSUPPORTED:
        # An empty object asks too: `web_search_options: {}` is how a search is asked for.
        if getattr(body, name) not in (None, False, 0, "", []):
            raise InvalidFieldError(f"`{name}` is not supported here. Leave it out.", name)
    if body.modalities is not None and set(body.modalities) != {"text"}:
        raise InvalidFieldError('`modalities` can be ["text"] only: no engine here speaks.', "modalities")
    if body.verbosity not in (None, "medium"):
        raise InvalidFieldError("`verbosity` is not supported here. Leave it out.", "verbosity")
    choices = 1 if body.n is None else body.n
    if not 1 <= choices <= MAX_CHOICES:
        raise InvalidFieldError(f"`n` is between 1 and {MAX_CHOICES}.", "n")
    choice = tool_choice_of(body.tool_choice if body.tool_choice is not None else body.function_call)
    tools = _tools(body)
    check_tool_choice(choice, tools)
    name, description, strict = format_details(body.response_format)
    request = Request(
        model="",
        turns=tuple(_turn(each, index) for index, each in enumerate(body.messages)),
        options=options_of(body),
        # A model that must not call a tool is not told of one.
        tools=() if choice == "none" else tools,
        think=think_of(body.reasoning_effort, "reasoning_effort"),
        format=format_of(body.response_format),
        tool_choice=choice,
        parallel_tools=body.parallel_tool_calls,
        logprobs=_logprobs(body),
        cache_key=body.prompt_cache_key or "",
        format_name=name,
        format_description=description,
        format_strict=strict,
    )
    return ChatCompletionRequest(
        body.model,
        request,
        bool(body.stream),
        bool(body.stream_options is not None and body.stream_options.include_usage),
        choices,
    )


def format_of(response_format: dict[str, Any] | None) -> str | dict[str, Any] | None:
    """Return the `format` of a request for a `response_format`.

    :raises InvalidFieldError: it is none that exists.
    """
    if response_format is None:
        return None
    match response_format:
        case {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return "json"
        case {"type": "json_schema", "json_schema": {"schema": dict() as schema}}:
            return schema
    raise InvalidFieldError(
        "`response_format` is {type: text}, {type: json_object}, or {type: json_schema, json_schema: {name, schema}}.",
        "response_format",
    )


def format_details(response_format: dict[str, Any] | None) -> tuple[str, str, bool | None]:
    """Return the name, the description and `strict` of a `response_format` with a JSON Schema; empty and None if it has none.

    :raises InvalidFieldError: one of them is of another type.
    """
    match response_format:
        case {"type": "json_schema", "json_schema": dict() as schema}:
            name, description = schema.get("name") or "", schema.get("description") or ""
            strict = schema.get("strict")
            if isinstance(name, str) and isinstance(description, str) and isinstance(strict, bool | None):
                return name[:64], description[:4000], strict
            raise InvalidFieldError(
                "`response_format.json_schema` has a name and a description, which are texts, and `strict`, which is true or false.",
                "response_format",
            )
    return "", "", None


def _logprobs(body: ChatCompletionBody) -> int | None:
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidFieldError("`top_logprobs` needs `logprobs: true`.", "top_logprobs")
    if not body.logprobs:
        return None
    most = body.top_logprobs or 0
    if not 0 <= most <= 20:
        raise InvalidFieldError("`top_logprobs` is between 0 and 20.", "top_logprobs")
    return most


def _tools(body: ChatCompletionBody) -> tuple[ToolSpec, ...]:
    named = [("tools", each) for each in body.tools or ()]
    named += [("functions", {"type": "function", "function": each}) for each in body.functions or ()]
    return tuple(function_tool(each, param, index) for index, (param, each) in enumerate(named))


def _turn(message: dict[str, Any], index: int) -> Turn:
    where = f"messages[{index}]"
    role = ROLES.get(str(message.get("role")))
    if role is None:
        raise InvalidFieldError(
            f"`{where}.role` is system, developer, user, assistant or tool.", f"{where}.role"
        )
    parts = parts_of(message.get("content"), f"{where}.content")
    if role == "tool":
        call = message.get("tool_call_id") or message.get("name") or ""
        text = "".join(part.text for part in parts if isinstance(part, TextPart))
        return Turn(role, (ToolResultPart(str(call), str(message.get("name") or ""), text),))
    if role == "assistant":
        return Turn(role, (*parts, *_calls(message, where)))
    return Turn(role, parts)


def _calls(message: dict[str, Any], where: str) -> list[ToolCallPart]:
    calls: list[ToolCallPart] = []
    told = message.get("tool_calls") or []
    if not isinstance(told, list):
        raise InvalidFieldError(f"`{where}.tool_calls` is a list.", f"{where}.tool_calls")
    for index, call in enumerate(told):
        match call:
            case {"function": {"name": str() as name, **function}}:
                arguments = function.get("arguments") or "{}"
                if not isinstance(arguments, str):
                    arguments = msgspec.json.encode(arguments).decode()
                calls.append(ToolCallPart(str(call.get("id") or f"call_{index}"), name, arguments))
            case _:
                raise InvalidFieldError(
                    f"`{where}.tool_calls[{index}]` needs a function with a name.", f"{where}.tool_calls"
                )
    return calls
