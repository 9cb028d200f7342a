"""The codec of Ollama's responses and its `context`: properties of any reply."""

import json
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legato.api.codec import Ending
from legato.api.formats import make_codec
from legato.api.ollama.context import MARK, decode_context, encode_context
from legato.api.ollama.fields import keep_alive_of, unloads
from legato.api.request_fields import InvalidFieldError
from legato.engines.base import Outcome, ToolCall
from legato.stream import Timings, Usage

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
EVENT = st.one_of(
    st.tuples(st.sampled_from(["text", "reasoning"]), TEXT),
    st.tuples(
        st.just("call"),
        st.builds(ToolCall, TEXT, TEXT, st.dictionaries(TEXT, TEXT).map(lambda each: json.dumps(each))),
    ),
)
COUNT = st.none() | st.integers(0, 10**6)
MILLISECONDS = st.none() | st.floats(0, 1e7)
OUTCOME = st.builds(
    Outcome,
    st.sampled_from(["stop", "length", "tool_calls"]),
    st.just("m"),
    st.none() | st.builds(Usage, COUNT, COUNT),
    st.none()
    | st.builds(
        Timings, MILLISECONDS, MILLISECONDS, MILLISECONDS, MILLISECONDS, st.none() | st.floats(0.01, 1e6)
    ),
)


def frames(name: str, events: list[Any], outcome: Outcome, **options: Any) -> list[bytes]:
    codec = make_codec(name, "id", 1e9, "mödel\u2028", options)
    written = [*codec.begin()]
    for kind, value in events:
        write = {"text": codec.text, "reasoning": codec.reasoning, "call": codec.tool_call}[kind]
        written += write(0, value)
    return [*written, *codec.end(0, Ending(outcome)), *codec.finish()]


@settings(max_examples=50)
@given(st.sampled_from(["chat", "generate"]), st.lists(EVENT), OUTCOME, st.booleans())
def test_the_lines_have_together_what_the_whole_has(
    kind: str, events: list[Any], outcome: Outcome, thinking: bool
) -> None:
    options = {
        "kind": kind,
        "thinking": thinking,
        "history": [("user", "hi")] if kind == "generate" else None,
    }
    streamed = b"".join(frames("ollama.reply.stream", events, outcome, **options)).decode()
    (whole,) = frames("ollama.reply", events, outcome, **options)
    # Clients split lines as Python does, also at U+0085, U+2028 and U+2029.
    lines = [json.loads(line) for line in streamed.splitlines()]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    one = json.loads(whole)
    said = [line["message"] if kind == "chat" else line for line in lines]
    all_of = one["message"] if kind == "chat" else one
    key = "content" if kind == "chat" else "response"
    assert "".join(each[key] for each in said) == all_of[key] == text_of(events, "text")
    thoughts = "".join(each.get("thinking", "") for each in said)
    assert thoughts == all_of.get("thinking", "") == (text_of(events, "reasoning") if thinking else "")
    calls = [call for each in said for call in each.get("tool_calls", [])]
    assert calls == all_of.get("tool_calls", [])
    assert [call["function"]["index"] for call in calls] == list(range(len(calls)))
    assert all(isinstance(call["function"]["arguments"], dict) for call in calls)
    last = {name: value for name, value in lines[-1].items() if name not in ("message", "response")}
    assert last == {
        name: value
        for name, value in one.items()
        if name not in ("message", "response", "thinking", "tool_calls")
    }
    durations = [value for name, value in last.items() if name.endswith("_duration")]
    assert all(isinstance(value, int) and value >= 0 for value in durations)
    if last.get("eval_count"):
        assert last["eval_duration"] > 0


def text_of(events: list[Any], wanted: str) -> str:
    return "".join(value for kind, value in events if kind == wanted)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), TEXT)))
def test_a_context_is_read_again(history: list[Any]) -> None:
    numbers = encode_context(history)
    assert numbers is not None
    assert all(0 <= number < 2**31 for number in numbers)
    assert decode_context(json.loads(json.dumps(numbers))) == history


@given(st.lists(st.integers()))
def test_other_numbers_are_refused_as_a_context(numbers: list[int]) -> None:
    with pytest.raises(InvalidFieldError, match="context"):
        decode_context(numbers)


def test_a_context_is_bounded() -> None:
    assert encode_context([("user", "x" * 5_000_000)]) is None
    packed = zlib.compress(b'[["user","' + b"x" * 5_000_000 + b'"]]')
    padded = packed.ljust(len(packed) + -len(packed) % 3, b"\0")
    numbers = [int.from_bytes(padded[at : at + 3], "big") for at in range(0, len(padded), 3)]
    with pytest.raises(InvalidFieldError, match="context"):
        decode_context([MARK, len(packed), *numbers])


def test_durations() -> None:
    for given_text, value in {"5m": "5m", "-1": -1, "1h2m3.5s": "1h2m3.5s", "": None, "30": 30}.items():
        assert keep_alive_of(given_text) == value
    for zero in (0, 0.0, "0", "0s", "-0m", "0h0m"):
        assert unloads(keep_alive_of(zero))
    for other in (None, -1, 5, "5m", "0.5s", "10s"):
        assert not unloads(keep_alive_of(other))
    for wrong in ("soon", "5 m", "m", float("nan"), "1" * 200):
        with pytest.raises(InvalidFieldError, match="keep_alive"):
            keep_alive_of(wrong)
