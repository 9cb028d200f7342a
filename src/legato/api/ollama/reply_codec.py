"""The responses of `POST /api/chat` and `POST /api/generate`, streamed and whole, without I/O. The format is that of Ollama's
`docs/api.md`, November 2026.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from legato.api.codec import Ending
from legato.api.ollama.context import History, encode_context
from legato.api.ollama.errors import error_object
from legato.api.openai.logprobs import logprob_objects
from legato.api.whole_codec import CollectedChoice, WholeCodec
from legato.engines.base import TokenLogprob, ToolCall
from legato.engines.message_format import object_of
from legato.errors import LegatoError

Kind = Literal["chat", "generate"]
"""`chat` has a `message`, `generate` a `response`."""

_NANOSECONDS = 1e6
"""Nanoseconds in a millisecond."""

_SEPARATORS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))
"""Characters that clients take for the end of a line, as JSON may have them, and their escapes."""


class ReplyLinesCodec:
    """The streamed form: a JSON object on each line, the last one with `done: true`.

    `created_at` is the same on each line: when the response began. `thinking`: the thoughts are told; otherwise they are left
    out. `history` is what the `context` has besides the answer; None: there is no `context`.
    """

    media_type = "application/x-ndjson"
    streams = True
    numbered = False

    def __init__(
        self,
        stream_id: str,
        created: float,
        model: str,
        *,
        kind: Kind = "chat",
        thinking: bool = True,
        history: History | None = None,
    ) -> None:
        self._kind: Kind = kind
        self._thinking = thinking
        self._history = history
        self._texts: list[str] = []
        self._tokens: list[TokenLogprob] = []
        self._calls = 0
        self._ending: Ending | None = None
        self._base = base_fields(model, created)
        opening = b'"message":{"role":"assistant","content":' if kind == "chat" else b'"response":'
        self._head = encode_line(self._base)[:-2] + b"," + opening
        self._tail = b'},"done":false}\n' if kind == "chat" else b',"done":false}\n'

    def restore(self, frames: Sequence[bytes]) -> None:
        """Do nothing: only an error can follow, and it is the same in each response."""

    def document(self) -> object:
        return None

    def begin(self) -> Sequence[bytes]:
        return ()

    def text(self, choice: int, text: str) -> Sequence[bytes]:
        if self._history is not None:
            self._texts.append(text)
        if self._tokens:
            told = {"logprobs": self._take_logprobs()}
            return (encode_line({**self._base, **reply_fields(self._kind, text), "done": False, **told}),)
        return (self._head + _escaped(_encode(text)) + self._tail,)

    def reasoning(self, choice: int, text: str) -> Sequence[bytes]:
        return (self._line(thinking=text),) if self._thinking else ()

    def logprobs(self, choice: int, tokens: Sequence[TokenLogprob]) -> None:
        self._tokens += tokens

    def tool_call(self, choice: int, call: ToolCall) -> Sequence[bytes]:
        line = self._line(calls=[tool_call_object(call, self._calls)])
        self._calls += 1
        return (line,)

    def waiting(self) -> Sequence[bytes]:
        """Return nothing: an empty line is an error for clients."""
        return ()

    def end(self, choice: int, ending: Ending) -> Sequence[bytes]:
        self._ending = ending
        return ()

    def finish(self) -> Sequence[bytes]:
        last = final_fields(self._ending, context_of(self._history, self._texts))
        if self._tokens:
            last["logprobs"] = self._take_logprobs()
        return (encode_line({**self._base, **reply_fields(self._kind), **last}),)

    def fail(self, error: LegatoError) -> Sequence[bytes]:
        """Return a line that the SDKs raise. No line with `done: true` follows: the response is not complete."""
        return (encode_line(error_object(error)),)

    def _take_logprobs(self) -> list[dict[str, Any]]:
        tokens, self._tokens = self._tokens, []
        return logprob_objects(tokens)

    def _line(self, *, thinking: str = "", calls: Sequence[dict[str, Any]] = ()) -> bytes:
        fields = reply_fields(self._kind, thinking=thinking, calls=calls)
        return encode_line({**self._base, **fields, "done": False})


def reply_object_codec(
    stream_id: str,
    created: float,
    model: str,
    *,
    kind: Kind = "chat",
    thinking: bool = True,
    history: History | None = None,
) -> WholeCodec:
    """Return the codec of the whole form: one JSON object. The keywords are those of `ReplyLinesCodec`."""

    def render(collected: Sequence[CollectedChoice]) -> bytes:
        (choice,) = collected
        text = choice.text
        calls = [tool_call_object(call, index) for index, call in enumerate(choice.calls)]
        fields = reply_fields(kind, text, thinking=choice.reasoning if thinking else "", calls=calls)
        last = final_fields(choice.ending, context_of(history, [text]))
        if choice.tokens:
            last["logprobs"] = logprob_objects(choice.tokens)
        return _encode({**base_fields(model, created), **fields, **last})

    return WholeCodec(render, media_type="application/json; charset=utf-8")


def base_fields(model: str, created: float) -> dict[str, Any]:
    """Return the fields with which each object begins. `created` is in seconds since the epoch."""
    return {"model": model, "created_at": f"{datetime.fromtimestamp(created, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"}


def reply_fields(
    kind: Kind, text: str = "", *, thinking: str = "", calls: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """Return the `message` or the `response` of an object."""
    more: dict[str, Any] = {}
    if thinking:
        more["thinking"] = thinking
    if calls:
        more["tool_calls"] = list(calls)
    if kind == "chat":
        return {"message": {"role": "assistant", "content": text, **more}}
    return {"response": text, **more}


def loaded_object(
    kind: Kind, model: str, created: float, reason: Literal["load", "unload"]
) -> dict[str, Any]:
    """Return the whole response to a request that has nothing to answer."""
    return {**base_fields(model, created), **reply_fields(kind), "done": True, "done_reason": reason}


def tool_call_object(call: ToolCall, index: int) -> dict[str, Any]:
    """Return a tool call in Ollama's form. Its arguments are an object."""
    return {
        "id": call.call,
        "function": {"index": index, "name": call.name, "arguments": object_of(call.arguments)},
    }


def context_of(history: History | None, texts: Sequence[str]) -> list[int] | None:
    """Return the `context` of a response, None if it has none."""
    return None if history is None else encode_context([*history, ("assistant", "".join(texts))])


def final_fields(ending: Ending | None, context: list[int] | None = None) -> dict[str, Any]:
    """Return the end: why, how many tokens, and how long it took in nanoseconds.

    `legato_counted`: the engine told no tokens, and the server counted. `legato_measured`: the engine told no times, and the
    server measured.
    """
    if ending is None:
        raise AssertionError("the only choice has not ended")
    fields: dict[str, Any] = {
        "done": True,
        "done_reason": "length" if ending.outcome.reason == "length" else "stop",
    }
    if context is not None:
        fields["context"] = context
    usage, timings = ending.outcome.usage, ending.outcome.timings
    prompt = usage.prompt_tokens if usage is not None else None
    tokens = usage.completion_tokens if usage is not None else None
    load = (timings.load_ms if timings is not None else None) or 0.0
    total = (timings.total_ms if timings is not None else None) or 0.0
    first = (timings.first_token_ms if timings is not None else None) or load
    rate = timings.tokens_per_second if timings is not None else None
    answering = tokens / rate * 1000 if tokens and rate else max(0.0, total - first)
    numbers = {
        "total_duration": _duration(total),
        "load_duration": _duration(load),
        "prompt_eval_count": prompt,
        "prompt_eval_duration": _duration(first - load),
        "eval_count": tokens,
        # Clients divide by it.
        "eval_duration": max(1, _duration(answering)) if tokens else 0,
    }
    fields |= {name: number for name, number in numbers.items() if number is not None}
    if ending.counted:
        fields["legato_counted"] = True
    if ending.measured:
        fields["legato_measured"] = True
    return fields


def encode_line(value: dict[str, Any]) -> bytes:
    """Return an object as one line, also for clients that end a line at more characters than JSON escapes."""
    return _escaped(_encode(value)) + b"\n"


def _duration(milliseconds: float) -> int:
    return max(0, round(milliseconds * _NANOSECONDS))


def _escaped(text: bytes) -> bytes:
    for separator, escape in _SEPARATORS:
        if separator in text:
            text = text.replace(separator, escape)
    return text


_encode = msgspec.json.Encoder().encode
