"""What OpenAI-compatible servers read and write, without I/O: a request as JSON, and the events of a streamed
chat completion as words. With it the two extras of llama.cpp's server: `prompt_progress` and `timings`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from legato.domain.surrogates import decode_keeping_surrogates, join_surrogates
from legato.engines.base import Outcome, ReplyWriter, Request, ToolCall
from legato.engines.line_buffer import LineTooLongError
from legato.engines.message_format import (
    FlatMessage,
    base64_of,
    error_text,
    flatten_turns,
    functions,
    inside,
    object_text,
)
from legato.engines.sse import SseParser
from legato.engines.text_joiner import ReplyTextJoiner
from legato.errors import EngineBrokeError, EngineRefusedError
from legato.stream import State, Timings, Usage

_OF_OLLAMA = frozenset(
    {"num_ctx", "num_predict", "num_thread", "num_gpu", "num_batch", "num_keep", "main_gpu", "use_mmap"}
)
"""Options of an assistant that an OpenAI-compatible server has no field for, and may refuse."""


class _FunctionDelta(Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _CallDelta(Struct):
    index: int | None = None
    id: str | None = None
    function: _FunctionDelta | None = None


class _TextPart(Struct):
    text: str | None = None


class _Delta(Struct):
    content: str | list[_TextPart] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_CallDelta] | None = None


class _Choice(Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Progress(Struct):
    """llama.cpp: `processed` of `total` tokens of the prompt are read, those from the cache included."""

    total: int = 0
    processed: int = 0


class _Timings(Struct):
    """llama.cpp: milliseconds, and tokens a second."""

    prompt_ms: float | None = None
    predicted_ms: float | None = None
    predicted_per_second: float | None = None


class _Chunk(Struct):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: _Usage | None = None
    error: Any = None
    prompt_progress: _Progress | None = None
    timings: _Timings | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


class _PartialCall:
    __slots__ = ("arguments", "id", "name")

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.name = ""
        self.arguments: list[str] = []


def completion(request: Request, extra: Mapping[str, Any]) -> bytes:
    """The body of `POST /chat/completions`. A field that `extra` or the options set to None is left out."""
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
    return msgspec.json.encode({name: value for name, value in body.items() if value is not None})


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


class OpenAIReplyParser:
    """The answer to one streamed completion, from its bytes, in whatever pieces they come. What it says goes to `out`
    at once; calls of tools are collected and given whole when the reply ends.

    `who` names the server in sentences; `new_id` names calls that have no id.
    """

    __slots__ = (
        "_calls",
        "_events",
        "_head",
        "_index",
        "_model",
        "_new_id",
        "_opened",
        "_out",
        "_reason",
        "_said",
        "_timings",
        "_usage",
        "_who",
        "done",
    )

    def __init__(self, out: ReplyWriter, new_id: Callable[[], str], who: str) -> None:
        self._out = out
        self._new_id = new_id
        self._who = who
        self._events = SseParser()
        self._calls: list[_PartialCall] = []
        self._index: dict[int, _PartialCall] = {}
        self._model = ""
        self._head = b""
        self._opened = False
        self._reason: str | None = None
        self._said = ReplyTextJoiner(out)
        self._usage: _Usage | None = None
        self._timings: _Timings | None = None
        self.done = False
        """Whether `[DONE]` was read: nothing more is to come."""

    def feed(self, data: bytes) -> None:
        """Read on.

        :raises EngineBrokeError: it tells of an error, or this is not the protocol.
        :raises EngineRefusedError: it tells that the request is at fault, or its filter stopped the reply.
        """
        self._head = self._head or data.lstrip()[:1]
        try:
            events = self._events.feed(data)
        except LineTooLongError:
            raise EngineBrokeError(
                f"{self._who} sent an event that is larger than it may be, so the reply was given up."
            ) from None
        for event in events:
            if self.done:
                return
            if event.data.strip() == b"[DONE]":
                self.done = True
            elif event.name == b"error":
                raise self._failure(_error_of(event.data))
            elif event.data.strip():
                self._read(event.data)

    @property
    def ended(self) -> bool:
        """Whether the reply has an ending of its own, though more (what it cost) may follow."""
        return self.done or self._reason is not None

    def end(self) -> Outcome:
        """The bytes are at their end: `[DONE]`, or at least a `finish_reason`, must have come.

        :raises EngineBrokeError: there was no ending. Ollama's `/v1` and others hide a broken reply so.
        """
        reason = self._reason
        if not self.ended and self._head in (b"{", b"[", b"<"):
            raise EngineBrokeError(
                f"{self._who} sent no stream of a chat completion, but something else. Check the URL."
            )
        if not self.ended:
            raise EngineBrokeError(f"{self._who} broke off in the middle of the reply. Try again.")
        self._said.end()
        calls = [call for call in self._calls if call.name] if reason != "length" else []
        for call in calls:
            arguments = join_surrogates("".join(call.arguments)).strip()
            self._out.tool_call(
                ToolCall(join_surrogates(call.id), join_surrogates(call.name), arguments or "{}")
            )
        usage, timings = self._usage, self._timings
        return Outcome(
            reason="tool_calls" if calls else "length" if reason == "length" else "stop",
            model=self._model,
            usage=None if usage is None else Usage(usage.prompt_tokens, usage.completion_tokens),
            timings=None if timings is None else _as_timings(timings),
        )

    def _read(self, data: bytes) -> None:
        try:
            chunk = decode_keeping_surrogates(_decode, data, _Chunk)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise EngineBrokeError(
                f"{self._who} sent something that the OpenAI protocol does not have. Check the URL."
            ) from None
        if chunk.error:
            raise self._failure(chunk.error)
        if chunk.model and not self._model:
            self._model = join_surrogates(chunk.model)
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.timings is not None:
            self._timings = chunk.timings
        progress = chunk.prompt_progress
        if progress is not None and progress.total > 0:
            self._out.state(
                State("reading", progress=min(1.0, max(0.0, progress.processed / progress.total)))
            )
        for choice in chunk.choices or ():
            if choice.index == 0:
                self._choose(choice)

    def _choose(self, choice: _Choice) -> None:
        delta = choice.delta
        if delta is not None:
            reasoning = delta.reasoning_content or delta.reasoning
            if reasoning:
                self._said.reasoning(reasoning)
            text = delta.content or delta.refusal
            if isinstance(text, list):
                text = "".join(part.text or "" for part in text)
            # What opens the reply some servers send before they have begun to read the prompt.
            if text or delta.tool_calls or (self._opened and not reasoning):
                self._said.text(text or "")
            for call in delta.tool_calls or ():
                self._collect(call)
            self._opened = True
        match choice.finish_reason:
            case None | "":
                pass
            case "content_filter":
                raise EngineRefusedError(f"The content filter of {inside(self._who)} stopped the reply.")
            case "error" | "abort":
                raise EngineBrokeError(f"{self._who} broke off in the middle of the reply. Try again.")
            case reason:
                self._reason = reason

    def _collect(self, delta: _CallDelta) -> None:
        known = (
            self._index.get(delta.index)
            if delta.index is not None
            else self._calls[-1]
            if self._calls
            else None
        )
        # Servers that number every call 0, or none, tell a new one by its id.
        if known is None or (delta.id and delta.id != known.id and delta.function and delta.function.name):
            known = _PartialCall(delta.id or self._new_id())
            self._calls.append(known)
            if delta.index is not None:
                self._index[delta.index] = known
        if delta.function is not None:
            known.name = delta.function.name or known.name
            arguments = delta.function.arguments
            if isinstance(arguments, dict):
                arguments = msgspec.json.encode(arguments).decode()
            if arguments:
                known.arguments.append(arguments)

    def _failure(self, error: object) -> EngineBrokeError | EngineRefusedError:
        said = error_text(error)
        status = error.get("code") if isinstance(error, dict) else None
        if isinstance(status, int) and 400 <= status < 500 and status not in (408, 429):
            return EngineRefusedError(f"{self._who} refuses the request: {said}.")
        return EngineBrokeError(f"{self._who} broke off in the middle of the reply: {said}.")


def _error_of(data: bytes) -> object:
    """What an event tells that calls itself an error."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return data.decode(errors="replace")
    return (value.get("error") or value) if isinstance(value, dict) else value


def _as_timings(timings: _Timings) -> Timings:
    prompt, predicted = timings.prompt_ms, timings.predicted_ms
    return Timings(
        first_token_ms=prompt,
        total_ms=None if prompt is None or predicted is None else prompt + predicted,
        tokens_per_second=timings.predicted_per_second,
    )


class OpenAIError(Struct, frozen=True):
    """What the body of an answer that is not 200 says."""

    message: str
    code: str = ""


def failure(body: bytes) -> OpenAIError | None:
    """The error of an OpenAI-compatible server, in the shapes they have; None where the body is none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(value, dict):
        return None
    error = value.get("error") or (value if value.get("object") == "error" else None)
    if not error:
        return None
    code = (error.get("code") or error.get("type")) if isinstance(error, dict) else None
    return OpenAIError(error_text(error), str(code or ""))


def means_model(failure: OpenAIError) -> bool:
    """Whether a 404 is about the model, not about the address."""
    return failure.code == "model_not_found" or "model" in failure.message.lower()


class OpenAIModel(Struct):
    """A model in `/models`. How many tokens it takes is told, if at all, under a name of the server's own."""

    id: str
    context_length: int | None = None
    max_model_len: int | None = None
    meta: dict[str, Any] | None = None

    @property
    def context(self) -> int | None:
        trained = (self.meta or {}).get("n_ctx") or (self.meta or {}).get("n_ctx_train")
        return self.context_length or self.max_model_len or (trained if isinstance(trained, int) else None)


class OpenAIModelList(Struct):
    data: list[OpenAIModel]
