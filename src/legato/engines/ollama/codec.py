"""What Ollama reads and writes, without I/O: a request as JSON, and the lines of `/api/chat` as words.

The wire is that of Ollama 0.17 (its `docs/api.md`, and recordings in `tests/data/ollama`).
"""

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct, field

from legato.domain.surrogates import decode_keeping_surrogates, join_surrogates
from legato.engines.base import Capabilities, Outcome, ReplyWriter, Request, ToolCall
from legato.engines.line_buffer import LineBuffer, LineTooLongError
from legato.engines.message_format import (
    FlatMessage,
    base64_of,
    error_text,
    flatten_turns,
    functions,
    object_of,
)
from legato.engines.model_kind import is_chat_model
from legato.engines.text_joiner import ReplyTextJoiner
from legato.errors import EngineBrokeError
from legato.stream import Timings, Usage

_NANOSECONDS = 1e6
"""In a millisecond."""


class _Function(Struct):
    name: str
    arguments: Any = None


class _OllamaCall(Struct):
    function: _Function
    id: str | None = None


class _OllamaMessage(Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_OllamaCall] | None = None


class _Line(Struct):
    message: _OllamaMessage | None = None
    model: str | None = None
    done: bool = False
    done_reason: str | None = None
    error: Any = None
    total_duration: float | None = None
    load_duration: float | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: float | None = None
    eval_count: int | None = None
    eval_duration: float | None = None


_decode = msgspec.json.Decoder(_Line).decode


def chat(request: Request) -> bytes:
    """The body of `POST /api/chat`."""
    body: dict[str, Any] = {"model": request.model, "messages": _messages(request), "stream": True}
    if request.tools:
        body["tools"] = functions(request.tools)
    if request.options:
        body["options"] = request.options
    if request.think is not None:
        body["think"] = request.think
    if request.keep_alive is not None:
        body["keep_alive"] = request.keep_alive
    return msgspec.json.encode(body)


def _messages(request: Request) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for item in flatten_turns(request.turns):
        if isinstance(item, FlatMessage):
            message: dict[str, Any] = {"role": item.role, "content": item.text}
            if item.images:
                message["images"] = [base64_of(image) for image in item.images]
            if item.calls:
                message["tool_calls"] = [
                    {
                        "id": call.call,
                        "function": {"index": n, "name": call.name, "arguments": object_of(call.arguments)},
                    }
                    for n, call in enumerate(item.calls)
                ]
        else:
            message = {
                "role": "tool",
                "content": item.output,
                "tool_name": item.name,
                "tool_call_id": item.call,
            }
        messages.append(message)
    if request.prefix:
        messages.append({"role": "assistant", "content": request.prefix})
    return messages


class OllamaReplyParser:
    """The answer to one `/api/chat`, from its bytes, in whatever pieces they come. What it says goes to `out` at once.

    `new_id` names tool calls of versions that do not name them.
    """

    __slots__ = ("_calls", "_last", "_lines", "_new_id", "_out", "_said", "done")

    def __init__(self, out: ReplyWriter, new_id: Callable[[], str]) -> None:
        self._out = out
        self._new_id = new_id
        self._lines = LineBuffer()
        self._calls = False
        self._said = ReplyTextJoiner(out)
        self._last: _Line | None = None
        self.done = False
        """Whether the ending was read: nothing more is to come."""

    def feed(self, data: bytes) -> None:
        """Read on.

        :raises EngineBrokeError: it tells of an error, or this is not Ollama's protocol.
        """
        try:
            lines = self._lines.feed(data)
        except LineTooLongError:
            raise EngineBrokeError(
                "Ollama sent a line that is larger than it may be, so the reply was given up."
            ) from None
        for line in lines:
            self._read(line)

    def end(self) -> Outcome:
        """The bytes are at their end.

        :raises EngineBrokeError: there was no ending.
        """
        if not self.done:
            self._rest()
        last = self._last
        if last is None:
            raise EngineBrokeError("Ollama broke off in the middle of the reply. Try again.")
        reason = last.done_reason
        return Outcome(
            reason="tool_calls" if self._calls else "length" if reason == "length" else "stop",
            model=join_surrogates(last.model or ""),
            usage=Usage(last.prompt_eval_count, last.eval_count),
            timings=_timings(last),
        )

    def _rest(self) -> None:
        rest = self._lines.rest()
        if rest.strip():
            try:
                decode_keeping_surrogates(_decode, rest, _Line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                if rest.lstrip().startswith(b"{"):
                    return
            self._read(rest)

    def _read(self, data: bytes) -> None:
        if self.done or not data.strip():
            return
        try:
            line = decode_keeping_surrogates(_decode, data, _Line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise EngineBrokeError(
                "What answers is not Ollama: it sent a line that Ollama's protocol does not have. Check the URL."
            ) from None
        if line.error:
            raise EngineBrokeError(f"Ollama broke off in the middle of the reply: {error_text(line.error)}.")
        message = line.message
        if message is not None:
            if message.thinking:
                self._said.reasoning(message.thinking)
            if message.content or not message.thinking:
                self._said.text(message.content or "")
            for call in message.tool_calls or ():
                self._calls = True
                self._out.tool_call(
                    ToolCall(
                        join_surrogates(call.id) if call.id else self._new_id(),
                        join_surrogates(call.function.name),
                        _written(call.function.arguments),
                    )
                )
        if line.done:
            self._said.end()
            self._last = line
            self.done = True


def _written(arguments: Any) -> str:
    try:
        return msgspec.json.encode({} if arguments is None else arguments).decode()
    except UnicodeEncodeError:
        return join_surrogates(json.dumps(arguments, ensure_ascii=False))


def _timings(last: _Line) -> Timings:
    load, prompt = last.load_duration, last.prompt_eval_duration
    rate = None
    if last.eval_count and last.eval_duration:
        rate = last.eval_count / last.eval_duration * 1e9
    return Timings(
        load_ms=None if load is None else load / _NANOSECONDS,
        first_token_ms=None if load is None or prompt is None else (load + prompt) / _NANOSECONDS,
        total_ms=None if last.total_duration is None else last.total_duration / _NANOSECONDS,
        tokens_per_second=rate,
    )


class _ErrorBody(Struct):
    error: Any = None


def failure(body: bytes) -> str:
    """What the body of an answer that is not 200 says; empty where it is not Ollama's."""
    try:
        error = msgspec.json.decode(body, type=_ErrorBody).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return error_text(error) if error else ""


def refuses(status: int, said: str) -> bool:
    """Whether Ollama finds fault with the request, so that sending it again is of no use. A bad option is a 500."""
    return status in (400, 413, 422) or (status == 500 and said.startswith('option "'))


class ShowResponse(Struct):
    """What is wanted of `/api/show`."""

    template: str = ""
    renderer: str = ""
    remote_host: str = ""
    capabilities: list[str] | None = None
    model_info: dict[str, Any] | None = None


class ModelDescription(Struct):
    """`details` of a model in `/api/tags` and `/api/ps`."""

    family: str = ""
    parameter_size: str = ""
    quantization_level: str = ""

    @property
    def sentence(self) -> str | None:
        return f"{self.parameter_size} {self.quantization_level}".strip() or None


class OllamaModel(Struct):
    """A model in `/api/tags` and `/api/ps`."""

    name: str
    size: int | None = None
    details: ModelDescription | None = None
    context_length: int | None = None

    @property
    def chats(self) -> bool:
        return is_chat_model(self.name, self.details.family if self.details else "")


class OllamaModelList(Struct):
    models: list[OllamaModel] | None = field(default=None)


class Version(Struct):
    version: str


def full_name(model: str) -> str:
    """`plain` is the same model as `plain:latest`, and is listed so."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def capabilities(shown: ShowResponse) -> Capabilities:
    """What a model can do, by what `/api/show` says of it."""
    can = shown.capabilities or ()
    info = shown.model_info or {}
    length = info.get(f"{info.get('general.architecture')}.context_length")
    return Capabilities(
        supports_prefill=not shown.renderer and not shown.remote_host and leaves_open(shown.template),
        tools="tools" in can,
        images="vision" in can,
        thinks="thinking" in can,
        context=length if isinstance(length, int) else None,
    )


_MESSAGES = re.compile(r"\{\{[^}]*\.Messages\b")
_LAST = re.compile(
    r"\{\{-?\s*\$last\s*:=\s*eq\s*\(\s*len\s*\(\s*slice\s+\$\.Messages\s+\$\w+\s*\)\s*\)\s*1\s*-?\}\}"
)
_ASSISTANT = re.compile(
    r"""\{\{-?\s*(?:else\s+)?if\s+eq\s+\.Role\s+"assistant"\s*-?\}\}
    (?:(?!\.Role\b).)* \{\{-?\s*\.Content\s*-?\}\} (?:\s*(?=\{\{-)|(?=\{\{)) (?:(?!\.Role\b|\.Content\b).)*
    \{\{-?\s*if\s+\(?\s*not\s+\$last\s*\)?\s*-?\}\}[^{]*\{\{-?\s*end\s*-?\}\}
    (?:\s*(?=\{\{-)|(?=\{\{))""",
    re.DOTALL | re.VERBOSE,
)
_NEXT_TURN = re.compile(r"\{\{-?\s*if\s+and\s+\(\s*ne\s+\.Role\s+\"assistant\"\s*\)\s+\$last\s*-?\}\}")


def leaves_open(template: str) -> bool:
    """Whether a prompt that ends in an assistant's message ends in its very text, so that the model goes on behind it.

    Two kinds of templates do. Those without `.Messages` are cut by Ollama itself behind the last `.Response` (its
    `template.Execute`). Those with it must say so: nothing is written behind the assistant's text where the message is
    `$last`, and no new turn is opened behind an assistant. Of any other template nothing is promised.
    """
    if not _MESSAGES.search(template):
        return ".Prompt" in template
    return all(pattern.search(template) for pattern in (_LAST, _ASSISTANT, _NEXT_TURN))
