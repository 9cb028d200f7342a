"""What a model is given of a conversation."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.chat.message_tree import MessageTree, budget, size, window
from legato.domain.conversation import Conversation
from legato.domain.message import Message, TextPart, text_of
from legato.engines.base import Capabilities

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def message(name: str, parent: str | None, text: str = "word", role: str = "user") -> Message:
    parts = (TextPart(text),) if text else ()
    return Message(name, "c", role, "complete", parts, NOW, parent)  # type: ignore[arg-type]


def tree(head: str | None, *messages: Message) -> MessageTree:
    return MessageTree(Conversation("c", "ada", "", "default", NOW, NOW, head=head), messages)


def test_the_path_is_the_branch_that_is_shown() -> None:
    talk = tree(
        "a2",
        message("q", None),
        message("a1", "q", role="assistant"),
        message("a2", "q", role="assistant"),
    )
    assert [each.id for each in talk.path()] == ["q", "a2"]
    assert [each.id for each in talk.path("a1")] == ["q", "a1"]


def test_a_circle_of_parents_ends() -> None:
    assert [each.id for each in tree("a", message("a", "b"), message("b", "a")).path()] == ["b", "a"]


def test_an_empty_conversation_has_no_path() -> None:
    assert tree(None).path() == []


branches = st.lists(st.text(alphabet="ab ", max_size=40), min_size=1, max_size=40).map(
    lambda texts: [
        message(str(i), str(i - 1) if i else None, text, "user" if i % 2 == 0 else "assistant")
        for i, text in enumerate(texts)
    ]
)


@given(branches, st.integers(1, 30), st.none() | st.text(max_size=20))
def test_the_window_is_the_last_messages_in_order(
    branch: list[Message], history: int, system: str | None
) -> None:
    turns = window(branch, system, history)
    said = [each for each in branch if each.parts]
    texts = [text_of(turn.parts) for turn in turns]
    expected = [text_of(each.parts) for each in said[-history:]]
    assert texts == ([system] if system else []) + expected


@given(branches, st.integers(1, 30), st.floats(1, 500))
def test_the_window_fits_its_budget_but_for_the_last_message(
    branch: list[Message], history: int, tokens: float
) -> None:
    turns = window(branch, None, history, tokens)
    assert len(turns) <= history
    if len(turns) > 1:
        assert sum(size(turn.parts) for turn in turns) <= tokens
    said = [each for each in branch if each.parts]
    if said:
        assert text_of(turns[-1].parts) == text_of(said[-1].parts)


def test_twenty_messages_are_twenty_with_the_new_one() -> None:
    branch = [message(str(i), str(i - 1), f"m{i}", "user" if i % 2 == 0 else "assistant") for i in range(31)]
    assert [text_of(turn.parts) for turn in window(branch, None, 20)] == [f"m{i}" for i in range(11, 31)]


@pytest.mark.parametrize(
    ("context", "options", "expected"),
    [
        (None, {}, None),
        (4096, {}, 3072),
        (None, {"num_ctx": 2048}, 1536),
        (4096, {"num_ctx": 2048, "num_predict": 256}, 1792),
        (2048, {"num_predict": -1}, 1536),
        (2048, {"max_tokens": 48}, 2000),
    ],
)
def test_the_budget_leaves_room_for_the_answer(
    context: int | None, options: dict[str, object], expected: float | None
) -> None:
    assert budget(Capabilities(context=context), options) == expected
