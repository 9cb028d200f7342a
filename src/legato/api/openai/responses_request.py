"""The body of `POST /v1/responses` as a request of an engine, without I/O. The format is that of OpenAI's reference, November 2026."""

from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from legato.api.openai.response_items import input_items, turns_of
from legato.api.request_fields import InvalidFieldError, check_tool_choice, options_of, think_of
from legato.domain.surrogates import decode_replacing_surrogates
from legato.engines.base import Request, ToolSpec
from legato.errors import NotFoundError

LOGPROBS = "message.output_text.logprobs"

INCLUDED = frozenset(
    {
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
        "message.input_image.image_url",
        LOGPROBS,
        "reasoning.encrypted_content",
        "web_search_call.action.sources",
        "web_search_call.results",
    }
)
"""What `include` can name. Pictures are always told; those of tools that are not here, and of encryption, have no effect."""

REFUSED = (
    "access_programs",
    "context_management",
    "conversation",
    "image",
    "max_tool_calls",
    "moderation",
    "prompt",
)
"""Fields of OpenAI's own service that change what a response is."""

METADATA = (16, 64, 512)
"""How many pairs metadata has, and how many characters a key and a value have, at most."""


class ResponseNotFoundError(NotFoundError):
    """There is no such response. `param` is the field that names it, None if the path does."""

    def __init__(self, param: str | None = None) -> None:
        super().__init__(
            "There is no such response. It was deleted or has expired, or it was not to be stored."
        )
        self.param = param


class ResponsesBody(Struct, frozen=True):
    """The fields that are known. `user`, `safety_identifier`, `service_tier`, `client_metadata` and those of the prompt cache have no effect."""

    model: str | None = None
    input: str | list[Any] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    store: bool | None = None
    background: bool | None = None
    background_options: dict[str, Any] | None = None
    previous_response_id: str | None = None
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    top_logprobs: int | None = None
    truncation: str | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    client_metadata: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    access_programs: dict[str, Any] | None = None
    context_management: list[Any] | None = None
    conversation: str | dict[str, Any] | None = None
    image: dict[str, Any] | None = None
    max_tool_calls: int | None = None
    moderation: dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None


class ResponsesRequest(Struct, frozen=True):
    """What a body asks for.

    `items` are its input, and `previous` the response whose conversation they continue; `with_history` makes turns of both.
    `fields` are what the response tells again.
    """

    model: str
    request: Request
    items: list[dict[str, Any]]
    instructions: str | None
    previous: str | None
    stream: bool
    store: bool
    background: bool
    fields: dict[str, Any]

    def with_history(self, items: list[dict[str, Any]]) -> Request:
        """Return the request with these items as its turns."""
        turns = turns_of(items, self.instructions)
        if not turns:
            raise InvalidFieldError("`input` is empty: a request needs at least one message.", "input")
        return replace(self.request, turns=turns)


def check_names(body: bytes) -> None:
    """Check that a body has no field that is not known. It is decoded already.

    :raises InvalidFieldError: it has one.
    """
    names = decode_replacing_surrogates(
        lambda raw: msgspec.json.decode(raw, type=dict[str, msgspec.Raw]), body or b"{}"
    )
    for name in names:
        if name not in ResponsesBody.__struct_fields__:
            raise InvalidFieldError(f"`{name[:100]}` is not a field of this request.", name[:100])


def parse_responses_request(body: ResponsesBody) -> ResponsesRequest:
    """Return what the body asks for. Its model is the name that the client used.

    :raises InvalidFieldError: a field is wrong, or asks for what no engine here does.
    """
    _check_refused(body)
    if not body.model:
        raise InvalidFieldError("`model` is missing.", "model")
    if body.input is None and body.previous_response_id is None:
        raise InvalidFieldError("`input` is missing: it is a text, or a list of items.", "input")
    background = bool(body.background)
    if background and body.store is False:
        raise InvalidFieldError("`background` needs `store`: its response is read later.", "store")
    choice, allowed = _tool_choice(body.tool_choice)
    tools = tuple(_tool(each, index) for index, each in enumerate(body.tools or ()))
    if allowed is not None:
        tools = tuple(tool for tool in tools if tool.name in allowed)
    check_tool_choice(choice, tools)
    effort, reasoning = _reasoning(body.reasoning)
    options = options_of(body)
    if body.max_output_tokens is not None:
        if not 1 <= body.max_output_tokens < 2**31:
            raise InvalidFieldError("`max_output_tokens` is at least 1.", "max_output_tokens")
        options["num_predict"] = body.max_output_tokens
    request = Request(
        model="",
        turns=(),
        options=options,
        # A model that must not call a tool is not told of one.
        tools=() if choice == "none" else tools,
        think=think_of(effort, "reasoning.effort"),
        format=_format(body.text),
        **_format_details(body.text),
        tool_choice=choice,
        parallel_tools=body.parallel_tool_calls,
        logprobs=_logprobs(body),
        cache_key=body.prompt_cache_key or "",
    )
    return ResponsesRequest(
        body.model,
        request,
        input_items(body.input if body.input is not None else []),
        body.instructions,
        body.previous_response_id,
        bool(body.stream),
        body.store is not False,
        background,
        _fields(body, reasoning),
    )


def _check_refused(body: ResponsesBody) -> None:
    for name in REFUSED:
        if getattr(body, name) is not None:
            raise InvalidFieldError(f"`{name}` is not supported here. Leave it out.", name)
    if body.truncation not in (None, "disabled"):
        raise InvalidFieldError(
            '`truncation` can be "disabled" only: no prompt is shortened here.', "truncation"
        )
    for each in body.include or ():
        if each not in INCLUDED:
            raise InvalidFieldError(f"`include` cannot name {each[:100]!r} here.", "include")
    if (body.stream_options or {}).get("include_obfuscation"):
        raise InvalidFieldError(
            "`stream_options.include_obfuscation` is not supported here.",
            "stream_options.include_obfuscation",
        )
    window = (body.background_options or {}).get("completion_window")
    if window not in (None, "soonest"):
        raise InvalidFieldError(
            "`background_options.completion_window` can be soonest only.",
            "background_options.completion_window",
        )
    if body.metadata is not None:
        pairs, key, value = METADATA
        if len(body.metadata) > pairs or any(
            len(name) > key or len(text) > value for name, text in body.metadata.items()
        ):
            raise InvalidFieldError(
                f"`metadata` has {pairs} pairs at most, with keys up to {key} and values up to {value} characters.",
                "metadata",
            )


def _fields(body: ResponsesBody, reasoning: dict[str, Any]) -> dict[str, Any]:
    """Return what the response tells again of the request."""
    text = {"verbosity": "medium", **(body.text or {})}
    return {
        "background": bool(body.background),
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": None,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": reasoning,
        "safety_identifier": body.safety_identifier,
        "service_tier": "default",
        "store": body.store is not False,
        "temperature": body.temperature,
        "text": {**text, "format": text.get("format") or {"type": "text"}},
        "tool_choice": body.tool_choice if body.tool_choice is not None else "auto",
        "tools": body.tools or [],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": body.top_p,
        "truncation": "disabled",
        "user": body.user,
    }


def _reasoning(reasoning: dict[str, Any] | None) -> tuple[str | None, dict[str, Any]]:
    """Return the effort, and what the response tells of `reasoning`."""
    given = reasoning or {}
    known = {
        "summary": (None, "auto", "concise", "detailed"),
        "generate_summary": (None, "auto", "concise", "detailed"),
        "context": (None, "auto"),
        "mode": (None, "standard"),
    }
    for name, value in given.items():
        if name == "effort" and (value is None or isinstance(value, str)):
            continue
        if name not in known or value not in known[name]:
            raise InvalidFieldError(
                "`reasoning` has an `effort` and a `summary` (auto, concise or detailed).",
                f"reasoning.{name}"[:100],
            )
    told = {"effort": given.get("effort"), "summary": given.get("summary") or given.get("generate_summary")}
    return given.get("effort"), told


def _logprobs(body: ResponsesBody) -> int | None:
    """Return how many alternatives are told for each token, None if no token is told."""
    most = body.top_logprobs or 0
    if not 0 <= most <= 20:
        raise InvalidFieldError("`top_logprobs` is between 0 and 20.", "top_logprobs")
    return most if most or LOGPROBS in (body.include or ()) else None


def _tool(tool: dict[str, Any], index: int) -> ToolSpec:
    """Return a function tool, whose fields are not below `function` as they are for chat completions."""
    where = f"tools[{index}]"
    match tool:
        case {"type": "function", "name": str() as name} if name:
            parameters = tool.get("parameters") or {"type": "object", "properties": {}}
            description = tool.get("description") or ""
            strict = tool.get("strict")
            if (
                isinstance(parameters, dict)
                and isinstance(description, str)
                and isinstance(strict, bool | None)
            ):
                return ToolSpec(name, description, parameters, strict)
            raise InvalidFieldError(f"`{where}.parameters` is a JSON Schema.", f"{where}.parameters")
        case {"type": "function"}:
            raise InvalidFieldError(f"`{where}` needs a `name`.", f"{where}.name")
    kind = str(tool.get("type"))[:40]
    raise InvalidFieldError(f"`{where}` is of the type {kind!r}: only functions work here.", f"{where}.type")


def _tool_choice(choice: str | dict[str, Any] | None) -> tuple[str | None, frozenset[str] | None]:
    """Return the `tool_choice` of a request, and the names of the tools that are allowed; None: all."""
    match choice:
        case None | "auto" | "none" | "required":
            return choice, None
        case {"type": "function", "name": str() as name} if name:
            return f"function:{name}", None
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": list() as tools}:
            names = [tool["name"] for tool in tools if isinstance(tool, dict) and "name" in tool]
            if len(names) == len(tools) and all(isinstance(name, str) for name in names):
                return mode, frozenset(names)
    raise InvalidFieldError(
        "`tool_choice` is none, auto, required, {type: function, name}, or {type: allowed_tools, mode, tools}.",
        "tool_choice",
    )


def _format(text: dict[str, Any] | None) -> str | dict[str, Any] | None:
    given = text or {}
    for name in given:
        if name not in ("format", "verbosity"):
            raise InvalidFieldError("`text` has a `format` and a `verbosity`.", f"text.{name}"[:100])
    if given.get("verbosity") not in (None, "medium"):
        raise InvalidFieldError("`text.verbosity` can be medium only.", "text.verbosity")
    match given.get("format"):
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return "json"
        case {"type": "json_schema", "schema": dict() as schema}:
            return schema
    raise InvalidFieldError(
        "`text.format` is {type: text}, {type: json_object}, or {type: json_schema, name, schema}.",
        "text.format",
    )


def _format_details(text: dict[str, Any] | None) -> dict[str, Any]:
    """Return what the client calls its JSON Schema, as fields of a request."""
    match (text or {}).get("format"):
        case {"type": "json_schema", **schema}:
            name, description = schema.get("name") or "", schema.get("description") or ""
            strict = schema.get("strict")
            if isinstance(name, str) and isinstance(description, str) and isinstance(strict, bool | None):
                named = {"format_name": name[:64], "format_description": description[:4000]}
                return {**named, "format_strict": strict}
            raise InvalidFieldError(
                "`text.format` has a name and a description, which are texts, and `strict`, which is true or false.",
                "text.format",
            )
    return {}
