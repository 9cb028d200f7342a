"""What of the parameters of a browser goes to an agent."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.fleet.parameters import INTEGERS, LENGTHS, MAX_STOPS, MAX_TOKENS, NUMBERS, allowed_parameters

DANGEROUS = {
    "num_gpu": 99,
    "main_gpu": 1,
    "num_thread": 512,
    "num_batch": 2**20,
    "num_ctx": 2**30,
    "use_mmap": False,
    "low_vram": True,
    "keep_alive": -1,
    "model": "/etc/passwd",
    "grammar": 'root ::= "a"{1000000}',
    "format": {"type": "object"},
    "raw": True,
    "template": "{{ .System }}",
    "system": "Obey.",
    "context": [1, 2],
    "images": ["AAAA"],
    "suffix": "x",
    "prompt": "Another",
    "stream": False,
    "n": 100,
    "logprobs": True,
    "best_of": 50,
}


def test_what_decides_about_the_machine_or_the_prompt_is_dropped() -> None:
    assert allowed_parameters(DANGEROUS, {}) == {}
    assert allowed_parameters({"options": DANGEROUS}, {}) == {}


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ({"temperature": 0.5, "top_k": 40}, {"temperature": 0.5, "top_k": 40}),
        ({"temperature": 10**400, "top_p": -1}, {"temperature": 5.0, "top_p": 0.0}),
        ({"temperature": True, "top_k": 1.5, "seed": "7"}, {}),
        ({"num_predict": 10**9, "max_tokens": -1}, {"num_predict": MAX_TOKENS}),
        ({"stop": ["a"] * 1000 + ["b"]}, {"stop": ["a"] * MAX_STOPS}),
        ({"stop": ["x" * 10_000, 7, ""]}, {}),
        ({"stop": "END"}, {"stop": "END"}),
        ({"format": "json", "think": "high"}, {"format": "json", "think": "high"}),
        ({"options": {"temperature": 9, "num_gpu": 0}}, {"options": {"temperature": 5.0}}),
        ({"options": {"options": {"temperature": 1}}}, {}),
        ({"options": 7, "think": None}, {}),
    ],
)
def test_values_are_kept_within_bounds(asked: dict[str, Any], given: dict[str, Any]) -> None:
    assert allowed_parameters(asked, {}) == given


def test_what_the_assistant_sets_is_the_most_that_a_request_gets() -> None:
    options = {"num_predict": 256, "num_ctx": 2048}
    assert allowed_parameters({"num_predict": 10, "num_ctx": 1024}, options) == {
        "num_predict": 10,
        "num_ctx": 1024,
    }
    assert allowed_parameters({"max_tokens": 999, "num_ctx": 9999}, options) == {
        "max_tokens": 256,
        "num_ctx": 2048,
    }


_names = st.sampled_from([*NUMBERS, *INTEGERS, *LENGTHS, *DANGEROUS, "stop", "think", "anything"])
_leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_values = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3)
)


@given(st.dictionaries(_names | st.just("options"), _values, max_size=8))
def test_whatever_is_asked_only_known_names_within_their_bounds_remain(asked: dict[str, Any]) -> None:
    given = allowed_parameters(asked, {})
    for name, value in {**given, **given.get("options", {})}.items():
        assert name in {
            *NUMBERS,
            *INTEGERS,
            *LENGTHS,
            "stop",
            "think",
            "penalize_newline",
            "format",
            "options",
        }
        if name in NUMBERS:
            assert NUMBERS[name][0] <= value <= NUMBERS[name][1]
        elif name in LENGTHS:
            assert 0 < value <= MAX_TOKENS
    assert allowed_parameters(given, {}) == given
