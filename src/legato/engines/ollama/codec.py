"""Ollama's wire format, without I/O: a request as JSON, and the lines of `/api/chat` and `/api/generate` as text.

The format is that of Ollama 0.17 (its `docs/api.md`, and recordings in `tests/data/ollama`).
"""

from collections.abc import Callable, Collection
from typing import Any

import msgspec
from msgspec import Struct

from legato.domain.message import text_of
from legato.engines.base import Outcome, ReplyWriter, Request, ToolCall
from legato.engines.chunks import UnreadableError, ending, reasoning_in, texts
from legato.engines.lenient_json import count, decode_values, is_heartbeat, number, string
from legato.engines.line_buffer import LineBuffer, LineTooLongError
from legato.engines.logprobs import logprobs_in
from legato.engines.message_format import (
    FlatMessage,
    base64_of,
    error_text,
    flatten_turns,
    functions,
    object_of,
)
from legato.engines.ollama.options import ollama_options
from legato.engines.stream_errors import StreamError, error_in, error_of
from legato.engines.text_joiner import ReplyTextJoiner
from legato.engines.tool_call_parts import ToolCallCollector, TooManyCallsError
from legato.errors import EngineBrokeError, UnsupportedOptionError
from legato.stream import State, Timings, Usage

_NANOSECONDS = 1e6
"""Nanoseconds in a millisecond."""


def chat(request: Request) -> bytes:
    """Return the body of `POST /api/chat`.

    :raises UnsupportedOptionError: the request is strict, and Ollama has no such option.
    """
    body = _common_fields(request)
    body["messages"] = _messages(request)
    if request.tools:
        body["tools"] = functions(request.tools)
    return msgspec.json.encode(body)


def completion(request: Request) -> bytes:
    """Return the body of `POST /api/generate`, for a prompt without a template or with a `suffix`.

    :raises UnsupportedOptionError: the request is strict, and Ollama has no such option, or it has more than a prompt.
    """
    system = [turn for turn in request.turns if turn.role == "system"]
    users = [turn for turn in request.turns if turn.role == "user"]
    if len(system) + len(users) < len(request.turns) or len(users) > 1 or request.tools:
        option = "suffix" if request.suffix else "raw"
        raise UnsupportedOptionError("Ollama completes one text, without a history or tools.", option)
    if request.raw and request.suffix:
        raise UnsupportedOptionError("Ollama fills a gap by a template, which `raw` leaves out.", "suffix")
    body = _common_fields(request)
    message = next(filter(lambda item: isinstance(item, FlatMessage), flatten_turns(tuple(users))), None)
    images = message.images if isinstance(message, FlatMessage) else ()
    texts = [text_of(turn.parts) for turn in (*(system if request.raw else ()), *users)]
    body["prompt"] = "".join([*texts, request.prefix])
    if images:
        body["images"] = [base64_of(image) for image in images]
    if request.raw:
        body["raw"] = True
    else:
        body["suffix"] = request.suffix
        if system:
            body["system"] = "\n\n".join(text_of(turn.parts) for turn in system)
    return msgspec.json.encode(body)


def _common_fields(request: Request) -> dict[str, Any]:
    # A version that knows these two refuses a prompt that is too long, and ends a reply at the context: nothing is cut silently.
    body: dict[str, Any] = {"model": request.model, "stream": True, "truncate": False, "shift": False}
    if options := ollama_options(request.options, strict=request.strict):
        body["options"] = options
    if request.think is not None:
        body["think"] = request.think
    if request.format is not None:
        body["format"] = request.format
    if request.keep_alive is not None:
        body["keep_alive"] = request.keep_alive
    if request.logprobs is not None:
        body["logprobs"] = True
        body["top_logprobs"] = request.logprobs
    return body


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
    """Parses the response to one `/api/chat` from pieces of any size. Text is written to `out` at once; tool calls are
    collected and written when the reply ends.

    `new_id` names tool calls of versions that do not name them; `tools` are the names of the offered tools.
    """

    __slots__ = (
        "_calls", "_last", "_lines", "_out", "_said", "_spoke", "_told",
        "_torn", "done", "premature"
    )  # fmt: skip

    def __init__(self, out: ReplyWriter, new_id: Callable[[], str], tools: Collection[str] = ()) -> None:
        self._out = out
        self._lines = LineBuffer()
        self._calls = ToolCallCollector(new_id, tools)
        self._said = ReplyTextJoiner(out)
        self._last: dict[str, Any] | None = None
        self._told: list[ToolCall] | None = None
        self._spoke = self._torn = False
        self.done = False
        """Whether the ending was read: nothing more is to come."""
        self.premature = False
        """Whether text followed an ending, so that only one without text is an ending."""

    @property
    def ended(self) -> bool:
        """Whether there is an ending. If it came with text, more text may follow."""
        return self._last is not None

    def feed(self, data: bytes) -> None:
        """Parse more bytes.

        :raises EngineBrokeError: they report an error, or are not Ollama's protocol.
        """
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        try:
            lines = self._lines.feed(data)
        except LineTooLongError:
            raise EngineBrokeError(
                "Ollama sent a line that is larger than it may be, so the reply was given up."
            ) from None
        for line in lines:
            self._read(line)

    def flush(self) -> None:
        """Write what was parsed and not written yet. Call it at the end of the bytes, also if the connection broke.

        :raises EngineBrokeError: as `feed` does.
        """
        if not self.done:
            rest = self._lines.rest().strip()
            try:
                decode_values(rest.removeprefix(b"data:"))
            except ValueError:
                self._torn = rest.removeprefix(b"data:").lstrip().startswith(b"{")
            if rest and not self._torn:
                self._read(rest)
        self._said.end()

    def end(self) -> Outcome:
        """Return the outcome at the end of the bytes.

        :raises EngineBrokeError: there was no ending.
        """
        self.flush()
        last = self._last
        if last is None or (self._torn and not self.done):
            raise EngineBrokeError("Ollama broke off in the middle of the reply. Try again.")
        self._tell_calls()
        length = ending(last.get("done_reason")) == "length"
        return Outcome(
            reason="tool_calls" if self._told else "length" if length else "stop",
            model=string(last.get("model")),
            usage=Usage(count(last.get("prompt_eval_count")), count(last.get("eval_count"))),
            timings=_timings(last),
        )

    def _read(self, data: bytes) -> None:
        data = data.strip()
        if self.done:
            return
        if not data or data.startswith((b":", b"event:", b"id:", b"retry:")):
            self._sign()
            return
        # A proxy may have turned the lines into events.
        data = data.removeprefix(b"data:").lstrip()
        if data == b"[DONE]":
            return
        try:
            values = decode_values(data)
        except ValueError:
            values = [data.decode("utf-8", "replace")]
        for value in values:
            self._value(value)

    def _value(self, value: object) -> None:
        if isinstance(value, str) and value.lower().startswith("error"):
            raise _failure(error_of(value))
        if not isinstance(value, dict):
            if not is_heartbeat(value):
                raise _foreign()
            self._sign()
        elif not self.done:
            try:
                self._line(value)
            except UnreadableError:
                raise _foreign() from None
            except TooManyCallsError:
                raise EngineBrokeError(
                    "Ollama asked for more tools than it may, or with longer arguments, so the reply was given up."
                ) from None

    def _line(self, line: dict[str, Any]) -> None:
        message = line.get("message")
        bare = not isinstance(message, dict) and not isinstance(line.get("response"), str)
        error = error_in(line, bare=bare)
        if tokens := logprobs_in(line.get("logprobs")):
            self._out.logprobs(tokens)
        spoke = False
        if isinstance(message, dict):
            spoke = self._message(message)
        elif error is None or not bare:
            spoke = self._message(
                {"content": next(filter(None, map(line.get, ("response", "content", "text"))), None), **line}
                if bare
                else {"content": line["response"], "thinking": line.get("thinking")}
            )
        if error is not None:
            raise _failure(error)
        if spoke:
            self.premature = self.premature or self._last is not None
            self._last = None
        if line.get("done") in (True, "true", "True"):
            if ending(line.get("done_reason")) == "broken":
                raise EngineBrokeError("Ollama broke off in the middle of the reply. Try again.")
            self._last = line
            self.done = not spoke
            if self.done:
                self._said.end()
                self._tell_calls()

    def _tell_calls(self) -> None:
        if self._told is None:
            self._told = self._calls.finish()
            for call in self._told:
                if not call.name:
                    raise EngineBrokeError("Ollama asked for a tool without naming it. Try again.")
                self._out.tool_call(call)

    def _message(self, message: dict[str, Any]) -> bool:
        """Write the text of a message. Return whether it has any."""
        thought = reasoning_in(message)
        parts = list(texts(message.get("content")))
        thought += "".join(text for kind, text in parts if kind == "thinking")
        said = "".join(text for kind, text in parts if kind == "text")
        if thought:
            self._said.reasoning(thought)
        if said or not thought:
            self._said.text(said)
        called = self._calls.add(message.get("tool_calls")) if message.get("tool_calls") else False
        self._spoke |= bool(said or thought or called)
        return bool(said or thought or called)

    def _sign(self) -> None:
        """Handle a keep-alive: while the prompt is read, it says that the server works."""
        if not self._spoke and self._last is None:
            self._out.state(State("reading"))


def _failure(error: StreamError) -> EngineBrokeError:
    return EngineBrokeError(f"Ollama broke off in the middle of the reply: {error.text}.")


def _foreign() -> EngineBrokeError:
    return EngineBrokeError(
        "What answers is not Ollama: it sent a line that Ollama's protocol does not have. Check the URL."
    )


def _timings(last: dict[str, Any]) -> Timings:
    load, prompt = number(last.get("load_duration")), number(last.get("prompt_eval_duration"))
    total, tokens, took = (
        number(last.get(name)) for name in ("total_duration", "eval_count", "eval_duration")
    )
    return Timings(
        load_ms=None if load is None else load / _NANOSECONDS,
        first_token_ms=None if load is None or prompt is None else (load + prompt) / _NANOSECONDS,
        total_ms=None if total is None else total / _NANOSECONDS,
        tokens_per_second=tokens / took * 1e9 if tokens and took else None,
    )


class _ErrorBody(Struct):
    error: Any = None


def failure(body: bytes) -> str:
    """Return the error in the body of a response that is not 200; empty if it is not Ollama's."""
    try:
        error = msgspec.json.decode(body, type=_ErrorBody).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return error_text(error) if error else ""


def refuses(status: int, said: str) -> bool:
    """Return whether Ollama rejects the request itself, so that sending it again is useless. A wrong option is a 500."""
    return status in (400, 413, 422) or (status == 500 and said.startswith('option "'))
