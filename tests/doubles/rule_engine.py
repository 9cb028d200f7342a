"""An engine that answers by a few rules, for clients that cannot tell it what to say."""

import asyncio
import re

from legato.domain.message import TextPart, ToolResultPart
from legato.engines.base import Capabilities, Health, Model, Outcome, ReplyWriter, Request, ToolCall
from legato.errors import EngineBrokeError
from legato.stream import Usage

_WORDS = re.compile(r"\S+\s*|\s+")


class RuleEngine:
    """Repeats the last text, word by word, with these exceptions:

    - behind the result of a tool: `It is …`, with the result
    - `weather`, and a tool is offered: a call of the first tool, with the city Ulm
    - `break`: `half`, then it breaks
    - `think …`: a thought before the text
    - `wait` in the answer: what follows the first word waits for `go`
    """

    def __init__(self, name: str = "demo") -> None:
        self._name = name
        self._go = asyncio.Event()

    @property
    def name(self) -> str:
        return self._name

    def go(self) -> None:
        """Release the replies that wait."""
        self._go.set()
        self._go = asyncio.Event()

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        last = request.turns[-1].parts[-1] if request.turns[-1].parts else TextPart("")
        text = f"It is {last.output}." if isinstance(last, ToolResultPart) else ""
        if isinstance(last, TextPart):
            text = last.text
        if text == "weather" and request.tools:
            out.tool_call(ToolCall("call_1", request.tools[0].name, '{"city":"Ulm"}'))
            return Outcome("tool_calls", request.model, Usage(7, 3))
        if text == "break":
            out.text("half")
            # A writer may join what is written in one step.
            await asyncio.sleep(0)
            raise EngineBrokeError("The engine broke.")
        if text.startswith("think "):
            out.reasoning("Hm.")
        words: list[str] = _WORDS.findall(text)
        for word in words:
            out.text(word)
            if "wait" in text and word is words[0]:
                await self._go.wait()
            await asyncio.sleep(0)
        return Outcome("stop", request.model, Usage(7, len(words)))

    async def capabilities(self, model: str) -> Capabilities:
        return Capabilities(tools=True, images=True, thinks=True)

    async def models(self) -> tuple[Model, ...]:
        return (Model("demo:echo", self._name),)

    async def health(self) -> Health:
        return Health(True, "It answers by its rules.")

    async def close(self) -> None:
        """Do nothing."""
