"""Ollama, and what calls itself so, as it really is, over real sockets: no text is lost, and no broken reply is complete."""

import json
from typing import Any

import pytest

from legato.engines.ollama import engine as ollama
from legato.engines.ollama.engine import OllamaEngine
from legato.stream import State, Usage
from legato.testing.odd_engine import CUT, END, OddAnswer, OddEngine, Step, line, ndjson, plain

OOM = "CUDA out of memory"
PARIS, ROME = '{"city":"Paris"}', '{"city":"Rome"}'


async def ask(*pieces: Step | dict[str, Any]) -> OddAnswer:
    async with OddEngine(ndjson(*pieces)) as odd:
        return await odd.ask_ollama()


def complete(answer: OddAnswer, said: str, thought: str = "") -> None:
    assert (answer.said, answer.thought, answer.reason) == (said, thought, "")


def broken(answer: OddAnswer, said: str, reason: str) -> None:
    assert answer.said == said
    assert answer.error is not None
    assert reason in answer.reason


async def test_an_ending_that_comes_with_text_may_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ollama, "_DOUBT_SECONDS", 1.0)
    words = [line(word, done=True) for word in ("one ", "two ", "three")]
    complete(await ask(words[0], 0.2, words[1], 0.2, words[2], END), "one two three")
    complete(await ask(*words), "one two three")
    broken(await ask(words[0], line("two")), "one two", "broke off")
    broken(await ask(words[0], line("two"), 0.1, CUT), "one two", "broke in the middle")


@pytest.mark.parametrize(
    "error",
    [
        {"error": OOM},
        {"error": {"message": OOM}},
        {"error": True, "message": OOM},
        {"detail": OOM},
        {"code": 500, "message": OOM},
        {"text": OOM, "error_code": 50002},
        {"status": "error", "message": OOM},
        {"message": {"content": ""}, "error": OOM, "done": True},
    ],
    ids=json.dumps,
)
async def test_an_error_of_any_shape_is_reported_first_or_late(error: dict[str, Any]) -> None:
    broken(await ask(error, END), "", OOM)
    broken(await ask(line("one "), line("two"), error, END), "one two", OOM)


async def test_an_ending_that_says_that_it_broke_is_a_broken_reply() -> None:
    broken(await ask(line("one"), {**END, "done_reason": "error"}), "one", "broke off")


@pytest.mark.parametrize("done", [False, None, "false", 0])
async def test_an_ending_that_is_none_ends_nothing(done: object) -> None:
    broken(await ask(line("one", done=done)), "one", "broke off")


async def test_text_in_other_places_is_read() -> None:
    complete(
        await ask({"response": "one ", "done": False}, {"response": "two", "done": False}, END), "one two"
    )
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "one"}]
    complete(await ask({"message": {"content": parts}}, END), "one", "hm")
    complete(await ask({"message": {"content": "one", "reasoning": {"content": "hm"}}}, END), "one", "hm")


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([{"function": {"name": "weather", "arguments": PARIS}}], [("weather", PARIS)]),
        ([{"id": 7, "function": {"name": "weather", "arguments": {"city": "Paris"}}}], [("weather", PARIS)]),
        (
            [{"id": 1, "function": {"name": "a", "arguments": PARIS}}, {"id": 1, "function": {"name": "b", "arguments": ROME}}],
            [("a", PARIS), ("b", ROME)],
        ),
        ([{"function": {"name": "a", "arguments": PARIS}}, {"function": {"name": "a", "arguments": ROME}}], [("a", PARIS), ("a", ROME)]),
        ([{"name": "a", "arguments": PARIS}], [("a", PARIS)]),
        ([{"function": {"name": "a"}}], [("a", "{}")]),
        ({"function": {"name": "a", "arguments": PARIS}}, [("a", PARIS)]),
    ],
)  # fmt: skip
async def test_tool_calls_in_any_shape_are_whole(calls: object, expected: list[tuple[str, str]]) -> None:
    for pieces in ([line(tool_calls=calls), END], [{**line(tool_calls=calls), "done": True}]):
        answer = await ask(*pieces)
        assert (answer.reason, answer.calls) == ("", expected)
        ids = [call.call for call in answer.out.calls]
        assert all(ids)
        assert len(set(ids)) == len(ids)


async def test_counts_of_any_kind_do_not_kill_a_finished_reply() -> None:
    odd = {
        "prompt_eval_count": 3.0,
        "eval_count": "4",
        "total_duration": None,
        "eval_duration": "x",
        "model": 7,
    }
    answer = await ask(line("one"), {**END, **odd})
    complete(answer, "one")
    assert answer.outcome is not None
    assert answer.outcome.usage == Usage(3, 4)


@pytest.mark.parametrize("beat", ["ping", "1", "null", "[]", "{}", '"ping"', ": ping", ""])
async def test_a_heartbeat_is_no_reply_and_no_error(beat: str) -> None:
    sent = f"{beat}\n".encode()
    complete(await ask(sent, line("one "), sent, line("two"), sent, END), "one two")


async def test_a_keep_alive_before_the_first_word_says_that_the_prompt_is_read() -> None:
    assert (await ask(b"\n", line("one"), b"\n", END)).out.states == [State("reading")]


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\n"])
async def test_lines_end_as_they_do_and_the_last_one_needs_no_end(end: bytes) -> None:
    lines = end.join(json.dumps(each).encode() for each in (line("one "), line("two"), END))
    complete(await ask(lines), "one two")
    complete(await ask(lines + end), "one two")


async def test_lines_that_a_proxy_made_events_of_are_read() -> None:
    lines = b"".join(
        b"data: " + json.dumps(each).encode() + b"\n\n" for each in (line("one "), line("two"), END)
    )
    complete(await ask(lines, b"data: [DONE]\n\n"), "one two")


async def test_the_last_line_is_read_also_if_the_connection_breaks() -> None:
    broken(
        await ask(line("one "), json.dumps(line("two")).encode(), 0.1, CUT), "one two", "broke in the middle"
    )


@pytest.mark.parametrize(
    "text", ["hm\n</think>\n\nYes.", "<thinking>hm\n</thinking>Yes.", "[THINK]hm\n[/THINK]Yes."]
)
async def test_thinking_in_the_text_is_no_answer(text: str) -> None:
    answer = await ask(*map(line, text), END)
    assert (answer.said, answer.thought.strip()) == ("Yes.", "hm")


@pytest.mark.parametrize(
    "listed",
    [
        [{"name": "m:latest"}],
        {"models": [{"name": "m:latest", "size": "big", "details": {"family": None}}, {"size": 3}, None, 7]},
        {"models": [{"model": "m:latest", "details": "none"}]},
        {"models": ["m:latest"]},
    ],
)
async def test_an_odd_entry_hides_no_other_model(listed: object) -> None:
    async with OddEngine() as odd:
        odd.answers["/api/tags"] = plain(listed)
        odd.answers["/api/ps"] = plain({"models": None})
        engine = OllamaEngine(odd.url)
        assert [model.name for model in await engine.models()] == ["m:latest"]
        assert (await engine.health()).ok
        await engine.close()
