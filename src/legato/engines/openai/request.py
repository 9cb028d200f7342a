"""The bodies of `POST /chat/completions` and `POST /completions`, without I/O."""

from collections.abc import Mapping
from typing import Any

import msgspec

from legato.domain.message import TextPart
from legato.engines.base import Request
from legato.engines.message_format import FlatMessage, base64_of, flatten_turns, functions, object_text
from legato.engines.openai.learned_refusals import RequestLimits, without_pictures

_OF_OLLAMA = frozenset(
    {"num_ctx", "num_predict", "num_thread", "num_gpu", "num_batch", "num_keep", "main_gpu", "use_mmap"}
)
"""Options of an assistant for which an OpenAI-compatible server has no field. It may refuse them."""


def prompt_of(request: Request) -> str:
    """Return the prompt of a request without a template: all texts, then what the reply already has."""
    texts = (part.text for turn in request.turns for part in turn.parts if isinstance(part, TextPart))
    return "".join([*texts, request.prefix])


def completion(request: Request, extra: Mapping[str, Any], limits: RequestLimits | None = None) -> bytes:
    """Return the body of `POST /chat/completions`. A field that `extra` or the options set to None is left out."""
    return msgspec.json.encode(completion_fields(request, extra, limits or RequestLimits()))


def completion_fields(request: Request, extra: Mapping[str, Any], limits: RequestLimits) -> dict[str, Any]:
    """Return the fields of `POST /chat/completions`, without what the server refuses."""
    body = _common_fields(request, extra)
    request = without_pictures(request, limits)
    if isinstance(request.think, str):
        body["reasoning_effort"] = request.think
    elif request.think is False:
        body["reasoning_effort"] = "none"
    body["messages"] = _messages(request)
    if request.tools:
        body["tools"] = functions(request.tools)
    if request.format is not None:
        body["response_format"] = _format(request)
    if request.tool_choice is not None and request.tool_choice != "none":
        body["tool_choice"] = _tool_choice(request.tool_choice)
    if request.parallel_tools is not None and request.tools:
        body["parallel_tool_calls"] = request.parallel_tools
    if request.logprobs is not None:
        body["logprobs"] = True
        if request.logprobs:
            body["top_logprobs"] = request.logprobs
    if limits.renames_max_tokens and "max_tokens" in body:
        body["max_completion_tokens"] = body.pop("max_tokens")
    return _without_refused(body, limits)


def prompt_fields(request: Request, extra: Mapping[str, Any], limits: RequestLimits) -> dict[str, Any]:
    """Return the fields of `POST /completions`, without what the server refuses."""
    body = _common_fields(request, extra)
    body["prompt"] = prompt_of(request)
    if request.suffix:
        body["suffix"] = request.suffix
    if request.logprobs is not None:
        body["logprobs"] = request.logprobs
    return _without_refused(body, limits)


def asked_fields(request: Request) -> dict[str, str]:
    """Return the fields of a body that the caller itself asked for and that are no part of the prompt, each with its name in `Request`
    or in its options.
    """
    asked = {name: name for name in request.options}
    if request.think:
        asked["reasoning_effort"] = "think"
    if request.parallel_tools is False and request.tools:
        asked["parallel_tool_calls"] = "parallel_tools"
    if request.logprobs is not None:
        asked |= {"logprobs": "logprobs", "top_logprobs": "logprobs"}
    if request.format is not None:
        asked["response_format"] = "format"
    if request.tool_choice not in (None, "auto", "none"):
        asked["tool_choice"] = "tool_choice"
    if request.suffix:
        asked["suffix"] = "suffix"
    return asked


def _common_fields(request: Request, extra: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    if isinstance(request.think, str):
        body["reasoning_effort"] = request.think
    elif request.think is False:
        body["reasoning_effort"] = "none"
    limit = request.options.get("num_predict")
    if isinstance(limit, int) and limit >= 0:
        body["max_tokens"] = limit
    body |= extra
    body |= {name: value for name, value in request.options.items() if name not in _OF_OLLAMA}
    body["model"] = request.model
    return body


def _without_refused(body: dict[str, Any], limits: RequestLimits) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None and name not in limits.fields}


def _format(request: Request) -> dict[str, Any]:
    if isinstance(request.format, str):
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": request.format_name or "answer", "schema": request.format}
    if request.format_description:
        schema["description"] = request.format_description
    # Without a name of its own the format is of an API that knows only answers that fit.
    strict = True if request.format_strict is None and not request.format_name else request.format_strict
    if strict is not None:
        schema["strict"] = strict
    return {"type": "json_schema", "json_schema": schema}


def _tool_choice(choice: str) -> str | dict[str, Any]:
    name = choice.removeprefix("function:")
    return choice if name == choice else {"type": "function", "function": {"name": name}}


def _messages(request: Request) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for item in flatten_turns(request.turns):
        if isinstance(item, FlatMessage):
            message: dict[str, Any] = {"role": item.role, "content": item.text}
            beside = [*map(_image, item.images), *map(_recording, item.recordings)]
            if beside:
                message["content"] = [{"type": "text", "text": item.text}, *beside] if item.text else beside
            if item.calls:
                message["content"] = item.text or None
                message["tool_calls"] = [
                    {
                        "id": call.call,
                        "type": "function",
                        "function": {"name": call.name, "arguments": object_text(call.arguments)},
                    }
                    for call in item.calls
                ]
        else:
            message = {"role": "tool", "tool_call_id": item.call, "content": item.output}
        messages.append(message)
    if request.prefix:
        messages.append({"role": "assistant", "content": request.prefix})
    return messages


def _image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def _recording(url: str) -> dict[str, Any]:
    form = "mp3" if url.startswith("data:audio/mpeg") else "wav"
    return {"type": "input_audio", "input_audio": {"data": base64_of(url), "format": form}}
