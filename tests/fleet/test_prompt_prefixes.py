"""The prefixes of prompts: what a next turn shares with the one before it, and what it never shares with another user."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from legato.domain.message import ImagePart, Part, TextPart, ToolCallPart, ToolResultPart
from legato.engines.base import Request, ToolCall, ToolSpec, Turn
from legato.fleet.prompt_prefixes import MAX_PREFIXES, answered_prefix, prompt_prefixes

texts = st.text(max_size=20)
parts = st.one_of(
    st.builds(TextPart, texts),
    st.builds(ImagePart, texts.map("data:image/png;base64,{}".format)),
    st.builds(ToolResultPart, texts, texts, texts),
)
turns = st.builds(
    Turn, st.sampled_from(("system", "user", "assistant", "tool")), st.lists(parts, max_size=3).map(tuple)
)
requests = st.builds(
    Request,
    st.just("m"),
    st.lists(turns, min_size=1, max_size=8).map(tuple),
    tools=st.sampled_from(((), (ToolSpec("look", "Looks", {"type": "object"}),))),
    user=st.sampled_from(("", "ada", "ben")),
)


def said(role: Any, text: str) -> Turn:
    return Turn(role, (TextPart(text),))


@given(requests, turns, st.text(min_size=1, max_size=20))
def test_a_next_turn_begins_with_the_prompt_and_the_answer(request: Request, turn: Turn, text: str) -> None:
    prompt = prompt_prefixes(request)[-1:]
    following = replace(request, turns=(*request.turns, said("assistant", text), turn))
    found = prompt_prefixes(following)
    for each in prompt:
        if each.shared:
            continue
        assert each in found
        assert answered_prefix(each, text, ()) in found


@given(requests)
def test_prefixes_grow_and_end_with_the_whole_prompt(request: Request) -> None:
    found = prompt_prefixes(request)
    assert [each.size for each in found] == sorted(each.size for each in found)
    assert len({each.digest for each in found}) == len(found)
    assert not any(each.shared for each in found[1:])


@given(requests, requests)
def test_users_share_no_prefix(one: Request, other: Request) -> None:
    one, other = replace(one, user="ada"), replace(other, user="ben")
    assert not {each.digest for each in prompt_prefixes(one)} & {
        each.digest for each in prompt_prefixes(other)
    }


@pytest.mark.parametrize(
    "answer",
    [
        (TextPart(" It is 7.\n"), ToolCallPart("other", "look", '{"b": 2, "a": 1}')),
        (TextPart("It is"), TextPart(" 7."), ToolCallPart("call_0", "look", '{"a":1,"b":2}')),
    ],
)
def test_what_clients_change_in_an_answer_makes_no_difference(answer: tuple[Part, ...]) -> None:
    request = Request("m", (said("user", "What is it?"),))
    written = answered_prefix(
        prompt_prefixes(request)[-1], "It is 7.", [ToolCall("c", "look", '{"a": 1, "b": 2}')]
    )
    following = replace(request, turns=(*request.turns, Turn("assistant", answer), said("user", "And?")))
    assert written == prompt_prefixes(following)[1]


@pytest.mark.parametrize(
    "other",
    [
        {"turns": (said("system", "Be brief."), said("user", "Bye"))},
        {"turns": (said("system", "Be loud."), said("user", "Hello"))},
        {"turns": (said("system", "Be brief."), said("assistant", "Hello"))},
        {"turns": (said("system", "Be brief.Hello"),)},
        {"tools": (ToolSpec("look", "Looks", {}),)},
        {"cache_key": "k"},
    ],
)
def test_another_prompt_has_another_hash(other: dict[str, Any]) -> None:
    request = Request("m", (said("system", "Be brief."), said("user", "Hello")))
    whole = prompt_prefixes(request)[-1]
    assert whole not in prompt_prefixes(replace(request, **other))


def test_the_system_prompt_is_shared_and_the_rest_is_not() -> None:
    request = Request("m", (said("system", "Be"), said("system", "brief."), said("user", "Hello")))
    system, whole = prompt_prefixes(request)
    assert (system.shared, whole.shared) == (True, False)
    assert prompt_prefixes(replace(request, turns=(*request.turns[:2], said("user", "Bye"))))[0] == system


def test_a_long_conversation_has_a_bounded_number() -> None:
    request = Request("m", (said("system", "Be brief."), *[said("user", str(each)) for each in range(500)]))
    found = prompt_prefixes(request)
    assert len(found) == MAX_PREFIXES
    assert found[0].shared
    assert found[-1].size == len("Be brief.") + sum(len(str(each)) for each in range(500))
