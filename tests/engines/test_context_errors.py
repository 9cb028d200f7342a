import pytest

from legato.engines.context_errors import LearnedContexts, context_refusal


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4500 in the messages, 500 in the completion).", (4096, 5000)),
        ("request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it", (4096, 5000)),
        ("prompt is too long: 210,000 tokens > 200,000 maximum", (200_000, 210_000)),
        ("The input token count (5000) exceeds the maximum number of tokens allowed (4096).", (4096, 5000)),
        ("Requested tokens (5000) exceed context window of 4096", (4096, 5000)),
        ("Prompt contains 5000 tokens, too large for model with 4096 maximum context length", (4096, 5000)),
        ("the input length exceeds the context length", (None, None)),
        ("Input is too long for requested model.", (None, None)),
        ("context_length_exceeded", (None, None)),
    ],
)  # fmt: skip
def test_a_refusal_of_a_length_is_read(said: str, expected: tuple[int | None, int | None]) -> None:
    assert context_refusal(said) == expected


@pytest.mark.parametrize(
    "said", ["", "unknown field `stream_options`", "No such model.", "temperature is too high: 3 > 2"]
)
def test_other_refusals_are_none_of_a_length(said: str) -> None:
    assert context_refusal(said) is None


def test_fields_of_their_own_count_more_than_words() -> None:
    assert context_refusal("no", 4096, 5000) == (4096, 5000)
    assert context_refusal("no", 4096, 12) is None


def test_a_context_that_was_named_is_remembered_for_its_model() -> None:
    learned = LearnedContexts()
    learned.learn("m", 4096)
    learned.learn("m", None)
    assert learned.of("m", None) == 4096
    assert learned.of("m", 8192) == 4096
    assert learned.of("m", 2048) == 2048
    assert learned.of("other", 8192) == 8192
    assert learned.of("other", None) is None
