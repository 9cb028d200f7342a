"""OpenAI-compatible servers as they really are, over real sockets: no text is lost, and no broken reply is called complete."""

import json
from typing import Any

import pytest

from legato.engines.openai import engine as openai
from legato.errors import EngineBrokeError, EngineError, EngineRefusedError
from legato.stream import State
from legato.testing.odd_engine import CUT, DONE, OddAnswer, OddEngine, Step, chunk, event, plain, sse

OOM = "CUDA out of memory"
STOP = chunk(None, "stop")


async def ask(*pieces: Step | dict[str, Any]) -> OddAnswer:
    async with OddEngine(sse(*pieces)) as odd:
        return await odd.ask_openai()


def complete(answer: OddAnswer, said: str, thought: str = "") -> None:
    assert (answer.said, answer.thought, answer.reason) == (said, thought, "")


def broken(answer: OddAnswer, said: str, reason: str, kind: type[EngineError] = EngineBrokeError) -> None:
    assert answer.said == said
    assert isinstance(answer.error, kind)
    assert reason in answer.reason


# 1. An ending that is none.


async def test_stop_on_every_chunk_does_not_end_the_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "_COST_SECONDS", 0.1)
    words = [chunk(word, "stop") for word in ("one ", "two ", "three ", "four")]
    pieces: list[Step | dict[str, Any]] = [each for word in words for each in (word, 0.3)]
    complete(await ask(*pieces, DONE), "one two three four")


async def test_thinking_that_says_stop_does_not_end_the_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "_COST_SECONDS", 0.1)
    thought = chunk(None, "stop", reasoning_content="hm")
    complete(await ask(thought, 0.4, thought, 0.4, chunk("Yes.", "stop"), 0.4, STOP, DONE), "Yes.", "hmhm")


async def test_text_after_an_ending_needs_another_ending() -> None:
    broken(await ask(chunk("one ", "stop"), chunk("two")), "one two", "broke off")
    broken(await ask(chunk("one ", "stop"), chunk("two"), CUT), "one two", "broke in the middle")
    complete(await ask(chunk("one ", "stop"), chunk("two"), DONE), "one two")
    complete(await ask(chunk("one ", "stop"), chunk("two", "stop")), "one two")


@pytest.mark.parametrize("reason", ["null", "None", "", False, "in_progress"])
async def test_a_reason_that_is_none_ends_nothing(reason: object) -> None:
    broken(await ask(chunk("one ", reason)), "one ", "broke off")


@pytest.mark.parametrize(
    ("reason", "ends"),
    [("max_tokens", "length"), ("MAX_TOKENS", "length"), ("eos", "stop"), ({"type": "stop"}, "stop")],
)
async def test_endings_in_other_words(reason: object, ends: str) -> None:
    answer = await ask(chunk("one"), chunk(None, reason), DONE)
    assert answer.outcome is not None
    assert answer.outcome.reason == ends


@pytest.mark.parametrize(
    "reason", ["abort", "network_error", "insufficient_system_resource", "cancelled", "timeout"]
)
async def test_an_ending_that_says_that_it_broke_is_a_broken_reply(reason: str) -> None:
    broken(await ask(chunk("one"), chunk(None, reason), DONE), "one", "broke off")


# 2. Errors in a stream whose status is 200, and text outside `delta`.

ERRORS: list[object] = [
    {"text": OOM, "error_code": 50002},
    {"error": OOM},
    {"error": {"message": OOM, "type": "server_error"}},
    {"error": {"detail": OOM}},
    {"error": True, "message": OOM},
    {"errors": [{"message": OOM}]},
    {"object": "error", "message": OOM, "code": 50001},
    {"detail": OOM},
    {"detail": [{"loc": ["body"], "msg": OOM}]},
    {"code": 500, "message": OOM},
    {"code": "internal", "msg": OOM},
    {"status": "error", "message": OOM},
    {"status": 500, "title": OOM},
    {"type": "error", "error": {"type": "overloaded", "message": OOM}},
    {"success": False, "msg": OOM},
    {"error_msg": OOM, "error_code": 336501},
    {"base_resp": {"status_code": 1004, "status_msg": OOM}},
    {"message": OOM},
    {"choices": [{"index": 0, "error": {"code": 502, "message": OOM}, "finish_reason": "error"}]},
    {"choices": [{"index": 0, "delta": {"content": "", "error": OOM}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "error": {"message": OOM}},
]


@pytest.mark.parametrize("error", ERRORS, ids=json.dumps)
async def test_an_error_of_any_shape_is_reported_first_or_late(error: object) -> None:
    broken(await ask(event(error), DONE), "", OOM)
    broken(await ask(chunk("one "), chunk("two"), event(error), DONE), "one two", OOM)
    broken(await ask(chunk("one "), chunk("two"), event(error)), "one two", OOM)


async def test_an_error_after_the_ending_is_reported() -> None:
    broken(await ask(chunk("one"), STOP, event({"error": OOM}), DONE), "one", OOM)


@pytest.mark.parametrize(
    "words", [b"data: Error: CUDA out of memory\n\n", b"event: error\ndata: CUDA out of memory\n\n"]
)
async def test_an_error_in_plain_words_is_reported(words: bytes) -> None:
    broken(await ask(chunk("one"), words, DONE), "one", OOM)


async def test_text_beside_an_error_is_kept() -> None:
    answer = await ask({**chunk("one"), "error": {"message": OOM}}, DONE)
    broken(answer, "one", OOM)


@pytest.mark.parametrize(
    "fine", [{"error": None}, {"error": ""}, {"error": {}}, {"error_code": 0}, {"code": 200}]
)
async def test_an_error_that_is_none_is_none(fine: dict[str, object]) -> None:
    complete(await ask({**chunk("one"), **fine}, STOP, DONE), "one")


async def test_a_request_at_fault_is_refused_also_in_a_stream() -> None:
    error = {
        "error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}
    }
    broken(await ask(event(error), DONE), "", "too long", EngineRefusedError)


def choice(**fields: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, **fields}]}


async def test_text_in_place_of_a_delta_is_read() -> None:
    for name in ("text", "message", "delta"):
        pieces = [
            choice(**{name: word if name != "message" else {"content": word}}) for word in ("one ", "two")
        ]
        complete(await ask(*pieces, choice(finish_reason="stop"), DONE), "one two")


async def test_a_message_that_grows_or_repeats_the_reply_is_read_once() -> None:
    grown = [choice(message={"content": text}) for text in ("I", "I am", "I am here.")]
    complete(await ask(*grown, DONE), "I am here.")
    whole = choice(message={"role": "assistant", "content": "I am here."}, finish_reason="stop")
    complete(await ask(chunk("I am "), chunk("here."), whole, DONE), "I am here.")
    complete(await ask(chunk("I am "), whole, DONE), "I am here.")


async def test_pieces_that_look_grown_are_kept() -> None:
    pieces = [choice(message={"content": text}) for text in ("1", "10", " apples")]
    complete(await ask(*pieces, DONE), "110 apples")
    complete(await ask(choice(text="ha"), choice(text="ha"), DONE), "haha")


async def test_a_reply_that_is_not_streamed_is_read() -> None:
    body = {"object": "chat.completion", **choice(message={"content": "one two"}, finish_reason="stop")}
    async with OddEngine(
        plain(body), plain(json.dumps(body, indent=2).encode()), plain({"error": OOM})
    ) as odd:
        complete(await odd.ask_openai(), "one two")
        complete(await odd.ask_openai(), "one two")
        broken(await odd.ask_openai(), "", OOM)


async def test_chunks_as_lines_without_events_are_read() -> None:
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in (chunk("one "), chunk("two"), STOP))
    async with OddEngine(plain(lines)) as odd:
        complete(await odd.ask_openai(), "one two")


# 3. Tool calls.


def calls(*items: dict[str, Any]) -> dict[str, Any]:
    return chunk(None, None, tool_calls=list(items))


def call(name: str | None = None, arguments: object = None, **fields: object) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**fields, "function": function}


PARIS, ROME = '{"city":"Paris"}', '{"city":"Rome"}'
BOTH = [("weather", PARIS), ("weather", ROME)]
AB = [("a", PARIS), ("b", ROME)]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([calls(call("a", PARIS, index=0)), calls(call("b", ROME, index=0))], AB),
        ([calls(call("weather", PARIS, index=0)), calls(call("weather", ROME, index=0))], BOTH),
        ([calls(call("a", PARIS), call("b", ROME))], AB),
        ([calls(call("a", PARIS)), calls(call("b", ROME))], AB),
        ([calls(call("a", PARIS, index=0, id="x"), call("b", ROME, index=0, id="x"))], AB),
        ([calls(call("a", PARIS, index=0, id="")), calls(call("b", ROME, index=0, id=""))], AB),
        ([calls(call("a", PARIS, index=0, id=7)), calls(call("b", ROME, index=1, id=8))], AB),
        ([calls(call("a", PARIS, index=0, id="x")), calls(call("b", ROME, index=1, id="x"))], AB),
        ([calls(call("a", PARIS, index="0")), calls(call("b", ROME, index="1"))], AB),
        ([calls(call("a", "", index=0), call("b", "", index=0)), calls(call(None, PARIS, index=0))], None),
        ([calls(call("a", PARIS + ROME, index=0))], [("a", PARIS), ("a", ROME)]),
        # The arguments come in pieces.
        (
            [
                calls(call("a", '{"city"', index=0)),
                calls(call(None, ':"Paris"}', index=0)),
                calls(call("b", '{"city"', index=0)),
                calls(call(None, ':"Rome"}', index=0)),
            ],
            AB,
        ),
        (
            [calls(call("a", PARIS[:4], index=0)), calls(call(None, PARIS[4:9], index=1)), calls(call(None, PARIS[9:], index=2))],
            [("a", PARIS)],
        ),
        (
            [calls(call("a", PARIS[:4], index=0, id="1")), calls(call("a", PARIS[4:], index=0, id="2"))],
            [("a", PARIS)],
        ),
        # They are told again.
        ([calls(call("a", PARIS[:5], index=0, id="x")), calls(call(None, PARIS[5:], index=0)), calls(call("a", PARIS, index=0, id="x"))], [("a", PARIS)]),
        ([calls(call("a", PARIS, index=0)), calls(call(None, '{"city": "Paris"}', index=0))], [("a", PARIS)]),
        ([calls(call("a", "{}", index=0)), calls(call(None, PARIS, index=0))], [("a", PARIS)]),
        ([calls(call("a", PARIS[:n], index=0)) for n in (5, 9, len(PARIS))], [("a", PARIS)]),
        ([calls(call("a", PARIS, index=0, id="x")), calls(call("a", "", index=0, id="x"))], [("a", PARIS)]),
        ([calls(call("a", PARIS, index=0, id="x")), choice(message={"tool_calls": [call("a", PARIS, id="x")]})], [("a", PARIS)]),
        # The name comes in pieces, or every time.
        ([calls(call("get_", index=0)), calls(call("weather", index=0)), calls(call(None, PARIS, index=0))], [("get_weather", PARIS)]),
        ([calls(call("a", PARIS[:5], index=0)), calls(call("a", PARIS[5:], index=0))], [("a", PARIS)]),
        # Other shapes.
        ([chunk(None, None, function_call={"name": "a", "arguments": PARIS})], [("a", PARIS)]),
        ([calls({"index": 0, "name": "a", "arguments": PARIS})], [("a", PARIS)]),
        ([chunk(None, None, tool_calls=call("a", PARIS))], [("a", PARIS)]),
        ([calls(call("a", {"city": "Paris"}, index=0))], [("a", PARIS)]),
        ([choice(message={"tool_calls": [call("a", PARIS), call("b", ROME)]})], AB),
    ],
)  # fmt: skip
async def test_tool_calls_however_they_are_numbered(
    pieces: list[dict[str, Any]], expected: list[tuple[str, str]] | None
) -> None:
    answer = await ask(*pieces, chunk(None, "tool_calls"), DONE)
    assert answer.reason == ""
    if expected is not None:
        assert answer.calls == expected
    ids = [call.call for call in answer.out.calls]
    assert all(ids)
    assert len(set(ids)) == len(ids)


async def test_a_call_without_a_name_breaks_the_reply() -> None:
    broken(
        await ask(calls(call(None, PARIS, index=0)), chunk(None, "tool_calls"), DONE), "", "without naming it"
    )


async def test_endless_arguments_are_given_up_at_a_mebibyte() -> None:
    pieces = [
        calls(call("a", "{", index=0)),
        *[calls(call(None, '"x":' * 16_384, index=0)) for _ in range(40)],
    ]
    broken(await ask(*pieces, DONE), "", "longer arguments")


# 5. Thinking.


@pytest.mark.parametrize(
    "pieces",
    [
        ["hm", "\n</think>\n\n", "Yes."],
        ["hm\n</th", "ink>Yes."],
        ["<think>hm\n</think>Yes."],
        ["<thinking>hm\n</thinking>Yes."],
        ["[THINK]hm\n[/THINK]Yes."],
        [
            "<|channel|>analysis<|message|>hm\n<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>"
        ],
    ],
)
async def test_thinking_in_the_text_is_no_answer(pieces: list[str]) -> None:
    answer = await ask(*map(chunk, pieces), STOP, DONE)
    assert (answer.said, answer.thought.strip(), answer.reason) == ("Yes.", "hm", "")


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": {"content": "hm"}},
        {"reasoning": [{"type": "reasoning.text", "text": "hm"}]},
        {"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        {"reasoning_content": {"text": "hm"}},
        {"thinking": "hm"},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
        {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": ""}]},
        {"content": {"type": "reasoning", "text": "hm"}},
    ],
)
async def test_thinking_in_any_shape_is_thinking(delta: dict[str, Any]) -> None:
    complete(await ask(chunk(None, None, **delta), chunk("Yes."), STOP, DONE), "Yes.", "hm")


async def test_a_closing_tag_after_separated_thinking_is_no_answer() -> None:
    complete(
        await ask(chunk(None, None, reasoning="hm"), chunk("</think>\n\nYes."), STOP, DONE), "Yes.", "hm"
    )


# 6. Heartbeats.


@pytest.mark.parametrize(
    "beat", [b"ping", b"1", b"null", b"[]", b"{}", b'"ping"', b"true", b"keep-alive", b'{"type":"ping"}']
)
async def test_a_heartbeat_is_no_reply_and_no_error(beat: bytes) -> None:
    beat = b"data: " + beat + b"\n\n"
    complete(await ask(beat, chunk("one "), beat, chunk("two"), STOP, beat, DONE), "one two")


async def test_a_keep_alive_before_the_first_word_says_that_the_prompt_is_read() -> None:
    answer = await ask(
        b": OPENROUTER PROCESSING\n\n", 0.1, b"data: ping\n\n", chunk("one"), b": ping\n\n", STOP, DONE
    )
    assert answer.out.states == [State("reading")] * 2


# 7. The end of the bytes, and of lines.


@pytest.mark.parametrize("last", ["\n", "", "\r"])
async def test_the_last_event_needs_no_blank_line(last: str) -> None:
    complete(await ask(chunk("one "), f"data: {json.dumps(chunk('two', 'stop'))}{last}".encode()), "one two")
    complete(await ask(chunk("one"), f"data: [DONE]{last}".encode()), "one")


async def test_the_last_event_is_read_also_if_the_connection_breaks() -> None:
    broken(await ask(chunk("one "), event(chunk("two"))[:-2], 0.1, CUT), "one two", "broke in the middle")


async def test_a_lone_carriage_return_ends_a_line() -> None:
    pieces = [event(each).replace(b"\n", b"\r") for each in (chunk("one "), chunk("two"), STOP)]
    complete(await ask(*pieces, b"data: [DONE]\r\r"), "one two")


async def test_half_an_event_is_a_broken_reply() -> None:
    broken(await ask(chunk("one ", "stop"), event(chunk("two", "stop"))[:-20]), "one ", "broke off")
