"""What a model of Ollama cannot do is left out and told, or refused if the caller wants all of it."""

from typing import Any

import pytest
from msgspec.structs import replace

from legato.domain.message import ImagePart, TextPart
from legato.engines.base import Request, ToolSpec, Turn
from legato.engines.ollama.engine import OllamaEngine
from legato.engines.ollama.refused_parts import was_cut
from legato.errors import EngineRefusedError, UnsupportedOptionError
from legato.stream import Usage
from legato.testing.engine import Recorder
from legato.testing.odd_engine import OddEngine, OddRequest, Step, ask, line, ndjson, plain

HI = Request("m", (Turn("user", (TextPart("hi"),)),))
TOOL = ToolSpec("t", "d", {"type": "object"})
PICTURE = ImagePart("data:image/png;base64,aGk=")
ANSWER = ndjson(line("one"), line(done=True, done_reason="stop", prompt_eval_count=100, eval_count=1))


def answers(odd: OddEngine, refuses: str, sentence: str, context: int | None = None) -> None:
    def answer(request: OddRequest) -> list[Step] | None:
        if request.path.endswith("/api/ps"):
            loaded: list[dict[str, Any]] = (
                [] if context is None else [{"name": "m", "context_length": context}]
            )
            return plain({"models": loaded})
        if request.path.endswith("/api/chat") and refuses and f'"{refuses}"'.encode() in request.body:
            return plain({"error": f'"m" does not support {sentence}'}, "400 Bad Request")
        return None

    odd.on_request = answer


@pytest.mark.parametrize(
    ("request_", "field", "sentence", "told"),
    [
        (replace(HI, tools=(TOOL,)), "tools", "tools", "cannot use tools"),
        (
            replace(HI, turns=(Turn("user", (TextPart("see"), PICTURE)),)),
            "images",
            "images",
            "cannot see pictures",
        ),
    ],
)
async def test_it_is_left_out_told_and_remembered(
    request_: Request, field: str, sentence: str, told: str
) -> None:
    async with OddEngine(ANSWER) as odd:
        answers(odd, field, sentence)
        engine = OllamaEngine(odd.url)
        for chats in (2, 3):
            answer = await ask(engine, request_)
            assert (answer.said, answer.reason) == ("one", "")
            assert any(told in (state.detail or "") for state in answer.out.states)
            assert sum(each.path.endswith("/api/chat") for each in odd.asked) == chats
        with pytest.raises(UnsupportedOptionError) as caught:
            await engine.generate(replace(request_, strict=True), Recorder())
        assert caught.value.option == field
        await engine.close()


async def test_another_refusal_stands() -> None:
    async with OddEngine(plain({"error": "no"}, "400 Bad Request")) as odd:
        engine = OllamaEngine(odd.url)
        answer = await ask(engine, replace(HI, tools=(TOOL,)))
        assert "no" in answer.reason
        await engine.close()


async def test_a_prompt_that_was_cut_is_told() -> None:
    long = replace(HI, turns=(Turn("user", (TextPart("word " * 2000),)),))
    async with OddEngine(ANSWER) as odd:
        answers(odd, "", "", context=512)
        engine = OllamaEngine(odd.url)
        answer = await ask(engine, long)
        assert any("only the end of this conversation" in (state.detail or "") for state in answer.out.states)
        assert (await engine.capabilities("m")).context in (None, 512)
        short = await ask(engine, HI)
        assert not any(state.detail for state in short.out.states)
        await engine.close()


def test_what_counts_as_cut() -> None:
    long = replace(HI, turns=(Turn("user", (TextPart("x" * 6001),)),))
    assert was_cut(long, Usage(900, 1), 1000)
    assert not was_cut(long, Usage(1500, 1), 1000)
    assert not was_cut(long, None, 1000)
    assert not was_cut(long, Usage(900, 1), None)
    assert not was_cut(HI, Usage(900, 1), 1000)


def test_a_refusal_is_one_of_the_tree() -> None:
    assert issubclass(UnsupportedOptionError, EngineRefusedError)
