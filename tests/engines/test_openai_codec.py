import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doubles.pulse import Pulse
from tests.doubles.recordings import exchange

from legato.domain.message import AudioPart, ImagePart, TextPart, ToolCallPart, ToolResultPart
from legato.engines.base import Request, ToolCall, ToolSpec, Turn
from legato.engines.line_buffer import LARGEST
from legato.engines.openai.codec import OpenAIReplyParser
from legato.engines.openai.errors import OpenAIError, failure
from legato.engines.openai.models import OpenAIModel
from legato.engines.openai.request import completion
from legato.errors import EngineBrokeError, EngineRefusedError
from legato.stream import State, Timings, Usage
from legato.testing.engine import Recorder

from .cutting import cut

HI = Turn("user", (TextPart("hi"),))
DONE = b"data: [DONE]\n\n"


def read(*pieces: bytes) -> tuple[Recorder, OpenAIReplyParser]:
    out = Recorder()
    reply = OpenAIReplyParser(out, iter(["new-1", "new-2", "new-3"]).__next__, "The server")
    for piece in pieces:
        reply.feed(piece)
    return out, reply


def event(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"choices": choices, **more}).encode() + b"\n\n"


def calling(**call: Any) -> bytes:
    return event({"tool_calls": [call]})


def asked(**fields: Any) -> dict[str, Any]:
    extra = fields.pop("extra", {})
    body: dict[str, Any] = json.loads(completion(Request("m", (HI,), **fields), extra))
    return body


def asked_with(*turns: Turn) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(completion(Request("m", turns), {}))
    return body


def test_a_request_asks_for_a_stream_and_for_what_it_costs() -> None:
    assert asked() == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_options_override_the_engines_own_fields_and_none_leaves_a_field_out() -> None:
    body = asked(
        options={"temperature": 0.3, "cache_prompt": False},
        extra={"cache_prompt": True, "return_progress": True, "stream_options": None},
    )
    assert body["temperature"] == 0.3
    assert body["cache_prompt"] is False
    assert body["return_progress"] is True
    assert "stream_options" not in body


def test_options_cannot_replace_the_model_or_the_history() -> None:
    body = asked(options={"model": "other", "messages": []})
    assert body["model"] == "m"
    assert body["messages"]


def test_ollamas_options_are_translated_or_dropped() -> None:
    body = asked(options={"num_ctx": 2048, "num_predict": 256, "num_thread": 8, "temperature": 0.3})
    assert body["max_tokens"] == 256
    assert not {"num_ctx", "num_predict", "num_thread"} & body.keys()
    assert "max_tokens" not in asked(options={"num_predict": -1})
    assert asked(options={"num_predict": 256, "max_tokens": 8})["max_tokens"] == 8


@pytest.mark.parametrize(("think", "effort"), [("low", "low"), (False, "none"), (True, None), (None, None)])
def test_thinking_is_an_effort(think: bool | str | None, effort: str | None) -> None:
    assert asked(think=think).get("reasoning_effort") == effort


@pytest.mark.parametrize(("kind", "form"), [("audio/wav", "wav"), ("audio/mpeg", "mp3")])
def test_a_recording_is_encoded_as_the_protocol_expects(kind: str, form: str) -> None:
    turn = Turn("user", (TextPart("hear"), AudioPart(f"data:{kind};base64,UklG")))
    body = json.loads(completion(Request("m", (turn,)), {}))
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hear"},
                {"type": "input_audio", "input_audio": {"data": "UklG", "format": form}},
            ],
        }
    ]


@pytest.mark.parametrize(
    ("wrote", "told"),
    [
        ('{"x": "unterminated', {"arguments": '{"x": "unterminated'}),
        ("[" * 100_000, {"arguments": "[" * 100_000}),
        ("[1]", {"arguments": [1]}),
        ("", {}),
    ],
)
def test_arguments_that_are_no_object_are_reported_as_one(wrote: str, told: dict[str, Any]) -> None:
    turn = Turn("assistant", (ToolCallPart("c1", "f", wrote), ToolResultPart("c1", "f", "no", failed=True)))
    [call] = asked_with(turn)["messages"][0]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == told


def test_a_history_with_images_and_tools_is_encoded_as_the_protocol_expects() -> None:
    turns = (
        Turn("user", (TextPart("look"), ImagePart("data:image/png;base64,iVBO"))),
        Turn("assistant", (ToolCallPart("c1", "weather", '{"city":"Paris"}'),)),
        Turn("tool", (ToolResultPart("c1", "weather", "sunny"),)),
    )
    spec = ToolSpec("weather", "tells it", {"type": "object"})
    body = json.loads(completion(Request("m", turns, prefix="It is", tools=(spec,)), {}))
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Paris"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "assistant", "content": "It is"},
    ]
    assert body["tools"][0]["function"]["parameters"] == {"type": "object"}


@given(st.sampled_from(["openai-stream", "openai-think", "openai-tools"]), st.booleans(), st.data())
def test_a_reply_is_the_same_however_the_network_cuts_it(name: str, crlf: bool, drawn: st.DataObject) -> None:
    body = exchange(name).body
    whole, expected = read(body)
    pieces, reply = read(*cut(body.replace(b"\n", b"\r\n") if crlf else body, drawn))
    assert pieces.events == whole.events
    assert reply.end() == expected.end()
    assert pieces.events == whole.events


def test_what_it_cost_comes_after_the_last_word() -> None:
    outcome = read(exchange("openai-stream").body)[1].end()
    assert outcome.usage == Usage(10, 16)
    assert outcome.model == "plain"


def test_either_ending_is_enough_and_none_is_a_broken_reply() -> None:
    assert read(event({"content": "x"}, "length"))[1].end().reason == "length"
    assert read(event({"content": "x"}), DONE)[1].end().reason == "stop"
    with pytest.raises(EngineBrokeError):
        read(event({"content": "x"}))[1].end()
    with pytest.raises(EngineBrokeError):
        read()[1].end()


def test_what_comes_after_done_is_not_read() -> None:
    out, reply = read(DONE + b"data: nonsense\n\n")
    assert reply.done
    assert out.events == []


def test_null_content_comments_and_named_events_do_no_harm() -> None:
    out, reply = read(
        b": ping\n\n",
        event({"role": "assistant", "content": None}),
        b'event: delta\ndata: {"choices":\ndata: [{"delta":{"content":"x"}}]}\n\n',
        b"data:\n\n",
        event({"refusal": " no"}, "stop"),
    )
    assert out.words == ["x", " no"]
    assert reply.end().reason == "stop"


def test_thinking_is_read_under_both_its_names_and_only_once() -> None:
    out, _ = read(event({"reasoning_content": "a", "reasoning": "a"}), event({"reasoning": "b"}))
    assert out.thought == "ab"


def test_the_halves_of_a_character_are_joined_and_a_lone_half_is_marked() -> None:
    pieces = ("a \ud83d", "\ude00 b", "\ud83d", "c \ude00", "\ud83d")
    for field in ("content", "reasoning"):
        out, reply = read(*[event({field: piece}) for piece in pieces], event({}, "stop"), DONE)
        reply.end()
        said = out.said if field == "content" else out.thought
        assert said == "a \U0001f600 b\ufffdc \ufffd\ufffd"


def test_halves_of_characters_in_calls_are_joined_or_reported_as_such() -> None:
    out, reply = read(
        calling(index=0, id="c\ud83d", function={"name": "look\ud83d", "arguments": '{"a": "\ud83d'}),
        calling(index=0, function={"arguments": '\ude00\ude00"}'}),
        event({}, "tool_calls"),
    )
    reply.end()
    assert out.calls == [ToolCall("c\ufffd", "look\ufffd", '{"a": "\U0001f600\ufffd"}')]


@given(st.text(st.characters(exclude_categories=())), st.data())
def test_whatever_text_is_cut_into_units_of_utf_16_arrives_whole(text: str, drawn: st.DataObject) -> None:
    units = text.encode("utf-16-le", "surrogatepass")
    at = drawn.draw(st.integers(0, len(units) // 2)) * 2
    pieces = [half.decode("utf-16-le", "surrogatepass") for half in (units[:at], units[at:])]
    out, reply = read(*[event({"content": piece}) for piece in pieces], event({}, "stop"))
    reply.end()
    assert out.said == units.decode("utf-16-le", "replace")


def test_only_the_first_choice_is_read() -> None:
    out, _ = read(b'data: {"choices":[{"index":1,"delta":{"content":"x"}}]}\n\n')
    assert out.events == []


def test_calls_in_pieces_are_put_together_by_their_index_and_told_at_the_end() -> None:
    out, reply = read(
        calling(index=0, id="c1", function={"name": "a", "arguments": ""}),
        calling(index=1, id="c2", function={"name": "b", "arguments": '{"x"'}),
        calling(index=0, function={"arguments": '{"y":'}),
        calling(index=1, function={"arguments": ":1}"}),
        calling(index=0, function={"arguments": "2}"}),
        event({}, "tool_calls"),
    )
    assert out.calls == []
    assert reply.end().reason == "tool_calls"
    assert out.calls == [ToolCall("c1", "a", '{"y":2}'), ToolCall("c2", "b", '{"x":1}')]


def test_what_cannot_be_read_yet_is_a_sign_of_life_and_what_opens_the_reply_is_none() -> None:
    out = Pulse()
    reply = OpenAIReplyParser(out, str, "The server")
    reply.feed(b": ping\n\n" + event({"role": "assistant", "content": ""}))
    assert out.signs == 0
    reply.feed(calling(index=0, id="a", function={"name": "f", "arguments": ""}))
    for piece in ('{"x"', ": 1}"):
        reply.feed(calling(index=0, function={"arguments": piece}))
    reply.feed(event({}))
    assert out.signs == 4
    reply.feed(event({"content": "word"}) + event({"reasoning": "thought"}))
    assert (out.signs, out.said, out.thought) == (4, "word", "thought")


def test_arguments_as_an_object_and_content_in_parts_are_read_too() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "image_url"}, {"type": "text", "text": "two"}]
    out, reply = read(
        event({"content": parts}),
        calling(index=0, id="a", function={"name": "f", "arguments": {"x": 1}}),
        event({}, "tool_calls"),
    )
    reply.end()
    assert (out.said, out.calls) == ("one two", [ToolCall("a", "f", '{"x":1}')])


@pytest.mark.parametrize(
    "sent", [b'{"object":"chat.completion","choices":[]}', b"<html>login</html>", b" \n[1]"]
)
def test_what_is_no_stream_is_reported_as_something_else(sent: bytes) -> None:
    _, reply = read(sent)
    with pytest.raises(EngineBrokeError, match="no stream of a chat completion"):
        reply.end()


def test_calls_that_all_have_index_zero_or_none_are_distinguished_by_their_ids() -> None:
    for index in ({"index": 0}, {}):
        out, reply = read(
            calling(**index, id="c1", function={"name": "a", "arguments": "{}"}),
            calling(**index, id="c2", function={"name": "b"}),
            event({}, "stop"),
        )
        reply.end()
        assert out.calls == [ToolCall("c1", "a", "{}"), ToolCall("c2", "b", "{}")]


def test_a_call_without_an_id_gets_one_and_a_call_that_the_limit_cut_is_none() -> None:
    piece = calling(index=0, function={"name": "a", "arguments": "{"})
    out, reply = read(piece, event({}, "tool_calls"))
    reply.end()
    assert [call.call for call in out.calls] == ["new-1"]
    out, reply = read(piece, event({}, "length"))
    assert reply.end().reason == "length"
    assert out.calls == []


def test_llama_cpp_tells_how_far_it_has_read_and_how_long_it_took() -> None:
    out, reply = read(
        event(
            {"role": "assistant", "content": None},
            prompt_progress={"total": 200, "cache": 50, "processed": 100},
        ),
        event({"content": "x"}),
        event(
            {},
            "stop",
            timings={"prompt_ms": 40.0, "predicted_ms": 60.0, "predicted_per_second": 16.5, "prompt_n": 9},
        ),
        DONE,
    )
    assert out.states == [State("reading", progress=0.5)]
    assert reply.end().timings == Timings(first_token_ms=40.0, total_ms=100.0, tokens_per_second=16.5)


@pytest.mark.parametrize(
    ("sent", "error", "says"),
    [
        (b'data: {"error":{"message":"boom"}}\n\n', EngineBrokeError, "boom"),
        (b'data: {"error":"boom"}\n\n', EngineBrokeError, "boom"),
        (b'data: {"error":{"code":500,"message":"boom"}}\n\n', EngineBrokeError, "boom"),
        (b'data: {"error":{"code":429,"message":"busy"}}\n\n', EngineBrokeError, "busy"),
        (b'data: {"error":{"code":400,"message":"too long"}}\n\n', EngineRefusedError, "too long"),
        (b'event: error\ndata: {"message":"boom"}\n\n' + DONE, EngineBrokeError, "boom"),
        (b'event: error\ndata: {"error":{"code":400,"message":"boom"}}\n\n', EngineRefusedError, "boom"),
        (b"event: error\ndata: boom\n\n", EngineBrokeError, "boom"),
        (b"event: error\ndata: " + b"[" * 100_000 + b"\n\n", EngineBrokeError, "broke off"),
        (b'data: {"error":' + b"[" * 100_000 + b"\n\n", EngineBrokeError, "URL"),
        (event({}, "content_filter"), EngineRefusedError, "filter"),
        (event({}, "error"), EngineBrokeError, "broke off"),
        (b"data: <html>\n\n", EngineBrokeError, "URL"),
        (b'data: {"choices":[{"delta":{"content":7}}]}\n\n', EngineBrokeError, "URL"),
        (b"x" * (LARGEST + 1), EngineBrokeError, "larger"),
    ],
)
def test_what_is_no_reply_is_reported_in_a_sentence(sent: bytes, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        read(sent)


def test_the_words_of_a_refusal_are_found_whatever_their_shape() -> None:
    assert failure(exchange("openai-err-unknown-model").body) == OpenAIError(
        "model 'nope' not found", "api_error"
    )
    assert failure(b'{"error":"no"}') == OpenAIError("no")
    assert failure(b'{"object":"error","message":"no","code":404}') == OpenAIError("no", "404")
    for body in (b"<html>", b"[]", b"{}", b"\xff", b'{"detail":"Not Found"}'):
        assert failure(body) is None


def test_how_much_a_model_takes_is_reported_under_several_names() -> None:
    assert OpenAIModel("m").context is None
    assert OpenAIModel("m", max_model_len=8192).context == 8192
    assert OpenAIModel("m", context_length=4096).context == 4096
    assert OpenAIModel("m", meta={"n_ctx_train": 2048}).context == 2048
