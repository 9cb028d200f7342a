"""The UI message stream of the Vercel AI SDK, without I/O. The format is that of `ai` 5 to 7, November 2026."""

from collections.abc import Sequence
from typing import Any

import msgspec

from legato.api.ai.errors import ChatStoppedError, error_text
from legato.api.codec import Ending
from legato.engines.base import TokenLogprob, ToolCall
from legato.errors import LegatoError

DONE = b"data: [DONE]\n\n"

REASONS = {"stop": "stop", "length": "length", "tool_calls": "tool-calls"}

_encode = msgspec.json.Encoder().encode


class UiMessageCodec:
    """The parts of one message: `start`, the step with its parts one after the other, `finish`, `[DONE]`.

    `message` is the id of the message that the response goes on with, None for a new one. `finish` tells the model and the usage
    as the metadata of the message.
    """

    media_type = "text/event-stream; charset=utf-8"
    streams = True
    numbered = True

    def __init__(self, stream_id: str, created: float, model: str, *, message: str | None = None) -> None:
        self._message = message or f"msg_{stream_id}"
        self._model = model
        self._open: str | None = None
        self._parts = 0
        self._ending: Ending | None = None
        self._head = b""
        self._next_step = False

    def restore(self, frames: Sequence[bytes]) -> None:
        """Do nothing: only an error can follow, and it is the same in each response."""

    def document(self) -> object:
        return None

    def begin(self) -> Sequence[bytes]:
        return (_frame({"type": "start", "messageId": self._message}), _frame({"type": "start-step"}))

    def text(self, choice: int, text: str) -> Sequence[bytes]:
        return self._delta("text", text)

    def reasoning(self, choice: int, text: str) -> Sequence[bytes]:
        return self._delta("reasoning", text)

    def logprobs(self, choice: int, tokens: Sequence[TokenLogprob]) -> None:
        """Do nothing: the stream has no place for them."""

    def tool_call(self, choice: int, call: ToolCall) -> Sequence[bytes]:
        """Return a call that the page runs. Arguments that are not JSON are an error of the call."""
        return self._call(call, {})

    def tool_started(self, choice: int, call: ToolCall) -> Sequence[bytes]:
        """Return a call that the server runs. The page does not know its tool, so its part is a dynamic one."""
        return self._call(call, {"providerExecuted": True, "dynamic": True})

    def tool_finished(self, choice: int, call: ToolCall, output: str, *, failed: bool) -> Sequence[bytes]:
        self._next_step = True
        end: dict[str, Any] = {"toolCallId": call.call, "providerExecuted": True, "dynamic": True}
        if failed:
            return (_frame({"type": "tool-output-error", **end, "errorText": output}),)
        return (_frame({"type": "tool-output-available", **end, "output": _value(output)}),)

    def _call(self, call: ToolCall, kind: dict[str, Any]) -> Sequence[bytes]:
        name: dict[str, Any] = {"toolCallId": call.call, "toolName": call.name, **kind}
        frames = [*self._close(), _frame({"type": "tool-input-start", **name})]
        text = call.arguments or "{}"
        frames.append(_frame({"type": "tool-input-delta", "toolCallId": call.call, "inputTextDelta": text}))
        try:
            given = {"type": "tool-input-available", **name, "input": msgspec.json.decode(text)}
        except msgspec.DecodeError:
            why = "The model wrote arguments that are not JSON."
            given = {"type": "tool-input-error", **name, "input": text, "errorText": why}
        return (*frames, _frame(given))

    def waiting(self) -> Sequence[bytes]:
        """Return nothing: a comment is sent on the connection."""
        return ()

    def end(self, choice: int, ending: Ending) -> Sequence[bytes]:
        self._ending = ending
        return (*self._close(), _frame({"type": "finish-step"}))

    def finish(self) -> Sequence[bytes]:
        finish: dict[str, Any] = {"type": "finish"}
        if self._ending is not None:
            finish["finishReason"] = REASONS[self._ending.outcome.reason]
            finish["messageMetadata"] = {"model": self._model, "usage": usage_object(self._ending)}
        return (_frame(finish), DONE)

    def fail(self, error: LegatoError) -> Sequence[bytes]:
        """Return the end of a reply that is not complete: `abort` if a person wanted it, otherwise `error`."""
        if isinstance(error, ChatStoppedError):
            return (*self._close(), _frame({"type": "abort", "reason": error.message}), DONE)
        return (_frame({"type": "error", "errorText": error_text(error)}), DONE)

    def _delta(self, kind: str, text: str) -> Sequence[bytes]:
        if self._open == kind:
            return (self._head + _encode(text) + b"}\n\n",)
        closing = [*self._close(), *self._begin_step()]
        self._open = kind
        self._parts += 1
        self._head = b'data: {"type":"%b-delta","id":"%d","delta":' % (kind.encode(), self._parts)
        start = _frame({"type": f"{kind}-start", "id": str(self._parts)})
        return (*closing, start, self._head + _encode(text) + b"}\n\n")

    def _begin_step(self) -> Sequence[bytes]:
        """Return the begin of another step behind the results of tools."""
        if not self._next_step:
            return ()
        self._next_step = False
        return (_frame({"type": "finish-step"}), _frame({"type": "start-step"}))

    def _close(self) -> Sequence[bytes]:
        if self._open is None:
            return ()
        kind, self._open = self._open, None
        return (_frame({"type": f"{kind}-end", "id": str(self._parts)}),)


def usage_object(ending: Ending) -> dict[str, Any]:
    """Return the usage by the names of the SDK. `legatoCounted`: the engine told none, and the server counted."""
    usage = ending.outcome.usage
    prompt = (usage.prompt_tokens if usage is not None else None) or 0
    completion = (usage.completion_tokens if usage is not None else None) or 0
    told: dict[str, Any] = {
        "inputTokens": prompt,
        "outputTokens": completion,
        "totalTokens": prompt + completion,
    }
    if ending.counted:
        told["legatoCounted"] = True
    return told


def _value(output: str) -> object:
    """Return the output of a tool: what it means if it is a JSON object or list, otherwise the text."""
    if output[:1] in ("{", "["):
        try:
            value: object = msgspec.json.decode(output)
            return value
        except msgspec.DecodeError:
            return output
    return output


def _frame(part: dict[str, Any]) -> bytes:
    return b"data: " + _encode(part) + b"\n\n"
