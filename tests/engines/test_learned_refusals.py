"""A server that refuses a part of a request is asked again without it, and remembered."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from legato.domain.message import ImagePart, TextPart
from legato.engines.base import Request, Turn
from legato.engines.message_format import NOT_SHOWN
from legato.engines.openai.engine import OpenAIEngine
from legato.errors import EngineRefusedError
from legato.testing.odd_engine import DONE, HI, OddEngine, OddRequest, Step, ask, chunk, plain, sse

WEBP, PNG = "data:image/webp;base64,UklG", "data:image/png;base64,iVBO"


def refusing(odd: OddEngine, refuses: Callable[[dict[str, Any]], bool], body: object, status: str) -> None:
    def answer(request: OddRequest) -> list[Step] | None:
        return plain(body, status) if request in odd.asked and refuses(request.json) else None

    odd.on_request = answer


@pytest.mark.parametrize(
    ("field", "status", "body"),
    [
        ("stream_options", "400 Bad Request", {"error": {"message": "Unrecognized request argument supplied: stream_options"}}),
        ("stream_options", "422 Unprocessable Entity", {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted", "input": {}}]}),
        ("stream_options", "400 Bad Request", {"error": "Bad Request"}),
        ("stream_options", "422 Unprocessable Entity", b""),
        ("parallel_tool_calls", "400 Bad Request", {"error": {"message": "unknown field", "param": "parallel_tool_calls"}}),
        ("max_tokens", "400 Bad Request", {"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}}),
    ],
)  # fmt: skip
async def test_a_refused_field_is_left_out_and_remembered(field: str, status: str, body: object) -> None:
    request = replace(HI, options={"parallel_tool_calls": False, "max_tokens": 5})
    async with OddEngine(sse(chunk("one", "stop"), DONE)) as odd:
        refusing(odd, lambda sent: field in sent, body, status)
        engine = OpenAIEngine(odd.url)
        for asked in (2, 3):
            answer = await ask(engine, request)
            assert (answer.said, answer.reason) == ("one", "")
            assert len(odd.asked) == asked
        assert ("max_completion_tokens" in odd.asked[-1].json) == (field == "max_tokens")
        await engine.close()


async def test_other_models_of_the_server_are_asked_as_before() -> None:
    async with OddEngine(sse(chunk("one", "stop"), DONE)) as odd:
        refusing(
            odd,
            lambda sent: sent["model"] == "m" and "stream_options" in sent,
            {"error": "no"},
            "400 Bad Request",
        )
        engine = OpenAIEngine(odd.url)
        await ask(engine)
        await ask(engine, replace(HI, model="other"))
        assert "stream_options" in odd.asked[-1].json
        await engine.close()


async def test_a_refusal_of_something_else_stands_with_its_reason_and_costs_one_more_request_once() -> None:
    async with OddEngine() as odd:
        refusing(
            odd, lambda sent: True, {"error": {"message": "temperature is 3, at most 2"}}, "400 Bad Request"
        )
        engine = OpenAIEngine(odd.url)
        for asked in (2, 3):
            answer = await ask(engine)
            assert isinstance(answer.error, EngineRefusedError)
            assert "temperature is 3, at most 2" in answer.reason
            assert len(odd.asked) == asked
        await engine.close()


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "image/webp is not supported"}},
        {"error": {"message": "Failed to load image or audio file"}},
        {"error": {"message": "Bad Request"}},
    ],
)
async def test_a_refused_picture_is_not_sent_with_every_later_message(body: object) -> None:
    picture = Turn("user", (TextPart("look"), ImagePart(PNG), ImagePart(WEBP)))
    later = (picture, Turn("assistant", (TextPart("Hm."),)), Turn("user", (TextPart("and now?"),)))
    async with OddEngine(sse(chunk("one", "stop"), DONE)) as odd:
        refusing(odd, lambda sent: "image/webp" in str(sent), body, "400 Bad Request")
        engine = OpenAIEngine(odd.url)
        first = await ask(engine, Request("m", (picture,)))
        assert (first.said, first.reason) == ("one", "")
        assert "WEBP" in str(first.out.states[-1].detail)
        asked = len(odd.asked)
        assert (await ask(engine, Request("m", later))).said == "one"
        assert len(odd.asked) == asked + 1
        sent = str(odd.asked[-1].json)
        assert PNG in sent
        assert NOT_SHOWN in sent
        can = await engine.capabilities("m")
        assert can.sees("image/png")
        assert not can.sees("image/webp")
        await engine.close()
