"""Thinking in tags, however the text is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doubles.pulse import Pulse

from legato.engines.base import ToolCall
from legato.engines.think_tags import ThinkTagParser
from legato.testing.engine import Recorder


def told(*pieces: str, goes_on: bool = False) -> tuple[str, str]:
    out = Recorder()
    aloud = ThinkTagParser(out, goes_on=goes_on)
    for piece in pieces:
        aloud.text(piece)
    aloud.finish()
    return out.thought, out.said


@pytest.mark.parametrize(
    ("text", "thought", "said"),
    [
        ("Forty two.", "", "Forty two."),
        ("<think>hmm</think>Forty two.", "hmm", "Forty two."),
        ("\n<think>\nhmm\n</think>\n\nForty two.", "\nhmm\n", "Forty two."),
        ("<think></think>Forty two.", "", "Forty two."),
        ("<think>a </thin b</think>Yes. <think>c</think>", "a </thin b", "Yes. <think>c</think>"),
        ("<think>It never ends </thi", "It never ends </thi", ""),
        ("<thin", "", "<thin"),
        ("  <b>bold</b>", "", "  <b>bold</b>"),
        (" \n", "", " \n"),
    ],
)
def test_a_text_that_begins_with_thinking(text: str, thought: str, said: str) -> None:
    assert told(text) == (thought, said)
    assert told(*text) == (thought, said)


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<th", "ink>", "</", "think>", "a", "\n", " "])),
    st.data(),
)
def test_where_it_is_cut_does_not_matter(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    parts = [text[one:two] for one, two in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert told(*parts) == told(text)


def test_words_go_through_at_once_and_one_by_one() -> None:
    out = Recorder()
    aloud = ThinkTagParser(out)
    for word in ("One ", "<think>", "two"):
        aloud.text(word)
        assert out.words[-1] == word


def test_thinking_goes_through_at_once() -> None:
    out = Recorder()
    aloud = ThinkTagParser(out)
    aloud.text("<think>")
    aloud.text("hmm ")
    assert out.thought == "hmm "


def test_a_reply_that_continues_is_past_its_beginning() -> None:
    assert told("<think>", "x", goes_on=True) == ("", "<think>x")


def test_a_server_that_tells_thinking_apart_is_believed() -> None:
    out = Recorder()
    aloud = ThinkTagParser(out)
    aloud.reasoning("hmm")
    aloud.text("<think> is a tag.")
    assert (out.thought, out.said) == ("hmm", "<think> is a tag.")


def test_what_was_held_back_stands_before_a_tool() -> None:
    out = Recorder()
    aloud = ThinkTagParser(out)
    aloud.text("<th")
    aloud.tool_call(ToolCall("1", "roll", "{}"))
    assert out.said == "<th"
    assert [call.name for call in out.calls] == ["roll"]


def test_a_sign_of_life_goes_through_wherever_it_stands() -> None:
    out = Pulse()
    aloud = ThinkTagParser(out)
    for piece in ("", "<think>", "", "a</think>", "", "b", ""):
        aloud.text(piece)
    assert (out.signs, out.thought, out.said) == (4, "a", "b")
