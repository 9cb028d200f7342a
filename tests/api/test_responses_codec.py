"""The events of OpenAI's Responses, and what they add up to, for any reply."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from legato.api.codec import Ending
from legato.api.generation import CallEndedError, ServerStoppedError
from legato.api.openai.response_state import ResponseState
from legato.api.openai.responses_codec import ResponsesCodec
from legato.engines.base import Outcome, TokenLogprob, ToolCall
from legato.stream import Timings, Usage

TEXTS = st.text(min_size=1, max_size=8) | st.sampled_from(
    ["\n\n", "data: x", "event: error", "\r\n", "\u2028"]
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["text", "reasoning", "tool", "logprobs", "waiting"]), TEXTS), max_size=12
)


def written(codec: ResponsesCodec, steps: list[tuple[str, str]]) -> list[bytes]:
    frames = [*codec.begin()]
    for number, (kind, text) in enumerate(steps):
        match kind:
            case "text":
                frames += codec.text(0, text)
            case "reasoning":
                frames += codec.reasoning(0, text)
            case "tool":
                frames += codec.tool_call(0, ToolCall(f"c{number}", "f", msgspec.json.encode(text).decode()))
            case "logprobs":
                codec.logprobs(0, [TokenLogprob(text, -1.0)])
                frames += codec.text(0, text)
            case _:
                frames += codec.waiting()
    return frames


def event_of(frame: bytes) -> dict[str, Any]:
    head, data, *rest = frame.decode().split("\n")
    assert rest == ["", ""]
    event = msgspec.json.decode(data.removeprefix("data: "))
    assert head == f"event: {event['type']}"
    return dict(event)


def folded(frames: list[bytes], fields: dict[str, Any]) -> dict[str, Any]:
    state = ResponseState("resp_s", 5, "m", fields)
    for frame in frames:
        state.apply(event_of(frame))
    return state.document()


@settings(max_examples=20, deadline=None)
@given(STEPS, st.booleans(), st.sampled_from(["stop", "length", "tool_calls"]))
def test_events_are_numbered_and_add_up_to_the_document(
    steps: list[tuple[str, str]], background: bool, reason: Any
) -> None:
    fields = {"background": background}
    codec = ResponsesCodec("s", 5.5, "m", fields=fields)
    frames = written(codec, steps)
    assert folded(frames, fields) == codec.document()
    outcome = Outcome(reason, "m", Usage(3, 4), Timings(total_ms=2000))
    frames += [*codec.end(0, Ending(outcome)), *codec.finish()]
    events = [event_of(frame) for frame in frames]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    document: Any = codec.document()
    assert folded(frames, fields) == document == events[-1]["response"]
    assert document["status"] == ("incomplete" if reason == "length" else "completed")
    assert document["completed_at"] == (None if reason == "length" else 7)
    told = {"text": "", "reasoning": ""}
    for kind, text in steps:
        told["text" if kind == "logprobs" else kind] = (
            told.get("text" if kind == "logprobs" else kind, "") + text
        )
    parts = [
        part for item in document["output"] for part in item.get("content", ()) or item.get("summary", ())
    ]
    assert "".join(part["text"] for part in parts if part["type"] == "output_text") == told["text"]
    assert "".join(part["text"] for part in parts if part["type"] == "summary_text") == told["reasoning"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == document["output"]
    added = [event["output_index"] for event in events if event["type"] == "response.output_item.added"]
    assert added == list(range(len(done)))


@settings(max_examples=20, deadline=None)
@given(STEPS, st.booleans(), st.data())
def test_another_server_ends_what_is_stored_at_any_event(
    steps: list[tuple[str, str]], background: bool, data: st.DataObject
) -> None:
    fields = {"background": background}
    frames = written(ResponsesCodec("s", 5.5, "m", fields=fields), steps)
    stored = frames[: data.draw(st.integers(1, len(frames)))]
    codec = ResponsesCodec("s", 5.5, "m", fields=fields)
    codec.restore(stored)
    before: Any = codec.document()
    (last,) = codec.fail(ServerStoppedError("stopped"))
    event = event_of(last)
    assert (event["type"], event["sequence_number"]) == ("response.failed", len(stored))
    failed: Any = codec.document()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "server_error")
    assert [{**item, "status": ""} for item in failed["output"]] == [
        {**item, "status": ""} for item in before["output"]
    ]
    assert all(item["status"] != "in_progress" for item in failed["output"])
    assert folded([*stored, last], fields) == failed
    assert codec.fail(CallEndedError("late")) == ()


def test_signs_of_life_repeat_nothing_large() -> None:
    fields = {"instructions": "x" * 5000, "tools": [{"name": "f" * 5000}], "user": "ann"}
    codec = ResponsesCodec("s", 5.5, "m", fields=fields)
    codec.begin()
    (frame,) = codec.waiting()
    told = event_of(frame)["response"]
    assert (told["instructions"], told["tools"], told["user"]) == (None, [], "ann")
    document: Any = codec.document()
    assert document["tools"] == fields["tools"]


def test_nothing_is_told_before_the_beginning() -> None:
    codec = ResponsesCodec("s", 5.5, "m")
    assert codec.waiting() == ()
    codec.begin()
    assert [event_of(frame)["type"] for frame in codec.waiting()] == ["response.in_progress"]
    (last,) = codec.fail(CallEndedError("enough"))
    assert event_of(last)["response"]["status"] == "cancelled"
