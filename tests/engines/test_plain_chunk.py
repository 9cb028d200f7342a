"""Plain chunks, and chunks that only look plain, are read as the parser of all shapes reads them."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from legato.engines.openai.codec import OpenAIReplyParser
from legato.engines.openai.plain_chunk import MISSES, PlainChunkParser
from legato.errors import EngineError
from legato.testing.engine import Recorder

odd = st.sampled_from(
    (None, "", "x", "error", 0, 1, 500, True, [], {}, {"message": "broke"}, {"error": "broke"})
)


def some(plain: Any, **more: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with plain fields, in which now and then one has another value."""
    usual = st.fixed_dictionaries({}, optional=plain)
    names = st.sampled_from(
        (*plain, *more, "error", "detail", "message", "type", "status", "text", "content")
    )
    return st.builds(
        lambda fields, name, value, is_odd: {**fields, **more, **({name: value} if is_odd else {})},
        usual,
        names,
        odd,
        st.sampled_from((False, False, False, True)),
    )


none = st.none()
deltas = some(
    {
        "content": st.sampled_from(
            ("one ", "two", "", "<think>", "ü\ud83d".encode("utf-8", "replace").decode())
        ),
        "role": st.just("assistant"),
        "refusal": none,
        "tool_calls": none,
        "reasoning_content": none,
    }
)
choices = st.builds(
    lambda choice, delta: {**choice, "delta": delta},
    some(
        {
            "index": st.sampled_from((0, 0, 0, 1)),
            "finish_reason": st.sampled_from((None, None, None, "stop", "length")),
            "logprobs": none,
        }
    ),
    deltas,
)
chunks = st.builds(
    lambda chunk, choices: {**chunk, "choices": choices},
    some(
        {
            "id": st.just("chatcmpl-1"),
            "object": st.just("chat.completion.chunk"),
            "created": st.just(1),
            "model": st.sampled_from(("m", "n")),
            "usage": none,
            "system_fingerprint": none,
        }
    ),
    st.lists(choices, min_size=1, max_size=1),
)


def read(found: list[dict[str, Any]], *, plainly: bool) -> tuple[Any, ...]:
    """What is written, and how it ended."""
    out = Recorder()
    parser = OpenAIReplyParser(out, lambda: "call", "The server")
    if not plainly:
        parser._plain._misses = MISSES
    try:
        for chunk in found:
            parser.feed(b"data: " + msgspec.json.encode(chunk) + b"\n\n")
        parser.feed(b"data: [DONE]\n\n")
        return (*vars(out).values(), parser.end())
    except EngineError as error:
        return (*vars(out).values(), type(error), error.message)


@given(st.lists(chunks, max_size=8))
def test_both_ways_of_reading_find_the_same(found: list[dict[str, Any]]) -> None:
    assert repr(read(found, plainly=True)) == repr(read(found, plainly=False))


def test_a_plain_chunk_is_text_and_its_model() -> None:
    parser = PlainChunkParser()
    chunk = b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}]}'
    assert parser.read(chunk) == "Hi"
    assert parser.model == "m"


def test_a_server_that_writes_other_chunks_is_not_tried_again() -> None:
    parser = PlainChunkParser()
    plain = b'{"choices":[{"index":0,"delta":{"content":"Hi"}}]}'
    for _ in range(MISSES):
        assert parser.read(plain) == "Hi"
        for _ in range(MISSES - 1):
            assert parser.read(b'{"choices":[{"index":0,"delta":{"content":"Hi"}}],"own":1}') is None
    for _ in range(MISSES):
        parser.read(b"[DONE]")
    assert parser.read(plain) is None
