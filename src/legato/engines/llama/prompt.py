"""The request to llama.cpp: text without control tokens, and options under the names that it knows."""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from legato.domain.message import AudioPart, FilePart, ImagePart, Part, TextPart, ToolCallPart, ToolResultPart
from legato.engines.base import Request, Turn
from legato.errors import EngineRefusedError

_RENAMED: Final = {
    "num_predict": "max_tokens",
    "n_predict": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "repetition_penalty": "repeat_penalty",
}

_IGNORED: Final = frozenset({
    "num_ctx", "num_thread", "num_batch", "num_gpu", "main_gpu", "num_keep", "numa", "low_vram", "f16_kv",
    "use_mmap", "use_mlock", "vocab_only", "penalize_newline", "tfs_z",
})  # fmt: skip
"""Ollama's options for loading a model. Here the settings of the engine decide this."""

_OURS: Final = frozenset({
    "model", "messages", "prompt", "stream", "stream_options", "return_progress", "tools", "n", "id_slot",
    "cache_prompt", "lora", "timings_per_token", "continue_final_message", "add_generation_prompt",
})  # fmt: skip
"""Fields that the request itself decides, or that would affect other slots."""


def sampling(options: dict[str, Any]) -> dict[str, Any]:
    """Return `options` with llama.cpp's names. Its own and OpenAI's pass unchanged; Ollama's are translated.

    A negative `num_predict` means no limit, as with Ollama.

    :raises EngineRefusedError: an option may not be set by a caller.
    """
    chosen: dict[str, Any] = {}
    for name, value in options.items():
        if name in _OURS:
            raise EngineRefusedError(f"The option {name!r} cannot be set for the engine llama.")
        if name in _IGNORED or value is None:
            continue
        chosen[_RENAMED.get(name, name)] = value
    limit = chosen.get("max_tokens")
    if isinstance(limit, int | float) and limit < 0:
        del chosen["max_tokens"]
    return chosen


def control_token_remover(control: Iterable[str]) -> Callable[[str], str]:
    """Return a function that removes the texts of `control` from a text, until none is left.

    llama.cpp reads a control token in any text as a command: `<|im_end|>` would end the message, and its author could write
    as another role.
    """
    texts = sorted(control, key=len, reverse=True)
    if not texts:
        return lambda text: text
    pattern = re.compile("|".join(map(re.escape, texts)))

    def without(text: str) -> str:
        # The remaining text may form a token again.
        while (shorter := pattern.sub("", text)) != text:
            text = shorter
        return text

    return without


def llama_request(
    request: Request, name: str, without: Callable[[str], str], *, written: str = "", pieces: int = 0
) -> Request:
    """Return `request` as llama.cpp gets it, for the model `name`, after the text that is already `written`.

    llama.cpp sends one token in each piece, so `pieces` is subtracted from the maximum length of the reply. No text may
    contain control tokens, not even the system prompt: the owner of a conversation may have added to it.

    :raises EngineRefusedError: an image is not in the message itself, or an option may not be set by a caller.
    """
    request = _choosing(request)
    options = sampling(request.options)
    limit = options.get("max_tokens")
    if pieces and isinstance(limit, int | float):
        options["max_tokens"] = max(1, int(limit) - pieces)
    prefix = request.prefix + written
    if request.raw:
        # The whole prompt is the caller's, control tokens too.
        if request.format is not None:
            options["json_schema"] = {} if isinstance(request.format, str) else request.format
        return msgspec.structs.replace(
            request, model=name, prefix=prefix, options=options, think=None, format=None
        )
    # If the answer has begun, there is nothing left to reason about.
    think = False if prefix else request.think
    if think is not None:
        chosen = options.get("chat_template_kwargs", {})
        if not isinstance(chosen, dict):
            raise EngineRefusedError("The option 'chat_template_kwargs' must be an object.")
        options["chat_template_kwargs"] = {"enable_thinking": bool(think), **chosen}
    return msgspec.structs.replace(
        request,
        model=name,
        turns=tuple(
            Turn(turn.role, tuple(_part(part, without) for part in turn.parts)) for turn in request.turns
        ),
        prefix=without(prefix),
        options=options,
        think=think if isinstance(think, str) else None,
    )


def _choosing(request: Request) -> Request:
    """Return a request that must call one tool as one that must call a tool, and has only this one: llama.cpp knows no names here."""
    name = (request.tool_choice or "").removeprefix("function:")
    if not name or name == request.tool_choice:
        return request
    tools = tuple(tool for tool in request.tools if tool.name == name)
    return msgspec.structs.replace(request, tools=tools, tool_choice="required")


def _part(part: Part, without: Callable[[str], str]) -> Part:
    match part:
        case TextPart():
            return TextPart(without(part.text))
        case ToolCallPart():
            return msgspec.structs.replace(part, arguments=without(part.arguments))
        case ToolResultPart():
            return msgspec.structs.replace(part, output=without(part.output))
        case ImagePart():
            # llama.cpp would fetch a URL, from any host that this server can reach.
            if part.data and not part.data.startswith("data:image/"):
                raise EngineRefusedError("An image must be sent in the message itself, as a data: URL.")
            return part
        case AudioPart() | FilePart():
            return part
