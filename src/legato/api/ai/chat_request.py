"""The body of `POST /ai/chat` as a request of an engine, without I/O. The format is that of `ai` 5 to 7, November 2026."""

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct

from legato.api.request_fields import (
    InvalidFieldError,
    check_tool_choice,
    function_tool,
    options_of,
    think_of,
)
from legato.domain.message import AudioPart, ImagePart, Part, TextPart, ToolCallPart, ToolResultPart
from legato.domain.text_file import text_file_part
from legato.engines.base import Request, ToolSpec, Turn

ID_LENGTH = 256
"""The most characters of the id of a chat or of a message."""

_NAMES = {
    "frequency_penalty": "frequencyPenalty",
    "max_tokens": "maxOutputTokens",
    "presence_penalty": "presencePenalty",
    "stop": "stopSequences",
    "tool_choice": "toolChoice",
    "top_k": "topK",
    "top_p": "topP",
}
"""The SDK's names of the fields that OpenAI names otherwise."""

_ANSWERED = ("output-available", "output-error", "output-denied")
_SOUNDS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mpeg",
    "audio/mp3": "mpeg",
}
_TEXTS = (
    "application/json",
    "application/xml",
    "application/yaml",
    "application/x-yaml",
    "application/javascript",
)


class AiChatBody(Struct, frozen=True, rename="camel"):
    """What `useChat` sends, and what a page may add to its `body`: `model`, `system`, `tools`, `toolChoice`, `reasoning`, and the
    call settings of the SDK. Other fields are the page's own and have no effect.
    """

    id: str
    messages: list[dict[str, Any]]
    trigger: str = "submit-message"
    message_id: str | None = None
    model: str | None = None
    system: str | None = None
    tools: dict[str, dict[str, Any]] | list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    reasoning: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop_sequences: list[str] | None = None

    @property
    def stop(self) -> list[str] | None:
        """The stop sequences, by the name that `options_of` reads."""
        return self.stop_sequences

    @property
    def max_tokens(self) -> int | None:
        """The most tokens, by the name that `options_of` reads."""
        return self.max_output_tokens


class AiChatRequest(Struct, frozen=True):
    """What a body asks for. `continued` is the message that the reply goes on with; None: it is a new one. `model`: None is the
    assistant `default`.
    """

    chat: str
    request: Request
    model: str | None = None
    continued: dict[str, Any] | None = None


def parse_chat_request(body: AiChatBody) -> AiChatRequest:
    """Return what the body asks for.

    :raises InvalidFieldError: a field is wrong, or asks for what no engine here does.
    """
    check_chat_id(body.id)
    messages = _asked(body)
    if not messages:
        raise InvalidFieldError("`messages` is empty: a request needs at least one message.", "messages")
    turns = [Turn("system", (TextPart(body.system),))] if body.system else []
    for index, message in enumerate(messages):
        turns += _turns(message, f"messages[{index}]")
    if not any(turn.role != "system" for turn in turns):
        raise InvalidFieldError("`messages` says nothing: a request needs a message with a text.", "messages")
    choice, tools = _tool_choice(body.tool_choice), _tools(body.tools)
    with _named():
        check_tool_choice(choice, tools)
        options = options_of(body)
    request = Request(
        model="",
        turns=tuple(turns),
        options=options,
        # A model that must not call a tool is not told of one.
        tools=() if choice == "none" else tools,
        think=think_of(body.reasoning, "reasoning"),
        tool_choice=choice,
    )
    return AiChatRequest(body.id, request, body.model or None, _continued(messages[-1]))


@contextmanager
def _named() -> Iterator[None]:
    """Name fields of errors as the SDK does."""
    try:
        yield
    except InvalidFieldError as error:
        name = _NAMES.get(error.param, error.param)
        raise InvalidFieldError(error.message.replace(f"`{error.param}`", f"`{name}`"), name) from None


def check_chat_id(chat: str) -> None:
    """:raises InvalidFieldError: no chat can have this id."""
    if not 0 < len(chat) <= ID_LENGTH or not chat.isprintable():
        raise InvalidFieldError(f"`id` is the id of the chat: 1 to {ID_LENGTH} characters.", "id")


def _asked(body: AiChatBody) -> list[dict[str, Any]]:
    """Return the messages up to the reply that is written again, or all."""
    if body.trigger not in ("submit-message", "regenerate-message"):
        raise InvalidFieldError("`trigger` is submit-message or regenerate-message.", "trigger")
    messages = body.messages
    if body.trigger == "submit-message":
        return messages
    ids = [message.get("id") for message in messages]
    if body.message_id is not None and body.message_id in ids:
        at = ids.index(body.message_id)
        return messages[: at if messages[at].get("role") == "assistant" else at + 1]
    return messages[:-1] if messages and messages[-1].get("role") == "assistant" else messages


def _continued(last: dict[str, Any]) -> dict[str, Any] | None:
    """Return the last message if a reply goes on with it: the results of its tools have come."""
    name = last.get("id")
    return (
        last
        if last.get("role") == "assistant" and isinstance(name, str) and 0 < len(name) <= ID_LENGTH
        else None
    )


def _turns(message: dict[str, Any], where: str) -> list[Turn]:
    role, parts = message.get("role"), message.get("parts")
    if role not in ("system", "user", "assistant"):
        raise InvalidFieldError(f"`{where}.role` is system, user or assistant.", f"{where}.role")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise InvalidFieldError(f"`{where}.parts` is a list of parts.", f"{where}.parts")
    if role == "assistant":
        return _assistant_turns(parts, f"{where}.parts")
    told = [
        told
        for index, part in enumerate(parts)
        if (told := _part(part, f"{where}.parts[{index}]")) is not None
    ]
    return [Turn(role, tuple(told))] if told else []


def _assistant_turns(parts: list[dict[str, Any]], where: str) -> list[Turn]:
    """Return the turns of a reply: for each of its steps what the model wrote, then the results of its tools."""
    turns: list[Turn] = []
    told: list[Part] = []
    results: list[Turn] = []

    def end_step() -> None:
        if told:
            turns.append(Turn("assistant", tuple(told)))
        turns.extend(results)
        told.clear()
        results.clear()

    for index, part in enumerate(parts):
        kind = part.get("type")
        if kind == "step-start":
            end_step()
        elif kind == "dynamic-tool" or (isinstance(kind, str) and kind.startswith("tool-")):
            used = _tool_use(part, f"{where}[{index}]")
            if used is not None:
                told.append(used[0])
                results.append(Turn("tool", (used[1],)))
        elif (text := _part(part, f"{where}[{index}]")) is not None:
            # Text behind results is of another step, also if the client keeps no marks of steps.
            if results:
                end_step()
            told.append(text)
    end_step()
    return turns


def _tool_use(part: dict[str, Any], where: str) -> tuple[ToolCallPart, ToolResultPart] | None:
    """Return a tool call and its result; None if it has no result, because no model goes on behind a call without one."""
    name = (
        part.get("toolName") if part.get("type") == "dynamic-tool" else str(part.get("type"))[len("tool-") :]
    )
    call = part.get("toolCallId")
    if not isinstance(name, str) or not name or not isinstance(call, str) or not call:
        raise InvalidFieldError(f"`{where}` needs the name of its tool and a `toolCallId`.", where)
    state = part.get("state")
    if state not in _ANSWERED or part.get("preliminary"):
        return None
    given = part["input"] if part.get("input") is not None else part.get("rawInput")
    arguments = given if isinstance(given, str) else _json({} if given is None else given)
    if state == "output-available":
        return ToolCallPart(call, name, arguments), ToolResultPart(call, name, _text(part.get("output")))
    approval = part.get("approval")
    reason = approval.get("reason") if isinstance(approval, dict) else None
    why = part.get("errorText") or reason or "It was not allowed."
    return ToolCallPart(call, name, arguments), ToolResultPart(call, name, str(why), failed=True)


def _part(part: dict[str, Any], where: str) -> Part | None:
    """Return a part of a message, None for one that is not for the model."""
    match part:
        case {"type": "text", "text": str() as text}:
            return TextPart(text) if text else None
        case {"type": "file", "mediaType": str() as kind, "url": str() as url}:
            return _file(part, kind.lower().partition(";")[0], url, where)
        case {
            "type": "reasoning"
            | "reasoning-file"
            | "step-start"
            | "source-url"
            | "source-document"
            | "custom"
        }:
            return None
        case {"type": str() as kind} if kind.startswith("data-"):
            return None
    raise InvalidFieldError(
        f"`{where}` is of a kind that is not supported here: text, file, reasoning, tool and data parts are.",
        where,
    )


def _file(part: dict[str, Any], kind: str, url: str, where: str) -> Part:
    if not url.startswith("data:") or "," not in url:
        raise InvalidFieldError(
            f"`{where}.url` is a `data:` URL: this server fetches nothing from the network.", f"{where}.url"
        )
    if kind.startswith("image/"):
        return ImagePart(f"data:{kind};base64,{base64.b64encode(_bytes(url, where)).decode()}")
    if kind in _SOUNDS:
        return AudioPart(f"data:audio/{_SOUNDS[kind]};base64,{base64.b64encode(_bytes(url, where)).decode()}")
    if kind.startswith("text/") or kind in _TEXTS:
        return text_file_part(str(part.get("filename") or ""), _bytes(url, where))
    raise InvalidFieldError(
        f"`{where}` is of the type {kind[:80]!r}: pictures, recordings (WAV, MP3) and text files are supported.",
        f"{where}.mediaType",
    )


def _bytes(url: str, where: str) -> bytes:
    head, _, data = url.partition(",")
    if not head.endswith(";base64"):
        return unquote_to_bytes(data)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidFieldError(f"`{where}.url` is not valid base64.", f"{where}.url") from None


def _tools(tools: dict[str, dict[str, Any]] | list[dict[str, Any]] | None) -> tuple[ToolSpec, ...]:
    """Return the tools that the page runs: an object by name, as in the SDK, or a list in OpenAI's form."""
    if tools is None:
        return ()
    if isinstance(tools, list):
        return tuple(function_tool(each, "tools", index) for index, each in enumerate(tools))
    return tuple(_tool(name, each) for name, each in tools.items())


def _tool(name: str, tool: dict[str, Any]) -> ToolSpec:
    schema = tool.get("inputSchema", tool.get("parameters"))
    if isinstance(schema, dict) and isinstance(schema.get("jsonSchema"), dict):
        schema = schema["jsonSchema"]
    description = tool.get("description") or ""
    if schema is None:
        schema = {"type": "object", "properties": {}}
    if not name or not isinstance(schema, dict) or not isinstance(description, str):
        raise InvalidFieldError(
            f"`tools.{name[:80]}` needs `inputSchema`, a JSON Schema, and a `description`.",
            f"tools.{name[:80]}",
        )
    return ToolSpec(name, description, schema)


def _tool_choice(choice: str | dict[str, Any] | None) -> str | None:
    match choice:
        case None | "auto" | "none" | "required":
            return choice
        case {"type": "auto" | "none" | "required" as kind}:
            return kind
        case {"type": "tool", "toolName": str() as name}:
            return f"function:{name}"
    raise InvalidFieldError("`toolChoice` is auto, none, required, or {type: tool, toolName}.", "toolChoice")


def _text(output: object) -> str:
    return output if isinstance(output, str) else _json(output)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
