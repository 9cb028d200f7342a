from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from legato.cli.screen import MessageLayout, Screen, layout_of, ordinal, settled, state_text
from legato.stream import Failed, Finished, Reasoning, ReplySnapshot, State, Terminal, Text, ToolStarted
from legato.terminal_text import harmless

BLOCKS = [
    "# A heading",
    "A paragraph\nof two lines.",
    "- one\n- two\n\n  still two",
    "1. first\n\n2. second",
    "```python\n\nprint(1)\n\n```",
    "> a quote",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "---",
    "    code by its indent",
]


def played(looks: list[MessageLayout], height: int = 24) -> tuple[str, list[str]]:
    """What remains on the terminal, and what `stop` was asked; a Look of None is Ctrl-C."""
    console = Console(
        file=StringIO(), force_terminal=True, width=60, height=height, color_system=None, legacy_windows=False
    )
    asked: list[str] = []
    coming = iter(looks)
    with console.capture() as captured:
        Screen(console, pause=lambda _: None).play(lambda: next(coming), lambda: asked.append("stop"))
    return captured.get(), asked


@settings(max_examples=60)
@given(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=5), st.integers(1, 9))
def test_what_is_settled_is_a_block_of_the_whole_whatever_comes_later(blocks: list[str], step: int) -> None:
    text = "\n\n".join(blocks)
    lines = text.splitlines(keepends=True)
    parsed = MarkdownIt("commonmark").enable("table").parse(text)
    begins = {
        len("".join(lines[: token.map[0]])) for token in parsed if token.level == 0 and token.map is not None
    }
    shown = 0
    for end in range(0, len(text), step):
        shown += settled(text[shown:end])
        assert shown == 0 or shown in begins


def test_the_last_two_blocks_are_held_back() -> None:
    assert settled("one") == settled("one\n\ntwo") == settled("one\n\ntwo\n") == 0
    assert settled("one\n\ntwo\n\nthree") == len("one\n\n")
    assert settled("- a\n\n- b\n\n- c\n\n- d") == 0
    assert settled("```\n\na\n\nb\n\nc") == 0


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "Waiting"),
        (State("queued"), "Waiting for a place"),
        (State("queued", place=1), "Waiting, 1st in line"),
        (State("queued", place=3), "Waiting, 3rd in line"),
        (State("loading", model="qwen"), "Loading qwen"),
        (State("loading", progress=0.4), "Loading the model, 40%"),
        (State("reading", progress=0.123), "Reading the prompt, 12%"),
        (State("answering"), "Answering"),
        (State("reading", detail="Another model answers."), "Reading the prompt. Another model answers."),
    ],
)
def test_what_it_waits_for_in_words(state: State | None, said: str) -> None:
    assert state_text(state) == said


def test_thinking_is_shown_until_there_is_an_answer() -> None:
    fold = ReplySnapshot([State("answering"), Reasoning("hm")])
    assert layout_of(fold, "").waiting == "Thinking"
    fold.apply(Text("yes"))
    assert layout_of(fold, "gone") == MessageLayout("yes", "", "gone")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (1, "1st"),
        (2, "2nd"),
        (3, "3rd"),
        (4, "4th"),
        (11, "11th"),
        (12, "12th"),
        (13, "13th"),
        (21, "21st"),
        (112, "112th"),
    ],
)
def test_places_in_a_line(number: int, said: str) -> None:
    assert ordinal(number) == said


@pytest.mark.parametrize("bad", ["\x1b]0;title\x07", "\x1b[2J", "\x9b31m", "\r", "\x08", "\x7f", "\x00"])
def test_a_reply_says_nothing_to_the_terminal(bad: str) -> None:
    assert harmless(f"a\n\t{bad}b").startswith("a\n\t")
    shown, _ = played([MessageLayout(f"before {bad} after", end=Finished("stop"))])
    assert not any(
        each in shown.split("before")[1].split("after")[0] for each in "\x1b\x9b\r\x08\x7f\x00\x07"
    )


@pytest.mark.parametrize(
    "fold",
    [
        ReplySnapshot([State("reading", detail="\x1b]0;owned\x07before\x9b31m")]),
        ReplySnapshot([State("loading", model="\x1b]52;c;ZXZpbA==\x07before")]),
        ReplySnapshot([ToolStarted("1", "\x1b]52;c;ZXZpbA==\x07before", "{}")]),
    ],
)
def test_neither_does_what_it_waits_for(fold: ReplySnapshot) -> None:
    shown, _ = played([layout_of(fold, ""), layout_of(ReplySnapshot([Text("done"), Finished("stop")]), "")])
    assert "before" in shown
    assert not any(each in shown for each in ("\x1b]", "\x07", "\x9b"))


def test_a_lost_connection_says_nothing_to_the_terminal_either() -> None:
    shown, _ = played(
        [MessageLayout(lost="\x1b]0;owned\x07The connection is lost."), MessageLayout(end=Finished("stop"))]
    )
    assert "The connection is lost." in shown
    assert "\x1b]" not in shown


def test_the_whole_reply_remains() -> None:
    text = "\n\n".join(f"paragraph {number}" for number in range(30))
    looks = [MessageLayout(text[:end]) for end in range(0, len(text), 7)]
    shown, _ = played([*looks, MessageLayout(text, end=Finished("stop"))], height=8)
    final = shown.rpartition("\x1b[?25h")[0] + shown.rpartition("\x1b[?25h")[2]
    for number in range(30):
        assert f"paragraph {number}\n" in "\n".join(line.rstrip() for line in final.splitlines()) + "\n"


def test_one_that_starts_over_says_so() -> None:
    shown, _ = played(
        [
            MessageLayout("one\n\ntwo\n\nthree"),
            MessageLayout("other"),
            MessageLayout("other words", end=Finished("stop")),
        ]
    )
    assert "The reply starts over." in shown
    assert shown.rstrip().endswith("other words")


def test_a_reply_that_is_sent_again_and_is_the_same_continues() -> None:
    text = "one\n\ntwo\n\nthree"
    shown, _ = played(
        [
            MessageLayout(text),
            MessageLayout(""),
            MessageLayout("one"),
            MessageLayout(text),
            MessageLayout(text + " four", end=Finished("stop")),
        ]
    )
    assert "starts over" not in shown
    assert shown.count("one") == 1


def test_a_lost_connection_is_one_line_and_so_is_its_return() -> None:
    shown, _ = played(
        [
            MessageLayout("one", lost="The connection is lost."),
            MessageLayout("one"),
            MessageLayout("one two", end=Finished("stop")),
        ]
    )
    assert "The connection is lost." in shown
    assert shown.count("Connected again.") == 1


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (Failed("engine_broke", "The engine broke off."), "The engine broke off."),
        (Finished("stopped"), "Stopped."),
        (Finished("length"), "longer than it may be"),
    ],
)
def test_how_it_ended_is_reported_where_it_matters(end: Terminal, said: str) -> None:
    shown, _ = played([MessageLayout("some words", end=end)])
    assert "some words" in shown
    assert said in shown


def test_the_first_ctrl_c_stops_the_reply_and_the_second_one_leaves() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=60)
    asked: list[str] = []
    presses = iter([True, False, True])

    def look() -> MessageLayout:
        if next(presses):
            raise KeyboardInterrupt
        return MessageLayout("one")

    with pytest.raises(KeyboardInterrupt):
        Screen(console, pause=lambda _: None).play(look, lambda: asked.append("stop"))
    assert asked == ["stop"]


def test_links_show_where_they_lead() -> None:
    shown, _ = played([MessageLayout("[here](https://elsewhere.example)", end=Finished("stop"))])
    assert "https://elsewhere.example" in shown
    assert "\x1b]8" not in shown
