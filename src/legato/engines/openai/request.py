"""The body of `POST /chat/completions`, without I/O."""

from collections.abc import Mapping
from typing import Any

import msgspec

from legato.engines.base import Request
from legato.engines.message_format import FlatMessage, base64_of, flatten_turns, functions, object_text
from legato.engines.openai.learned_refusals import RequestLimits, without_pictures

_OF_OLLAMA = frozenset(
    {"num_ctx", "num_predict", "num_thread", "num_gpu", "num_batch", "num_keep", "main_gpu", "use_mmap"}
)
"""Options of an assistant for which an OpenAI-compatible server has no field. It may refuse them."""


def completion(request: Request, extra: Mapping[str, Any], limits: RequestLimits | None = None) -> bytes:
    """Return the body of `POST /chat/completions`. A field that `extra` or the options set to None is left out."""
    return msgspec.json.encode(completion_fields(request, extra, limits or RequestLimits()))


def completion_fields(request: Request, extra: Mapping[str, Any], limits: RequestLimits) -> dict[str, Any]:
    """Return the fields of `POST /chat/completions`, without what the server refuses."""
    request = without_pictures(request, limits)
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
    body["messages"] = _messages(request)
    if request.tools:
        body["tools"] = functions(request.tools)
    if request.format is not None:
        body["response_format"] = _format(request.format)
    if request.tool_choice is not None and request.tool_choice != "none":
        body["tool_choice"] = _tool_choice(request.tool_choice)
    if request.parallel_tools is not None and request.tools:
        body["parallel_tool_calls"] = request.parallel_tools
    if limits.renames_max_tokens and "max_tokens" in body:
        body["max_completion_tokens"] = body.pop("max_tokens")
    return {name: value for name, value in body.items() if value is not None and name not in limits.fields}


def _format(wanted: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(wanted, str):
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted, "strict": True}}


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
