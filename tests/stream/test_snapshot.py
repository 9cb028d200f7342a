"""A fold is the sum of a log, however its events are joined."""

from hypothesis import given
from hypothesis import strategies as st

from legato.stream import (
    Event,
    Failed,
    Finished,
    Log,
    Reasoning,
    ReplySnapshot,
    Rewound,
    Span,
    State,
    Text,
    ToolFinished,
    ToolStarted,
    ToolUse,
)

from .drawn import ordinary, terminals


def test_it_adds_up_text_and_thinking_apart() -> None:
    fold = ReplySnapshot([Reasoning("hm "), Text("one "), Reasoning("so"), Text("two")])
    assert (fold.text, fold.reasoning) == ("one two", "hm so")


def test_the_last_state_counts() -> None:
    assert ReplySnapshot([State("queued", place=2), State("queued", place=1)]).state == State(
        "queued", place=1
    )


def test_a_tool_stands_where_it_began_in_the_text_and_gets_its_output() -> None:
    fold = ReplySnapshot(
        [Text("look: "), ToolStarted("1", "clock", "{}"), Text("so"), ToolFinished("1", "noon")]
    )
    assert fold.tools == [ToolUse("1", "clock", "{}", at=6, output="noon")]


def test_an_output_goes_to_the_first_run_of_the_call_that_has_none() -> None:
    fold = ReplySnapshot(
        [
            ToolStarted("1", "a", ""),
            ToolFinished("1", "x"),
            ToolStarted("1", "b", ""),
            ToolFinished("1", "y", failed=True),
        ]
    )
    assert [(tool.output, tool.failed) for tool in fold.tools] == [("x", False), ("y", True)]


def test_an_output_of_nothing_is_ignored() -> None:
    assert ReplySnapshot([ToolFinished("1", "x")]) == ReplySnapshot()


def test_a_rewind_says_all_that_is_kept() -> None:
    fold = ReplySnapshot([Text("one two"), Reasoning("hm"), Rewound(1, "one ", "h"), Text("three")])
    assert (fold.text, fold.reasoning) == ("one three", "h")


def test_nothing_counts_behind_the_end() -> None:
    fold = ReplySnapshot([Text("one"), Finished("stop"), Text("two"), Failed("x", "y")])
    assert (fold.text, fold.end) == ("one", Finished("stop"))


def test_folds_are_compared_by_what_they_say() -> None:
    assert ReplySnapshot([Text("a"), Text("b")]) == ReplySnapshot([Text("ab")])
    assert ReplySnapshot([Text("a")]) != ReplySnapshot([Reasoning("a")])
    assert ReplySnapshot() != "nothing"
    assert "text='ab'" in repr(ReplySnapshot([Text("ab")]))


@given(st.lists(ordinary), st.none() | terminals, st.lists(st.integers(0, 40)))
def test_batches_without_gap_or_overlap_add_up_to_the_log(
    events: list[Event], end: Event | None, cuts: list[int]
) -> None:
    log = Log("s", "e")
    for event in events:
        log.append(event)
    if end is not None:
        log.append(end)
    fold, cursor = ReplySnapshot(), 0
    for limit in [*cuts, 0]:
        batch = log.since(cursor, limit)
        assert batch.first == cursor
        for event in batch.events:
            fold.apply(event)
        cursor = batch.next
    assert cursor == log.next
    assert fold == log.snapshot() == ReplySnapshot([*events, *([end] if end is not None else [])])


def test_a_text_is_whose_the_last_answering_state_names() -> None:
    fold = ReplySnapshot(
        [
            Text("a"),
            State("loading", model="m", agent="left"),
            State("answering", model="m", agent="left"),
            Text("bc"),
            State("answering", model="m", agent="left", detail="still"),
            Text("d"),
            State("reading", model="m", agent="right"),
            Text("e"),
            State("answering", model="m", agent="right"),
            State("answering", model="n"),
            Text("f"),
        ]
    )
    assert fold.spans == (Span(0, 1), Span(1, 5, "m", "left"), Span(5, 6, "n"))


def test_nothing_said_is_nobodys() -> None:
    assert ReplySnapshot([State("answering", model="m"), Text("")]).spans == ()


def test_what_a_rewind_leaves_stays_whose_it_was() -> None:
    left, right = (State("answering", model="m", agent=name) for name in ("left", "right"))
    fold = ReplySnapshot(
        [left, Text("one "), right, Text("two "), Rewound(3, "on"), Text("ce"), left, Text("!")]
    )
    assert fold.spans == (Span(0, 2, "m", "left"), Span(2, 4, "m", "right"), Span(4, 5, "m", "left"))


def test_a_rewind_to_where_a_writer_began_leaves_nothing_of_them() -> None:
    left, right = (State("answering", model="m", agent=name) for name in ("left", "right"))
    fold = ReplySnapshot([left, Text("one "), right, Text("two "), Rewound(2, "one "), left, Text("three")])
    assert fold.spans == (Span(0, 9, "m", "left"),)
