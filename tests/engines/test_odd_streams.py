"""Any sequence of a provider's events, cut and joined at random bytes, with oddities mixed in, loses no text and never ends
falsely."""

import json
from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from legato.engines.ollama.codec import OllamaReplyParser
from legato.engines.openai.codec import OpenAIReplyParser
from legato.engines.think_tags import ThinkTagParser
from legato.errors import EngineError
from legato.testing.engine import Recorder

from .cutting import cut

OOM = "CUDA out of memory"
ERRORS = ({"error": OOM}, {"error": {"message": OOM}}, {"detail": OOM}, {"code": 500, "message": OOM})
BEATS = ("ping", "1", "null", "[]", "{}", '"ping"')


class Sent:
    """What a server sends in one reply: events as JSON, and what a person must get of them."""

    def __init__(self, drawn: st.DataObject, *, ollama: bool) -> None:
        self.events: list[str] = []
        self.said = ""
        self.thought = ""
        self.calls: list[tuple[str, str]] = []
        self._drawn = drawn
        self._ollama = ollama
        thinks = drawn.draw(st.lists(st.booleans(), max_size=8))
        for number, think in enumerate(sorted(thinks, reverse=True)):
            if drawn.draw(st.booleans()):
                self.events.append(drawn.draw(st.sampled_from(BEATS)))
            word = f"{drawn.draw(st.sampled_from(['w', '字', '🙂']))}{number} "
            self.events.append(json.dumps(self.piece(word, think)))
            if think:
                self.thought += word
            else:
                self.said += word
        if drawn.draw(st.booleans()):
            self.call()

    def one_of(self, *values: Any) -> Any:
        return self._drawn.draw(st.sampled_from(values))

    def piece(self, word: str, think: bool) -> dict[str, Any]:
        if self._ollama:
            fields = {"thinking": word, "content": ""} if think else {"content": word}
            return {"message": fields, "done": self.one_of(False, False, True)}
        stop = self.one_of(None, None, "", "stop")
        if think:
            part = [{"type": "thinking", "thinking": [{"type": "text", "text": word}]}]
            delta = self.one_of(
                {"reasoning_content": word},
                {"reasoning": {"content": word}},
                {"thinking": word},
                {"content": part},
            )
            return {"choices": [{"index": 0, "delta": delta, "finish_reason": stop}]}
        whole = self.one_of(
            {"delta": {"content": word}},
            {"delta": {"content": [{"type": "text", "text": word}]}},
            {"text": word},
        )
        return {"choices": [{**whole, "finish_reason": stop}]}

    def call(self) -> None:
        named = [{"function": {"name": name, "arguments": f'{{"x":"{name}"}}'}} for name in ("a", "b")]
        self.calls = [("a", '{"x":"a"}'), ("b", '{"x":"b"}')]
        odd: list[dict[str, Any]] = self.one_of(
            named, [{**each, "id": 7} for each in named], [{**each, "id": ""} for each in named]
        )
        if self._ollama:
            self.events.append(json.dumps({"message": {"content": "", "tool_calls": odd}, "done": False}))
            return
        for each in odd:
            numbered = {"index": self.one_of(0, "0", None), **each}
            self.events.append(json.dumps({"choices": [{"delta": {"tool_calls": [numbered]}}]}))

    def ends(self) -> None:
        if self._ollama:
            self.events.append(json.dumps({"message": {"content": ""}, "done": True, "eval_count": 3.0}))
            return
        last = json.dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        self.events += self.one_of(
            [last, "[DONE]"], [last], ["[DONE]"], [last, '{"choices":[],"usage":{}}', "[DONE]"]
        )

    def bytes(self) -> bytes:
        end = self.one_of("\n", "\r\n", "\r")
        if self._ollama:
            return (end.join(self.events) + self.one_of(end, "")).encode()
        comment = self.one_of("", f": ping{end}", f": ping{end}{end}")
        body = comment.join(f"data: {event}{end}{end}" for event in self.events)
        return body[: len(body) - self.one_of(0, len(end), 2 * len(end))].encode() if body else b""


def read(
    sent: Sent, body: bytes, drawn: st.DataObject, *, ollama: bool
) -> tuple[Recorder, EngineError | None]:
    out = Recorder()
    think = ThinkTagParser(out)
    ids = map("new-{}".format, count())
    reply = (
        OllamaReplyParser(think, ids.__next__)
        if ollama
        else OpenAIReplyParser(think, ids.__next__, "The server")
    )
    try:
        for piece in cut(body, drawn):
            reply.feed(piece)
        reply.end()
    except EngineError as error:
        return out, error
    finally:
        think.finish()
    return out, None


@given(st.data(), st.booleans())
def test_a_whole_reply_is_complete_with_every_word(drawn: st.DataObject, ollama: bool) -> None:
    sent = Sent(drawn, ollama=ollama)
    sent.ends()
    out, error = read(sent, sent.bytes(), drawn, ollama=ollama)
    assert error is None
    assert (out.said, out.thought) == (sent.said, sent.thought)
    assert [(call.name, call.arguments) for call in out.calls] == sent.calls
    assert len({call.call for call in out.calls}) == len(out.calls)


@given(st.data(), st.booleans())
def test_an_error_anywhere_is_told_and_the_words_before_it_stay(drawn: st.DataObject, ollama: bool) -> None:
    sent = Sent(drawn, ollama=ollama)
    sent.events.append(json.dumps(drawn.draw(st.sampled_from(ERRORS))))
    if drawn.draw(st.booleans()):
        sent.ends()
    out, error = read(sent, sent.bytes(), drawn, ollama=ollama)
    assert error is not None
    assert OOM in error.message
    assert (out.said, out.thought) == (sent.said, sent.thought)


@given(st.data(), st.booleans())
def test_a_reply_that_is_cut_anywhere_is_complete_only_if_its_text_ended(
    drawn: st.DataObject, ollama: bool
) -> None:
    sent = Sent(drawn, ollama=ollama)
    sent.ends()
    body = sent.bytes()
    part = body[: drawn.draw(st.integers(0, len(body)))]
    out, error = read(sent, part, drawn, ollama=ollama)
    assert sent.said.startswith(out.said)
    assert sent.thought.startswith(out.thought)
    told = out.said + out.thought
    marked = b'"finish_reason": "stop"' in part or b'"done": true' in part or b"[DONE]" in part
    assert error is not None or marked
    arrived = [event for event in sent.events if event.encode() in part and ("w" in event or "\\u" in event)]
    assert len(arrived) <= told.count(" ")
