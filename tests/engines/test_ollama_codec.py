import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doubles.ollama import CLOSED_TEMPLATE, TEMPLATE
from tests.doubles.pulse import Pulse
from tests.doubles.recordings import exchange

from legato.domain.message import ImagePart, TextPart, ToolCallPart, ToolResultPart
from legato.engines.base import Capabilities, Request, ToolSpec, Turn
from legato.engines.line_buffer import LARGEST
from legato.engines.ollama.codec import OllamaReplyParser, chat, failure, refuses
from legato.engines.ollama.models import ShowResponse, capabilities, full_name, leaves_open
from legato.errors import EngineBrokeError
from legato.testing.engine import Recorder

from .cutting import cut

HI = Turn("user", (TextPart("hi"),))


def read(*pieces: bytes) -> tuple[Recorder, OllamaReplyParser]:
    out = Recorder()
    reply = OllamaReplyParser(out, iter(["new-1", "new-2"]).__next__)
    for piece in pieces:
        reply.feed(piece)
    return out, reply


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


END = line(done=True, done_reason="stop")


def test_a_request_says_what_ollama_wants_to_know_and_nothing_else() -> None:
    assert json.loads(chat(Request("m", (HI,)))) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "truncate": False,
        "shift": False,
    }


def test_options_think_and_keep_alive_pass_through_as_they_are() -> None:
    body = json.loads(
        chat(Request("m", (HI,), options={"num_ctx": 2048, "stop": ["x"]}, think=False, keep_alive="5m"))
    )
    assert (body["options"], body["think"], body["keep_alive"]) == (
        {"num_ctx": 2048, "stop": ["x"]},
        False,
        "5m",
    )


def test_a_history_with_images_and_tools_is_encoded_as_ollama_expects() -> None:
    turns = (
        Turn("system", (TextPart("Be brief."),)),
        Turn("user", (TextPart("look"), ImagePart("data:image/png;base64,iVBO"))),
        Turn("assistant", (ToolCallPart("c1", "weather", '{"city":"Paris"}'),)),
        Turn("tool", (ToolResultPart("c1", "weather", "sunny"),)),
    )
    spec = ToolSpec("weather", "tells it", {"type": "object"})
    body = json.loads(chat(Request("m", turns, prefix="It is", tools=(spec,))))
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "look", "images": ["iVBO"]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "function": {"index": 0, "name": "weather", "arguments": {"city": "Paris"}}}
            ],
        },
        {"role": "tool", "content": "sunny", "tool_name": "weather", "tool_call_id": "c1"},
        {"role": "assistant", "content": "It is"},
    ]
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "weather", "description": "tells it", "parameters": {"type": "object"}},
        }
    ]


@given(
    st.sampled_from(
        ["chat-stream", "chat-think", "chat-think-off", "chat-tools", "chat-length", "chat-once"]
    ),
    st.data(),
)
def test_a_reply_is_the_same_however_the_network_cuts_it(name: str, drawn: st.DataObject) -> None:
    body = exchange(name).body
    whole, expected = read(body)
    pieces, reply = read(*cut(body, drawn))
    assert pieces.events == whole.events
    assert reply.end() == expected.end()


@given(st.data())
def test_a_reply_that_was_cut_short_anywhere_is_never_taken_for_a_whole_one(drawn: st.DataObject) -> None:
    body = exchange("chat-stream").body
    # Behind the last brace the reply is whole, whether or not its newline came.
    shortened = body[: drawn.draw(st.integers(0, len(body.rstrip()) - 1))]
    out, reply = read(*cut(shortened, drawn))
    with pytest.raises(EngineBrokeError):
        reply.end()
    assert "The quick brown fox jumps over a lazy dog, while tokens arrive one by one.".startswith(out.said)


def test_a_word_is_reported_with_the_chunk_that_completes_its_line() -> None:
    out, reply = read(b'{"message":{"content":"one"}}\n{"message":{"content":" two"}}\n{"mess')
    assert out.words == ["one", " two"]
    reply.feed(b'age":{"content":" three"}}\n')
    assert out.words == ["one", " two", " three"]


def test_the_halves_of_a_character_are_joined_and_a_lone_half_is_marked() -> None:
    pieces = ("a \ud83d", "\ude00 b", "\ud83d")
    for field in ("content", "thinking"):
        out, reply = read(*[line(message={field: piece}) for piece in pieces], line(done=True))
        reply.end()
        assert (out.said if field == "content" else out.thought) == "a \U0001f600 b\ufffd"


def test_half_a_character_in_a_call_is_reported_as_such() -> None:
    call = {"id": "c\ud83d", "function": {"name": "look\ude00", "arguments": {"a": ["\ud83d"]}}}
    out, reply = read(line(message={"tool_calls": [call]}), line(done=True))
    reply.end()
    assert [(each.call, each.name) for each in out.calls] == [("c\ufffd", "look\ufffd")]
    assert json.loads(out.calls[0].arguments) == {"a": ["\ufffd"]}


def test_an_ending_needs_no_newline_and_blank_lines_mean_nothing() -> None:
    out, reply = read(b"\n\r\n", line(message={"content": "x"}), b"\n", END.rstrip())
    assert not reply.done
    assert reply.end().reason == "stop"
    assert out.said == "x"


def test_what_comes_after_the_ending_is_not_read() -> None:
    out, reply = read(END + b"nonsense\n" + line(message={"content": "x"}))
    assert reply.done
    assert out.events == []


def test_a_line_without_a_word_is_a_sign_of_life() -> None:
    out = Pulse()
    reply = OllamaReplyParser(out, str)
    reply.feed(line(message={"role": "assistant", "content": ""}))
    assert out.signs == 1
    reply.feed(line(message={"role": "assistant", "content": "", "thinking": "hm"}))
    assert (out.signs, out.thought) == (1, "hm")


def test_calls_without_a_name_of_their_own_get_one() -> None:
    calls = [{"function": {"name": "a"}}, {"function": {"name": "b", "arguments": {"x": "é"}}}]
    out, reply = read(line(message={"content": "", "tool_calls": calls}), END)
    assert [(call.call, call.name, json.loads(call.arguments)) for call in out.calls] == [
        ("new-1", "a", {}),
        ("new-2", "b", {"x": "é"}),
    ]
    assert reply.end().reason == "tool_calls"


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b'{"error":"out of memory"}\n', "out of memory"),
        (b'{"error":{"message":"out of memory"}}\n', "out of memory"),
        (b"<html>\n", "not Ollama"),
        (b"[1]\n", "not Ollama"),
        (b'{"message":{"content":7}}\n', "not Ollama"),
        (b'"\xff"\n', "not Ollama"),
        (b'{"error":' + b"[" * 100_000 + b"\n", "not Ollama"),
        (b"x" * (LARGEST + 1), "larger"),
    ],
)
def test_what_is_no_reply_is_reported_in_a_sentence(sent: bytes, says: str) -> None:
    with pytest.raises(EngineBrokeError, match=says):
        read(sent)


def test_a_page_without_a_line_end_is_not_ollama_either() -> None:
    with pytest.raises(EngineBrokeError, match="not Ollama"):
        read(b"<html>login</html>")[1].end()


def test_an_ending_that_counts_nothing_promises_nothing() -> None:
    outcome = read(END)[1].end()
    assert outcome.timings is not None
    assert outcome.timings.tokens_per_second is None
    assert outcome.timings.first_token_ms is None


def test_the_words_of_a_refusal_are_found_where_there_are_any() -> None:
    assert failure(exchange("err-unknown-model").body) == "model 'nope' not found"
    assert failure(exchange("err-unknown-path").body) == ""
    assert failure(b"[]") == ""
    assert failure(b"{}") == ""


def test_a_bad_option_is_a_refusal_though_its_status_says_otherwise() -> None:
    assert refuses(500, failure(exchange("err-bad-option").body))
    assert not refuses(500, "llama runner process has terminated")
    assert refuses(400, "")


def test_a_model_without_a_tag_is_the_latest() -> None:
    assert full_name("plain") == "plain:latest"
    assert full_name("plain:8b") == "plain:8b"
    assert full_name("registry:5000/me/plain") == "registry:5000/me/plain:latest"


def test_what_a_model_can_is_read_from_what_is_shown_of_it() -> None:
    shown = msgspec.json.decode(exchange("show").body, type=ShowResponse)
    assert capabilities(shown) == Capabilities(
        supports_prefill=True, tools=True, images=False, thinks=False, context=8192
    )
    assert capabilities(ShowResponse(capabilities=["vision", "thinking"])) == Capabilities(
        images=True, thinks=True
    )
    assert not capabilities(ShowResponse(template=TEMPLATE, renderer="qwen3-coder")).supports_prefill
    assert not capabilities(
        ShowResponse(template=TEMPLATE, remote_host="https://example.com")
    ).supports_prefill


@pytest.mark.parametrize(
    "template",
    [
        TEMPLATE,
        "{{ if .System }}{{ .System }}{{ end }}[INST] {{ .Prompt }} [/INST]{{ .Response }}</s>",
        "{{ .Prompt }}",
    ],
)
def test_templates_that_leave_the_reply_open_are_known(template: str) -> None:
    assert leaves_open(template)


@pytest.mark.parametrize(
    "template",
    [
        "",
        CLOSED_TEMPLATE,
        TEMPLATE.replace("{{ if not $last }}<|im_end|>\n{{ end }}", "<|im_end|>\n"),
        TEMPLATE.replace('and (ne .Role "assistant") $last', "$last"),
        TEMPLATE.replace("{{ .Content }}\n{{- else if .ToolCalls }}", "{{- else if .ToolCalls }}", 1),
        TEMPLATE.replace(
            "{{ .Content }}\n{{- else if .ToolCalls }}", "{{ .Content }}!{{- else if .ToolCalls }}", 1
        ),
        TEMPLATE.replace("$last := eq", "$last := ne"),
    ],
)
def test_of_any_other_template_nothing_is_promised(template: str) -> None:
    assert not leaves_open(template)
