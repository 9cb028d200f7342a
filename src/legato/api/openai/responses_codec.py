"""The response of `POST /v1/responses` as events, without I/O. The format is that of OpenAI's reference, November 2026.

A response that is not streamed is written as events too, and its client gets `document`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from legato.api.codec import Ending
from legato.api.openai.errors import response_error
from legato.api.openai.logprobs import logprob_objects
from legato.api.openai.response_state import ENDED, ResponseState, summary_part, text_part
from legato.domain.validation import clean_text
from legato.engines.base import TokenLogprob, ToolCall
from legato.errors import LegatoError
from legato.stream import Usage

_encode = msgspec.json.Encoder().encode

_DELTAS = {"message": "response.output_text.delta", "reasoning": "response.reasoning_summary_text.delta"}
_ID_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc"}


SMALL = 1000
"""The largest field of a request that a sign of life repeats, in bytes."""


def _small(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields, those that are large without a value."""
    return {
        name: value if len(_encode(value)) <= SMALL else [] if isinstance(value, list) else None
        for name, value in fields.items()
    }


def response_id(stream_id: str) -> str:
    """Return the id of a response by that of its stream."""
    return f"resp_{stream_id}"


class ResponsesCodec:
    """Events with a `sequence_number` from 0, which is also the number of the frame. What cannot be stored becomes U+FFFD.

    `fields` are what the request set, as the response tells them again. A response in the `background` is `queued` until
    the engine shows a sign of life. The reasoning of a model is told as the summary of a reasoning item.
    """

    media_type = "text/event-stream; charset=utf-8"
    streams = True
    numbered = True

    def __init__(
        self, stream_id: str, created: float, model: str, *, fields: Mapping[str, Any] | None = None
    ) -> None:
        fields = fields or {}
        self._state = ResponseState(response_id(stream_id), int(created), model, fields)
        self._stream_id = stream_id
        self._created = created
        self._fields = fields
        self._background = bool(fields.get("background"))
        self._sequence = 0
        self._open: str | None = None
        self._delta: tuple[bytes, bytes, bytes] = (b"", b"", b"")
        self._thoughts = 0
        self._tokens: list[TokenLogprob] = []
        self._ending: Ending | None = None

    def restore(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            for line in frame.split(b"\n"):
                if line.startswith(b"data: "):
                    event = msgspec.json.decode(line[6:])
                    self._state.apply(event)
                    self._sequence = event["sequence_number"] + 1

    def document(self) -> object:
        return self._state.document()

    def begin(self) -> Sequence[bytes]:
        second = "in_progress"
        if self._background:
            self._state.status = second = "queued"
        return (self._told("created"), self._told(second))

    def text(self, choice: int, text: str) -> Sequence[bytes]:
        return self._grow("message", clean_text(text))

    def reasoning(self, choice: int, text: str) -> Sequence[bytes]:
        self._thoughts += 1
        return self._grow("reasoning", clean_text(text))

    def logprobs(self, choice: int, tokens: Sequence[TokenLogprob]) -> None:
        self._tokens += tokens

    def tool_call(self, choice: int, call: ToolCall) -> Sequence[bytes]:
        frames = [*self._started(), *self._close()]
        index = len(self._state.items)
        item = self._item(
            "function_call", call_id=clean_text(call.call), name=clean_text(call.name), arguments=""
        )
        self._state.open(item)
        arguments = clean_text(call.arguments) or "{}"
        place = {"item_id": item["id"], "output_index": index}
        frames.append(self._event("response.output_item.added", output_index=index, item=item))
        frames.append(self._event("response.function_call_arguments.delta", **place, delta=arguments))
        self._state.grow(arguments)
        frames.append(
            self._event(
                "response.function_call_arguments.done", **place, name=item["name"], arguments=arguments
            )
        )
        done = self._state.close("completed")
        frames.append(self._event("response.output_item.done", output_index=index, item=done))
        return frames

    def waiting(self) -> Sequence[bytes]:
        """Return `response.in_progress`: clients count the silence between two events, and not comments.

        What is large and was told in the first events is left out, because a long wait has many of these.
        """
        if not self._sequence:
            return ()
        if started := self._started():
            return started
        response = self._state.document(output=False, fields=_small(self._fields))
        return (self._event("response.in_progress", response=response),)

    def end(self, choice: int, ending: Ending) -> Sequence[bytes]:
        self._ending = ending
        cut = ending.outcome.reason == "length"
        return [*self._started(), *self._close("incomplete" if cut else "completed")]

    def finish(self) -> Sequence[bytes]:
        if self._ending is None:
            raise AssertionError("the only choice has not ended")
        usage = self._usage(self._ending)
        if self._ending.outcome.reason == "length":
            why = {"reason": "max_output_tokens"}
            self._state.end("incomplete", incomplete_details=why, usage=usage)
            return (self._told("incomplete", output=True),)
        timings = self._ending.outcome.timings
        seconds = (timings.total_ms or 0.0) / 1000 if timings is not None else 0.0
        self._state.end("completed", completed_at=int(self._created + seconds), usage=usage)
        return (self._told("completed", output=True),)

    def fail(self, error: LegatoError) -> Sequence[bytes]:
        """Return the end of a response that broke off: `response.failed`, and for a cancelled one `response.incomplete` with the
        status `cancelled`, because clients know no other event that ends such a response.
        """
        if self._state.status in ENDED:
            return ()
        if error.code == "cancelled":
            self._state.end("cancelled")
            return (self._told("incomplete", output=True),)
        self._state.end("failed", error=response_error(error))
        return (self._told("failed", output=True),)

    def _started(self) -> Sequence[bytes]:
        """Return the first sign of life of a response that was queued."""
        if self._state.status != "queued":
            return ()
        self._state.status = "in_progress"
        return (self._told("in_progress"),)

    def _grow(self, kind: str, text: str) -> Sequence[bytes]:
        opening = () if self._open == kind else (*self._started(), *self._close(), *self._begin_item(kind))
        if kind == "message" and self._tokens:
            return (*opening, self._with_logprobs(text))
        self._state.grow(text)
        head, place, tail = self._delta
        frame = head + b"%d" % self._sequence + place + _encode(text) + tail
        self._sequence += 1
        return (*opening, frame)

    def _with_logprobs(self, text: str) -> bytes:
        told, self._tokens = logprob_objects(self._tokens), []
        for token in told:
            for each in (token, *token["top_logprobs"]):
                each["token"] = clean_text(each["token"])
        self._state.grow(text, told)
        place = self._place(len(self._state.items) - 1)
        return self._event("response.output_text.delta", **place, delta=text, logprobs=told)

    def _begin_item(self, kind: str) -> Sequence[bytes]:
        index = len(self._state.items)
        fields = {"role": "assistant", "content": []} if kind == "message" else {"summary": []}
        item = self._item(kind, **fields)
        self._state.open(item)
        self._open = kind
        place = self._place(index)
        added = self._event("response.output_item.added", output_index=index, item=item)
        name = _DELTAS[kind].encode()
        self._delta = (
            b'event: %b\ndata: {"type":"%b","sequence_number":' % (name, name),
            b"," + _encode(place)[1:-1] + b',"delta":',
            b',"logprobs":[]}\n\n' if kind == "message" else b"}\n\n",
        )
        if kind == "message":
            return added, self._event("response.content_part.added", **place, part=text_part(""))
        return added, self._event("response.reasoning_summary_part.added", **place, part=summary_part(""))

    def _close(self, status: str = "completed") -> Sequence[bytes]:
        """Return the end of the item that grows, if there is one."""
        if self._open is None:
            return ()
        index = len(self._state.items) - 1
        place, text, logprobs = self._place(index), self._state.text, self._state.logprobs
        if self._open == "message":
            ends = (
                self._event("response.output_text.done", **place, text=text, logprobs=logprobs),
                self._event("response.content_part.done", **place, part=text_part(text, logprobs)),
            )
        else:
            ends = (
                self._event("response.reasoning_summary_text.done", **place, text=text),
                self._event("response.reasoning_summary_part.done", **place, part=summary_part(text)),
            )
        self._open = None
        done = self._state.close(status)
        return (*ends, self._event("response.output_item.done", output_index=index, item=done))

    def _place(self, index: int) -> dict[str, Any]:
        part = "content_index" if self._open == "message" else "summary_index"
        return {"item_id": self._state.items[index]["id"], "output_index": index, part: 0}

    def _item(self, kind: str, **fields: Any) -> dict[str, Any]:
        new = f"{_ID_PREFIXES[kind]}_{self._stream_id}_{len(self._state.items)}"
        return {"id": new, "type": kind, "status": "in_progress", **fields}

    def _told(self, name: str, *, output: bool = False) -> bytes:
        return self._event(f"response.{name}", response=self._state.document(output=output))

    def _event(self, kind: str, /, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(event))

    def _usage(self, ending: Ending) -> dict[str, Any]:
        """Return the usage. `legato_counted`: the engine did not tell all of it, and the server counted."""
        told = ending.outcome.usage or Usage()
        read, wrote = told.prompt_tokens or 0, told.completion_tokens or 0
        usage: dict[str, Any] = {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": wrote,
            "output_tokens_details": {"reasoning_tokens": min(self._thoughts, wrote)},
            "total_tokens": read + wrote,
        }
        if ending.counted:
            usage["legato_counted"] = True
        return usage
