"""The response of `POST /v1/chat/completions`, streamed and whole, without I/O. The format is that of OpenAI's reference, November 2026."""

from collections.abc import Sequence
from typing import Any

import msgspec

from legato.api.codec import Ending
from legato.api.openai.errors import error_object
from legato.api.openai.logprobs import logprob_objects
from legato.api.whole_codec import CollectedChoice, WholeCodec
from legato.engines.base import TokenLogprob, ToolCall
from legato.errors import LegatoError

EVENT_STREAM = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


class ChatChunkCodec:
    """The streamed form: `chat.completion.chunk` events, then `[DONE]`.

    `id` and `created` are the same in each chunk; `model` is the name that the client asked for. The first chunk of a choice has
    the role. The parts of a chunk that do not change are encoded once.
    """

    media_type = EVENT_STREAM
    streams = True
    numbered = True

    def __init__(
        self, stream_id: str, created: float, model: str, *, choices: int = 1, include_usage: bool = False
    ) -> None:
        self._include_usage = include_usage
        self._base = {
            "id": f"chatcmpl-{stream_id}",
            "object": "chat.completion.chunk",
            "created": int(created),
            "model": model,
            "system_fingerprint": None,
        }
        self._choices = choices
        self._calls = [0] * choices
        self._tokens: list[list[TokenLogprob]] = [[] for _ in range(choices)]
        self._endings: list[Ending] = []
        usage = b',"usage":null' if include_usage else b""
        head = b"data: " + _encode(self._base)[:-1] + b',"choices":[{"index":%d,"delta":{"%b":'
        self._heads = {
            kind: [head % (choice, kind) for choice in range(choices)]
            for kind in (b"content", b"reasoning_content")
        }
        self._tail = b'},"logprobs":null,"finish_reason":null}]' + usage + b"}\n\n"

    def restore(self, frames: Sequence[bytes]) -> None:
        """Do nothing: only an error can follow, and it is the same in each response."""

    def document(self) -> object:
        return None

    def begin(self) -> Sequence[bytes]:
        return [self._chunk(choice, {"role": "assistant", "content": ""}) for choice in range(self._choices)]

    def text(self, choice: int, text: str) -> Sequence[bytes]:
        if self._tokens[choice]:
            return (self._chunk(choice, {"content": text}),)
        return (self._heads[b"content"][choice] + _encode(text) + self._tail,)

    def reasoning(self, choice: int, text: str) -> Sequence[bytes]:
        return (self._heads[b"reasoning_content"][choice] + _encode(text) + self._tail,)

    def logprobs(self, choice: int, tokens: Sequence[TokenLogprob]) -> None:
        self._tokens[choice] += tokens

    def tool_call(self, choice: int, call: ToolCall) -> Sequence[bytes]:
        index = self._calls[choice]
        self._calls[choice] += 1
        delta = {"tool_calls": [{"index": index, **tool_call_object(call)}]}
        return (self._chunk(choice, delta),)

    def waiting(self) -> Sequence[bytes]:
        """Return nothing: a comment is sent on the connection."""
        return ()

    def end(self, choice: int, ending: Ending) -> Sequence[bytes]:
        self._endings.append(ending)
        return (self._chunk(choice, {}, finish_reason=ending.outcome.reason),)

    def finish(self) -> Sequence[bytes]:
        if not self._include_usage:
            return (DONE,)
        usage = {**self._base, "choices": [], "usage": usage_object(self._endings)}
        return (b"data: " + _encode(usage) + b"\n\n", DONE)

    def fail(self, error: LegatoError) -> Sequence[bytes]:
        """Return an event that the SDKs raise. No `[DONE]` follows: the response is not complete."""
        return (b"data: " + _encode(error_object(error)) + b"\n\n",)

    def _chunk(self, choice: int, delta: dict[str, Any], *, finish_reason: str | None = None) -> bytes:
        tokens, self._tokens[choice] = self._tokens[choice], []
        one = {
            "index": choice,
            "delta": delta,
            "logprobs": logprobs_object(tokens),
            "finish_reason": finish_reason,
        }
        chunk: dict[str, Any] = {**self._base, "choices": [one]}
        if self._include_usage:
            chunk["usage"] = None
        return b"data: " + _encode(chunk) + b"\n\n"


def chat_completion_codec(stream_id: str, created: float, model: str, *, choices: int = 1) -> WholeCodec:
    """Return the codec of the whole form: one `chat.completion`."""

    def render(collected: Sequence[CollectedChoice]) -> bytes:
        return _encode(
            {
                "id": f"chatcmpl-{stream_id}",
                "object": "chat.completion",
                "created": int(created),
                "model": model,
                "choices": [_choice_object(index, choice) for index, choice in enumerate(collected)],
                "usage": usage_object([choice.ending for choice in collected]),
                "system_fingerprint": None,
            }
        )

    return WholeCodec(render, choices=choices)


def _choice_object(index: int, choice: CollectedChoice) -> dict[str, Any]:
    text = choice.text
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not choice.calls else None,
        "refusal": None,
    }
    if reasoning := choice.reasoning:
        message["reasoning_content"] = reasoning
    if choice.calls:
        message["tool_calls"] = [tool_call_object(call) for call in choice.calls]
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs_object(choice.tokens),
        "finish_reason": choice.ending.outcome.reason,
    }


def logprobs_object(tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    """Return the `logprobs` of a choice, None if the engine told none."""
    return {"content": logprob_objects(tokens), "refusal": None} if tokens else None


def tool_call_object(call: ToolCall) -> dict[str, Any]:
    """Return a tool call in OpenAI's form."""
    return {
        "id": call.call,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def usage_object(endings: Sequence[Ending]) -> dict[str, Any]:
    """Return the usage of all choices. The prompt counts once. `legato_counted`: the engine told none, and the server counted."""
    usages = [ending.outcome.usage for ending in endings if ending.outcome.usage is not None]
    prompt = max((each.prompt_tokens or 0 for each in usages), default=0)
    completion = sum(each.completion_tokens or 0 for each in usages)
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if any(ending.counted for ending in endings):
        usage["legato_counted"] = True
    return usage
