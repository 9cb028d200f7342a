"""The running of the tools of one reply: one after the other, each within its time, and after an approval if it needs one."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from legato.broker.base import RunningLogs
from legato.chat.journal import Journal
from legato.chat.reply import Reply
from legato.chat.tool_calls import INTERRUPTED, RefusedCall, RunnableCall, decide, pending
from legato.chat.tool_execution import run_tool
from legato.domain.validation import clean_text
from legato.engines.base import ToolCall
from legato.errors import ToolError
from legato.stream import ToolAsked, ToolFinished, ToolStarted
from legato.tools.base import Context, Tool, truncate

OUTPUT = 65_536 + 1024
"""Bytes of an output that the stream and the model get at most, whatever the limit of the tool is."""


class ToolRunner:
    """Runs the tools that the model of one reply calls. `left` is how many seconds of tools it still has.

    No tool begins before it is stored that it does.
    """

    def __init__(
        self,
        reply: Reply,
        tools: Mapping[str, Tool],
        journal: Journal,
        logs: RunningLogs,
        clock: Callable[[], float],
    ) -> None:
        self._reply = reply
        self._tools = tools
        self._clock = clock
        self._journal = journal
        self._logs = logs
        self.left = reply.assistant.config.tool_seconds

    async def take_up(self) -> None:
        """Finish what an earlier server left: an approval is asked for again; a tool that had begun is not run again."""
        for tool in pending(self._reply.written.snapshot()):
            if not tool.asking:
                self._finish(tool.call, INTERRUPTED, failed=True)
                continue
            call = ToolCall(tool.call, tool.name, tool.arguments)
            decision = decide(call, self._tools, 0)
            if isinstance(decision, RefusedCall):
                self._finish(call.call, decision.why, failed=True)
            else:
                await self._run_if_approved(call, decision)

    async def use(self, calls: Iterable[ToolCall]) -> None:
        """Run the calls in their order; the log has the result of each."""
        for number, call in enumerate(calls):
            decision = decide(call, self._tools, number)
            log = self._reply.written
            if isinstance(decision, RunnableCall) and decision.tool.approval:
                log.append(ToolAsked(call.call, call.name, call.arguments))
                await self._run_if_approved(call, decision)
                continue
            log.append(ToolStarted(call.call, call.name, call.arguments))
            if isinstance(decision, RefusedCall):
                self._finish(call.call, decision.why, failed=True)
            else:
                await self._run(call, decision)

    async def _run_if_approved(self, call: ToolCall, ready: RunnableCall) -> None:
        seconds = self._reply.assistant.config.approval_seconds
        try:
            async with asyncio.timeout(seconds):
                allowed = await self._reply.approvals.ask(call.call)
        except TimeoutError:
            self._finish(
                call.call, f"Nobody allowed this tool within {seconds:g} s, so it did not run.", failed=True
            )
            return
        if not allowed:
            self._finish(call.call, "A person refused this tool, so it did not run.", failed=True)
            return
        self._reply.written.append(ToolStarted(call.call, call.name, call.arguments))
        await self._run(call, ready)

    async def _run(self, call: ToolCall, ready: RunnableCall) -> None:
        tool, reply = ready.tool, self._reply
        seconds = min(tool.seconds, self.left)
        if seconds <= 0:
            self._finish(call.call, "There is no time left for tools in this reply.", failed=True)
            return
        await self._journal.store(reply.written)
        await self._logs.all_shown(reply.written)
        context = Context(reply.user, reply.message.conversation, reply.id)
        begun = self._clock()
        try:
            output, failed = await run_tool(seconds, tool, ready.arguments, context), False
        except ToolError as error:
            output, failed = reply.assistant.told(error.message), True
        except TimeoutError:
            output, failed = f"The tool was given up after {seconds:g} s without an answer.", True
        finally:
            self.left -= self._clock() - begun
        self._finish(call.call, output, failed)

    def _finish(self, call: str, output: str, failed: bool = False) -> None:
        self._reply.written.append(ToolFinished(call, truncate(clean_text(output), OUTPUT), failed))
