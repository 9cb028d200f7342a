"""The response of `POST /v1/messages`, streamed and whole, without I/O. The format is that of Anthropic's reference, November 2026."""

from collections.abc import Sequence
from typing import Any

import msgspec

from legato.api.anthropic.errors import error_object
from legato.api.codec import Ending
from legato.api.whole_codec import CollectedChoice, WholeCodec
from legato.engines.base import TokenLogprob, ToolCall
from legato.engines.message_format import object_of
from legato.errors import LegatoError

REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}

_encode = msgspec.json.Encoder().encode


class MessageEventsCodec:
    """The streamed form: `message_start`, blocks of content one after the other, `message_delta`, `message_stop`.

    `thinking`: the thoughts are told, as blocks of their own; otherwise they are left out.
    """

    media_type = "text/event-stream; charset=utf-8"
    streams = True
    numbered = True

    def __init__(self, stream_id: str, created: float, model: str, *, thinking: bool = False) -> None:
        self._id = f"msg_{stream_id}"
        self._model = model
        self._thinking = thinking
        self._block: str | None = None
        self._index = -1
        self._ending: Ending | None = None

    def restore(self, frames: Sequence[bytes]) -> None:
        """Do nothing: only an error can follow, and it is the same in each response."""

    def document(self) -> object:
        return None

    def begin(self) -> Sequence[bytes]:
        message = message_object(self._id, self._model, [], None, {"input_tokens": 0, "output_tokens": 0})
        return (_event("message_start", {"message": message}),)

    def text(self, choice: int, text: str) -> Sequence[bytes]:
        delta = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":%b}}\n\n'
        opening = self._open("text", {"type": "text", "text": ""})
        return (*opening, delta % (self._index, _encode(text)))

    def reasoning(self, choice: int, text: str) -> Sequence[bytes]:
        if not self._thinking:
            return ()
        opening = self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        return (*opening, self._delta({"type": "thinking_delta", "thinking": text}))

    def logprobs(self, choice: int, tokens: Sequence[TokenLogprob]) -> None:
        """Ignore them: this API has no field for them."""

    def tool_call(self, choice: int, call: ToolCall) -> Sequence[bytes]:
        block = {"type": "tool_use", "id": call.call, "name": call.name, "input": {}}
        frames = [*self._close(), *self._open("tool_use", block)]
        frames.append(self._delta({"type": "input_json_delta", "partial_json": call.arguments or "{}"}))
        return (*frames, *self._close())

    def waiting(self) -> Sequence[bytes]:
        return (_event("ping", {}),)

    def end(self, choice: int, ending: Ending) -> Sequence[bytes]:
        self._ending = ending
        return self._close()

    def finish(self) -> Sequence[bytes]:
        reason, usage = ending_of(self._ending)
        delta = {"stop_reason": reason, "stop_sequence": None}
        return (_event("message_delta", {"delta": delta, "usage": usage}), _event("message_stop", {}))

    def fail(self, error: LegatoError) -> Sequence[bytes]:
        """Return an event that the SDKs raise. No `message_stop` follows: the message is not complete."""
        return (b"event: error\ndata: " + _encode(error_object(error)) + b"\n\n",)

    def _open(self, kind: str, block: dict[str, Any]) -> Sequence[bytes]:
        if self._block == kind:
            return ()
        closing = self._close()
        self._block = kind
        self._index += 1
        return (*closing, _event("content_block_start", {"index": self._index, "content_block": block}))

    def _close(self) -> Sequence[bytes]:
        if self._block is None:
            return ()
        signature = {"type": "signature_delta", "signature": SIGNATURE}
        signed = (self._delta(signature),) if self._block == "thinking" else ()
        self._block = None
        return (*signed, _event("content_block_stop", {"index": self._index}))

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": self._index, "delta": delta})


def message_codec(stream_id: str, created: float, model: str, *, thinking: bool = False) -> WholeCodec:
    """Return the codec of the whole form: one `message`."""

    def render(collected: Sequence[CollectedChoice]) -> bytes:
        (choice,) = collected
        content: list[dict[str, Any]] = []
        for kind, text in choice.runs() if thinking else [("text", choice.text)]:
            if kind == "reasoning":
                content.append({"type": "thinking", "thinking": text, "signature": SIGNATURE})
            elif text:
                content.append({"type": "text", "text": text})
        content += [
            {"type": "tool_use", "id": call.call, "name": call.name, "input": object_of(call.arguments)}
            for call in choice.calls
        ]
        reason, usage = ending_of(choice.ending)
        return _encode(message_object(f"msg_{stream_id}", model, content, reason, usage))

    return WholeCodec(render)


SIGNATURE = "legato"
"""Clients send the signature of a thought back. It is not checked: thoughts of earlier turns are not told to the model again."""


def message_object(
    message_id: str, model: str, content: list[dict[str, Any]], reason: str | None, usage: dict[str, Any]
) -> dict[str, Any]:
    """Return a `message`."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage,
    }


def ending_of(ending: Ending | None) -> tuple[str, dict[str, Any]]:
    """Return the `stop_reason` and the `usage`. `legato_counted`: the engine told no usage, and the server counted."""
    if ending is None:
        raise AssertionError("the only choice has not ended")
    usage = ending.outcome.usage
    told: dict[str, Any] = {
        "input_tokens": (usage.prompt_tokens or 0) if usage is not None else 0,
        "output_tokens": (usage.completion_tokens or 0) if usage is not None else 0,
    }
    if ending.counted:
        told["legato_counted"] = True
    return REASONS[ending.outcome.reason], told


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode({"type": name, **fields}))
