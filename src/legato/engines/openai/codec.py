"""Parse the events of a streamed chat completion, without I/O. It also reads two extensions of llama.cpp's server:
`prompt_progress` and `timings`.
"""

from collections.abc import Callable, Collection
from typing import Any

from legato.domain.surrogates import join_surrogates
from legato.engines.base import Outcome, ReplyWriter
from legato.engines.chunks import Ending, UnreadableError, choices_in, ending, reasoning_in, texts
from legato.engines.context_errors import context_refusal
from legato.engines.lenient_json import count, decode_values, is_heartbeat, number
from legato.engines.line_buffer import LARGEST, LineTooLongError
from legato.engines.logprobs import logprobs_in
from legato.engines.message_format import inside
from legato.engines.openai.plain_chunk import PlainChunkParser
from legato.engines.retold_text import RetoldText
from legato.engines.sse import SseEvent, SseParser
from legato.engines.stream_errors import StreamError, error_in, error_of
from legato.engines.text_joiner import ReplyTextJoiner
from legato.engines.tool_call_parts import ToolCallCollector, TooManyCallsError
from legato.errors import ContextExceededError, EngineBrokeError, EngineRefusedError
from legato.stream import State, Timings, Usage


class OpenAIReplyParser:
    """Parses the response to one streamed completion from pieces of any size. Text is written to `out` at once; tool calls are
    collected and written when the reply ends.

    `who` names the server in sentences; `new_id` names calls without an id; `tools` are the names of the offered tools.

    Received text is never dropped, and a reply without an ending of its own never counts as complete.
    """

    def __init__(
        self, out: ReplyWriter, new_id: Callable[[], str], who: str, tools: Collection[str] = ()
    ) -> None:
        self._out = out
        self._who = who
        self._events = SseParser()
        self._plain = PlainChunkParser()
        self._calls = ToolCallCollector(new_id, tools)
        self._text = RetoldText()
        self._thought = RetoldText()
        self._said = ReplyTextJoiner(out)
        self._body: bytearray | None = None
        self._head = b""
        self._model = ""
        self._note = ""
        self._opened = self._spoke = self._answered = False
        self._reason: Ending | None = None
        self._certain = self._premature = self._torn = False
        self._usage: dict[str, Any] | None = None
        self._timings: dict[str, Any] | None = None
        self.done = False
        """Whether `[DONE]` was read: nothing more is to come."""

    def feed(self, data: bytes) -> None:
        """Parse more bytes.

        :raises EngineBrokeError: they report an error, or are not the protocol.
        :raises EngineRefusedError: they report that the request is wrong, or a filter stopped the reply.
        """
        if not self._head:
            self._head = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
            if self._head in (b"{", b"[", b"<"):
                self._body = bytearray()
        if self._body is not None:
            self._feed_body(data)
            return
        signs = self._events.signs
        try:
            events = self._events.feed(data)
        except LineTooLongError:
            raise self._too_large() from None
        for event in events:
            self._dispatch(event)
        if self._events.signs > signs:
            self._sign()

    @property
    def ended(self) -> bool:
        """Whether the reply has an ending of its own. Usage may still follow."""
        return self.done or self._reason is not None

    @property
    def certain(self) -> bool:
        """Whether no more text can follow, because the ending came after the text and not with it."""
        return self.done or (self.ended and self._certain and not self._premature)

    @property
    def premature(self) -> bool:
        """Whether text followed an ending, so that only the end of the bytes ends the reply."""
        return self._premature and not self.done

    def flush(self) -> None:
        """Write what was parsed and not written yet. Call it at the end of the bytes, also if the connection broke.

        :raises EngineError: as `feed` does.
        """
        body, self._body = self._body, None
        if body is not None:
            self._read_body(bytes(body))
        else:
            for event in self._events.end():
                if self._readable(event):
                    self._dispatch(event)
        self._out_text(self._text.end())
        self._out_thought(self._thought.end())
        self._said.end()

    def end(self) -> Outcome:
        """Return the outcome at the end of the bytes: `[DONE]`, or at least a `finish_reason`, must have come.

        :raises EngineBrokeError: there was no ending. Ollama's `/v1` and others hide a broken reply in this way.
        """
        self.flush()
        if not self.ended and self._head in (b"{", b"[", b"<") and not self._spoke:
            raise EngineBrokeError(
                f"{self._who} sent no stream of a chat completion, but something else. Check the URL."
            )
        if not self.ended or (self._torn and not self.certain) or (self._note and self._reason is None):
            raise self._broke()
        reason = self._reason
        calls = self._calls.finish() if reason != "length" else []
        for call in calls:
            if not call.name:
                raise EngineBrokeError(f"{self._who} asked for a tool without naming it. Try again.")
            self._out.tool_call(call)
        usage, timings = self._usage, self._timings
        return Outcome(
            reason="tool_calls" if calls else "length" if reason == "length" else "stop",
            model=self._model,
            usage=None
            if usage is None
            else Usage(count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))),
            timings=None if timings is None else _as_timings(timings),
        )

    def _feed_body(self, data: bytes) -> None:
        """Parse JSON without events: one complete reply, or a line for each chunk."""
        body = self._body
        if body is None:
            raise AssertionError
        body += data
        if len(body) > LARGEST:
            raise self._too_large()
        while b"\n" in data and (at := body.find(b"\n")) >= 0:
            line = bytes(body[:at]).strip()
            if not (line.startswith(b"{") and line.endswith(b"}")):
                if line:
                    return
            else:
                self._read(line)
            del body[: at + 1]

    def _read_body(self, body: bytes) -> None:
        if not body.strip() or self._head == b"<":
            return
        try:
            values = decode_values(body)
        except ValueError:
            self._torn = True
            return
        for value in values:
            self._value(value)
        if self._spoke and self._reason is None and not self._torn:
            self._reason = "stop"

    def _dispatch(self, event: SseEvent) -> None:
        if not event.name and not self.done and (text := self._plain.read(event.data)) is not None:
            self._plain_text(text)
            return
        data = event.data.strip()
        if self.done or not data:
            return
        if data.strip(b'"').upper() == b"[DONE]":
            self.done = True
        elif event.name == b"error":
            raise self._failure(_error_of(data))
        else:
            self._read(data)

    def _plain_text(self, text: str) -> None:
        """Do what `_chunk` does for a chunk that has only this text."""
        if not self._model and self._plain.model:
            self._model = join_surrogates(self._plain.model)
        if text:
            self._spoke = self._answered = True
            self._said.text(self._text.piece(text))
            if self._reason is not None:
                self._premature, self._reason = True, None
        elif self._opened:
            self._said.text("")
        self._opened = True

    def _readable(self, event: SseEvent) -> bool:
        """Return whether the last event, which the end of the bytes has cut, is complete."""
        data = event.data.strip()
        if data != b"[DONE]" and b"[DONE]".startswith(data):
            return False
        if data.startswith((b"{", b"[{")):
            try:
                decode_values(data)
            except ValueError:
                self._torn = True
                return False
        return True

    def _read(self, data: bytes) -> None:
        try:
            values = decode_values(data)
        except ValueError:
            text = data.decode("utf-8", "replace").strip()
            if text.startswith(("{", "[", "<")):
                raise self._foreign() from None
            self._remark(text)
            return
        for value in values:
            self._value(value)

    def _value(self, value: object) -> None:
        if isinstance(value, dict):
            try:
                self._chunk(value)
            except UnreadableError:
                raise self._foreign() from None
            except TooManyCallsError:
                raise EngineBrokeError(
                    f"{self._who} asked for more tools than it may, or with longer arguments, so the reply was given up."
                ) from None
        elif isinstance(value, list):
            for each in value:
                self._value(each)
            if not value:
                self._sign()
        else:
            self._remark(value)

    def _remark(self, value: object) -> None:
        """Handle an event that is not an object: a keep-alive, or a sentence that matters if the reply has no ending."""
        if isinstance(value, str) and value.lower().lstrip().startswith(("error", "internal server error")):
            raise self._failure(error_of(value))
        if is_heartbeat(value):
            self._sign()
        elif isinstance(value, str):
            self._note = value

    def _chunk(self, chunk: dict[str, Any]) -> None:
        choices = choices_in(chunk)
        own = choices == [chunk]
        error = error_in(chunk, bare=own or not choices)
        model = chunk.get("model")
        if isinstance(model, str) and not self._model:
            self._model = join_surrogates(model)
        if isinstance(usage := chunk.get("usage"), dict):
            self._usage = usage
        if isinstance(timings := chunk.get("timings"), dict):
            self._timings = timings
        self._progress(chunk.get("prompt_progress"))
        if not (own and error is not None and error.text == str(chunk.get("text") or chunk.get("content"))):
            for choice in choices:
                self._choose(choice)
        if error is not None:
            raise self._failure(error)
        if not choices and isinstance(note := chunk.get("message", chunk.get("msg")), str):
            self._note = note

    def _progress(self, progress: object) -> None:
        if not isinstance(progress, dict):
            return
        total, processed = number(progress.get("total")), number(progress.get("processed"))
        if total and total > 0:
            self._out.state(State("reading", progress=min(1.0, max(0.0, (processed or 0) / total))))

    def _choose(self, choice: dict[str, Any]) -> None:
        delta, message = choice.get("delta"), choice.get("message")
        how = ending(choice.get("finish_reason"))
        if tokens := logprobs_in(choice.get("logprobs")):
            self._out.logprobs(tokens)
        spoke = self._delta(delta if isinstance(delta, dict) else {"content": delta} if delta else None)
        if isinstance(message, dict):
            spoke |= self._message(message, how is not None)
        for name in ("text", "content", "response"):
            if isinstance(text := choice.get(name), str) and text:
                spoke |= self._out_text(self._text.retold(text, how is not None))
        if spoke:
            self._premature = self._premature or self._reason is not None
            self._reason = None
        for each in (choice, delta, message):
            if isinstance(each, dict) and (error := error_in(each, bare=False)) is not None:
                raise self._failure(error)
        if how == "filtered":
            raise EngineRefusedError(f"The content filter of {inside(self._who)} stopped the reply.")
        if how == "broken":
            raise self._broke()
        if how is not None:
            self._reason = how
            self._certain = not spoke and self._answered

    def _delta(self, delta: dict[str, Any] | None) -> bool:
        """Write the content of a delta. Return whether it has any."""
        if delta is None:
            return False
        thought = self._out_thought(self._thought.piece(reasoning_in(delta)))
        spoke = False
        for content in (delta.get("content"), delta.get("refusal"), _transcript(delta)):
            for kind, text in texts(content):
                if kind == "thinking":
                    thought |= self._out_thought(self._thought.piece(text))
                else:
                    spoke |= self._out_text(self._text.piece(text))
        called = self._calls.add(delta.get("tool_calls")) if delta.get("tool_calls") else False
        if function := delta.get("function_call"):
            called |= self._calls.add(function)
        # Some servers send the first chunk before they read the prompt.
        if not spoke and (called or (self._opened and not thought)):
            self._said.text("")
        self._opened = True
        self._answered |= called
        self._spoke |= called
        return spoke or thought or called

    def _message(self, message: dict[str, Any], last: bool) -> bool:
        """Write what is new in a complete message, or in a piece that is sent as one."""
        spoke = self._out_thought(self._thought.retold(reasoning_in(message), last))
        parts = [*texts(message.get("content")), *texts(message.get("refusal"))]
        thinking = "".join(text for kind, text in parts if kind == "thinking")
        spoke |= self._out_thought(self._thought.retold(thinking, last))
        spoke |= self._out_text(
            self._text.retold("".join(text for kind, text in parts if kind == "text"), last)
        )
        called = self._calls.add_whole(message.get("tool_calls") or message.get("function_call"))
        self._answered |= called
        self._spoke |= called
        self._opened = True
        return spoke or called

    def _out_text(self, text: str) -> bool:
        if text:
            self._spoke = self._answered = True
            self._said.text(text)
        return bool(text)

    def _out_thought(self, text: str) -> bool:
        if text:
            self._spoke = True
            self._said.reasoning(text)
        return bool(text)

    def _sign(self) -> None:
        """Handle a keep-alive: while the prompt is read, it says that the server works."""
        if not self._spoke and not self.ended:
            self._out.state(State("reading"))

    def _broke(self) -> EngineBrokeError:
        why = error_of(self._note).text if self._note else ""
        return EngineBrokeError(
            f"{self._who} broke off in the middle of the reply{f': {why}' if why else ''}."
            + ("" if why else " Try again.")
        )

    def _foreign(self) -> EngineBrokeError:
        return EngineBrokeError(
            f"{self._who} sent something that the OpenAI protocol does not have. Check the URL."
        )

    def _too_large(self) -> EngineBrokeError:
        return EngineBrokeError(
            f"{self._who} sent an event that is larger than it may be, so the reply was given up."
        )

    def _failure(self, error: StreamError) -> EngineBrokeError | EngineRefusedError:
        if not self._spoke and (refusal := context_refusal(error.text)) is not None:
            return ContextExceededError(f"{self._who} refuses the request: {error.text}.", *refusal)
        if error.refusal:
            return EngineRefusedError(f"{self._who} refuses the request: {error.text}.")
        return EngineBrokeError(f"{self._who} broke off in the middle of the reply: {error.text}.")


def _error_of(data: bytes) -> StreamError:
    """Return the error of an event that reports one."""
    try:
        return error_of(decode_values(data)[0])
    except ValueError:
        return error_of(data.decode(errors="replace"))


def _transcript(delta: dict[str, Any]) -> object:
    audio = delta.get("audio")
    return audio.get("transcript") if isinstance(audio, dict) else None


def _as_timings(timings: dict[str, Any]) -> Timings:
    prompt, predicted = number(timings.get("prompt_ms")), number(timings.get("predicted_ms"))
    return Timings(
        first_token_ms=prompt,
        total_ms=None if prompt is None or predicted is None else prompt + predicted,
        tokens_per_second=number(timings.get("predicted_per_second")),
    )
