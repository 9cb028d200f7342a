"""An assistant behind the APIs: what of a request holds for which step."""

import asyncio
from typing import Any

from legato.api.assistant_engine import AssistantEngine
from legato.chat.assistant import Assistant
from legato.chat.reply import ResolvedAssistant
from legato.domain.message import TextPart
from legato.engines.base import Request, TokenLogprob, ToolSpec, Turn
from legato.errors import UnsupportedOptionError
from legato.testing.engine import Recorder, ScriptedEngine
from legato.tools.base import Context


class Clock:
    """A tool that tells the time."""

    spec = ToolSpec("clock", "Tells the time.", {"type": "object"})
    approval = False
    seconds = 5.0

    async def run(self, arguments: dict[str, Any], context: Context) -> str:
        return "noon"


class Clocks:
    name = "clocks"
    tools = (Clock(),)


async def test_a_tool_that_must_be_called_is_called_once() -> None:
    scripted = ScriptedEngine()
    toolset: Any = Clocks()
    engine = AssistantEngine(ResolvedAssistant(Assistant(name="a"), scripted, "scripted", [toolset]))
    out = Recorder()
    asked = Request("scripted", (Turn("user", (TextPart("When?"),)),), tool_choice="required", logprobs=0)
    answering = asyncio.create_task(engine.generate(asked, out))
    first = await scripted.asked()
    first.call("1", "clock")
    first.finish("tool_calls")
    second = await scripted.asked()
    second.tell_logprobs(TokenLogprob("noon", -0.5))
    second.say("noon")
    second.finish()
    await answering
    assert [request.tool_choice for request in scripted.requests] == ["required", None]
    assert (out.said, out.calls, out.tokens) == ("noon", [], (TokenLogprob("noon", -0.5),))


async def test_a_model_that_cannot_use_the_tools_of_its_assistant_answers_without_them() -> None:
    scripted = ScriptedEngine()
    toolset: Any = Clocks()
    engine = AssistantEngine(ResolvedAssistant(Assistant(name="a"), scripted, "scripted", [toolset]))
    out = Recorder()
    asked = Request("scripted", (Turn("user", (TextPart("When?"),)),), strict=True)
    answering = asyncio.create_task(engine.generate(asked, out))
    first = await scripted.asked()
    first.fail(UnsupportedOptionError("It cannot use tools.", "tools"))
    second = await scripted.asked()
    second.say("soon")
    second.finish()
    await answering
    assert [len(request.tools) for request in scripted.requests] == [1, 0]
    assert out.said == "soon"
