"""An assistant that answers a call of an API: its system prompt, its options, its tools and its disclaimer, without a conversation."""

import asyncio
from collections.abc import Mapping

from msgspec.structs import replace

from legato.api.codec import ToolRunWriter
from legato.chat.disclaimer import DisclaimerFilter, paragraph
from legato.chat.reply import ResolvedAssistant
from legato.chat.tool_calls import RefusedCall, decide
from legato.chat.tool_execution import run_tool
from legato.domain.message import Part, TextPart, ToolCallPart, ToolResultPart
from legato.domain.validation import clean_text
from legato.engines.base import (
    Capabilities,
    Health,
    Model,
    Outcome,
    ReplyWriter,
    Request,
    TokenLogprob,
    ToolCall,
    Turn,
)
from legato.errors import EngineRefusedError, ToolError, UnsupportedOptionError
from legato.stream import State, Usage
from legato.tools.base import Context, Tool, offered, truncate

OUTPUT = 65_536
"""Bytes of a tool's output that the model gets at most."""

UNATTENDED = "This tool needs a person's permission, and nobody can give it here. Answer without it."

TOO_OFTEN = "The model asked for its tools as often as it may, and came to no answer. Ask for less at once."


class AssistantEngine:
    """An `Engine` in front of an assistant's own.

    The assistant's system prompt comes before that of the request; options of the request override its own. If the request
    offers no tools, the assistant's tools are offered and run here, and the caller sees only the answer. A tool that needs a
    person's permission is refused. If the request offers tools, those are offered alone, and the caller runs them.
    """

    def __init__(self, assistant: ResolvedAssistant) -> None:
        self._assistant = assistant

    @property
    def name(self) -> str:
        return self._assistant.engine.name

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        config = self._assistant.config
        tools = {} if request.tools or request.tool_choice == "none" else offered(self._assistant.tools)
        disclaimer = None if request.format is not None else config.disclaimer
        writer = _StepWriter(out, disclaimer)
        asked = replace(
            request,
            turns=_with_system(request.turns, config.system),
            options=config.options | request.options,
            think=request.think if request.think is not None else config.think,
            keep_alive=request.keep_alive if request.keep_alive is not None else config.keep_alive,
        )
        outcome = await self._answer(asked, writer, tools) if tools else await self._step(asked, writer)
        for call in writer.take_calls():
            out.tool_call(call)
        writer.end()
        return outcome

    async def capabilities(self, model: str) -> Capabilities:
        return await self._assistant.engine.capabilities(model)

    async def models(self) -> tuple[Model, ...]:
        return await self._assistant.engine.models()

    async def health(self) -> Health:
        return await self._assistant.engine.health()

    async def close(self) -> None:
        """Do nothing: the creator of the engine closes it."""

    async def _step(self, request: Request, writer: "_StepWriter") -> Outcome:
        try:
            return await self._assistant.engine.generate(request, writer.to())
        finally:
            writer.flush()

    async def _answer(self, request: Request, writer: "_StepWriter", tools: Mapping[str, Tool]) -> Outcome:
        """Ask the engine, run its tools, and ask it again with their results, until it asks for none."""
        config = self._assistant.config
        loop = asyncio.get_running_loop()
        until = loop.time() + config.tool_seconds
        usage: list[Usage] = []
        turns = request.turns
        for steps in range(config.tool_steps + 1):
            enough = steps == config.tool_steps or loop.time() >= until
            specs = () if enough else tuple(replace(tool.spec, name=name) for name, tool in tools.items())
            # A tool that must be called is called once: then the model answers.
            choice = request.tool_choice if not steps else None
            try:
                outcome = await self._step(
                    replace(request, turns=turns, tools=specs, tool_choice=choice), writer
                )
            except UnsupportedOptionError as error:
                # The caller sent no tools. An assistant whose model cannot use its own answers without them, as in a conversation.
                if error.option != "tools" or steps or choice not in (None, "auto"):
                    raise
                return await self._step(replace(request, tool_choice=None), writer)
            if outcome.usage is not None:
                usage.append(outcome.usage)
            calls = writer.take_calls()
            if not calls:
                return replace(outcome, usage=_sum(usage))
            if enough:
                break
            parts: list[Part] = [TextPart(text)] if (text := writer.take_text()) else []
            for number, call in enumerate(calls):
                parts.append(ToolCallPart(call.call, call.name, call.arguments))
                writer.tool_started(call)
                result = await self._use(call, number, tools, request.user, until - loop.time())
                writer.tool_finished(call, result)
                parts.append(result)
            turns = (*turns, Turn("assistant", tuple(parts)))
        raise EngineRefusedError(TOO_OFTEN)

    async def _use(
        self, call: ToolCall, number: int, tools: Mapping[str, Tool], user: str, left: float
    ) -> ToolResultPart:
        decision = decide(call, tools, number)
        if isinstance(decision, RefusedCall):
            return ToolResultPart(call.call, call.name, decision.why, failed=True)
        if decision.tool.approval:
            return ToolResultPart(call.call, call.name, UNATTENDED, failed=True, refused=True)
        seconds = min(decision.tool.seconds, max(left, 0.0))
        try:
            output = await run_tool(seconds, decision.tool, decision.arguments, Context(user, "", ""))
        except ToolError as error:
            return ToolResultPart(call.call, call.name, error.message, failed=True)
        except TimeoutError:
            late = f"The tool was given up after {seconds:g} s without an answer."
            return ToolResultPart(call.call, call.name, late, failed=True)
        return ToolResultPart(call.call, call.name, truncate(clean_text(output), OUTPUT))


class _StepWriter:
    """Passes text on, keeps the calls of a step, and ends with the disclaimer."""

    def __init__(self, out: ReplyWriter, disclaimer: str | None) -> None:
        self._out = out
        self._disclaimer = disclaimer
        self._filter = DisclaimerFilter(self, disclaimer)
        self._calls: list[ToolCall] = []
        self._texts: list[str] = []
        self._has_text = False
        self._tail = ""

    def to(self) -> ReplyWriter:
        """Return what the engine writes to."""
        return self._filter if self._disclaimer else self

    def take_calls(self) -> list[ToolCall]:
        """Return the calls since the last time."""
        calls, self._calls = self._calls, []
        return calls

    def take_text(self) -> str:
        """Return the text since the last time."""
        texts, self._texts = self._texts, []
        return "".join(texts)

    def flush(self) -> None:
        self._filter.flush()

    def end(self) -> None:
        """Write the disclaimer, if there was any text."""
        if self._disclaimer and (self._has_text or self._filter.withheld):
            self._out.text(paragraph(self._tail, self._disclaimer))

    def text(self, text: str) -> None:
        if text:
            self._texts.append(text)
            self._has_text = self._has_text or not text.isspace()
            self._tail = (self._tail + text)[-2:]
        self._out.text(text)

    def reasoning(self, text: str) -> None:
        self._out.reasoning(text)

    def logprobs(self, tokens: tuple[TokenLogprob, ...]) -> None:
        self._out.logprobs(tokens)

    def tool_call(self, call: ToolCall) -> None:
        self._calls.append(call)

    def tool_started(self, call: ToolCall) -> None:
        """Tell of a tool that runs here, if the caller's format has a place for it."""
        if isinstance(self._out, ToolRunWriter):
            self._out.tool_started(call)

    def tool_finished(self, call: ToolCall, result: ToolResultPart) -> None:
        """Tell of its result."""
        if isinstance(self._out, ToolRunWriter):
            self._out.tool_finished(call, result.output, failed=result.failed)

    def state(self, state: State) -> None:
        self._out.state(state)

    def mark(self) -> int:
        return self._out.mark()

    def rewind(self, to: int = 0) -> bool:
        taken_back = self._out.rewind(to)
        if taken_back:
            self._calls.clear()
            self._texts.clear()
            self._has_text, self._tail = False, ""
        return taken_back


def _with_system(turns: tuple[Turn, ...], system: str | None) -> tuple[Turn, ...]:
    """Return the turns with the assistant's system prompt first, joined with that of the request."""
    if not system:
        return turns
    if turns and turns[0].role == "system":
        return (Turn("system", (TextPart(f"{system}\n\n"), *turns[0].parts)), *turns[1:])
    return (Turn("system", (TextPart(system),)), *turns)


def _sum(usages: list[Usage]) -> Usage | None:
    """Return the tokens of all steps together, None if the engine told none."""
    if not usages:
        return None
    return Usage(
        sum(each.prompt_tokens or 0 for each in usages), sum(each.completion_tokens or 0 for each in usages)
    )
