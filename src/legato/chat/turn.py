"""One turn of an assistant: an engine writes, tools run, and it is decided how the reply ended. Nothing here stores."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from legato.broker.base import RunningLogs
from legato.chat.context_window import ContextWindow, left_out_notice
from legato.chat.disclaimer import DisclaimerFilter, disclaim
from legato.chat.journal import Journal
from legato.chat.prompt import make_request
from legato.chat.reply import Reply, finished_message
from legato.chat.tool_calls import pending, unfinished
from legato.chat.tool_runner import ToolRunner
from legato.domain.message import Message
from legato.engines.base import Outcome
from legato.errors import ContextExceededError
from legato.stream import Failed, Finished, State, Terminal, ToolFinished, Usage
from legato.tools.base import offered

logger = logging.getLogger(__name__)

SILENT = "The model said nothing. Try again, or ask another model."
SILENT_WITH_TOOLS = "The model used its tools and then said nothing. Try again, or ask another model."
CUT = "The model came to the limit of its tokens before it had said anything. Allow more (`num_predict`), or ask for less."
ENOUGH = "It has used its tools as often as it may, and answers with what it has."
TOO_OFTEN = (
    "The model asked for its tools again and again, as often as it may, and came to no answer. "
    "Ask for less at once, or allow more steps (`tool_steps`)."
)

BUG = Failed("internal", "The engine failed in a way it should not. The server's log says more; try again.")


class TurnUsage:
    """Adds up what the steps of one reply cost, and keeps how the last of them ended."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self._prompt: int | None = None
        self._completion: int | None = None
        self._load_ms: float | None = None

    def add(self, outcome: Outcome) -> None:
        """Add a step."""
        if outcome.usage is not None:
            self._prompt = _sum(self._prompt, outcome.usage.prompt_tokens)
            self._completion = _sum(self._completion, outcome.usage.completion_tokens)
        if outcome.timings is not None and self.outcome is None:
            self._load_ms = outcome.timings.load_ms
        usage = None
        if (self._prompt, self._completion) != (None, None):
            usage = Usage(self._prompt, self._completion)
        timings = outcome.timings
        if timings is not None:
            timings = replace(timings, load_ms=self._load_ms)
        self.outcome = replace(outcome, usage=usage, timings=timings)


class ReplyTurn:
    """Writes one reply: `write` runs the engine and the tools, `finish` ends the reply.

    `clock` is in seconds. No tool begins before `journal` has stored, and `logs` has shown, that it does.
    """

    def __init__(self, reply: Reply, journal: Journal, logs: RunningLogs, clock: Callable[[], float]) -> None:
        self._reply = reply
        self._usage = TurnUsage()
        self._filter = DisclaimerFilter(reply, reply.assistant.config.disclaimer)
        self._tools = offered(reply.assistant.tools)
        self._tool_runner = ToolRunner(reply, self._tools, journal, logs, clock)

    async def write(self, history: Sequence[Message]) -> Terminal:
        """Ask the engine, run the tools that it asks for, ask it again …, until it asks for none, or may ask for no more.

        Continue what the log says already.

        :raises LegatoError: the engine failed.
        """
        end = await self._write(history)
        return _stopped() if self._reply.ending in ("stopped", "unwatched") else end

    async def _write(self, history: Sequence[Message]) -> Terminal:
        reply, tools, config = self._reply, self._tools, self._reply.assistant.config
        await self._tool_runner.take_up()
        # After a restart the log tells calls, not the steps they were asked for in: rather too few are left than too many.
        steps = len(reply.written.snapshot().tools)
        window, notice = ContextWindow(), reply.notice
        while True:
            enough = bool(tools) and (steps >= config.tool_steps or self._tool_runner.left <= 0)
            reply.step()
            request, prompt = await make_request(reply, history, {} if enough else tools, window)
            reply.notice = " ".join(filter(None, (notice, left_out_notice(prompt.left_out)))) or None
            reply.state(State("reading", model=reply.assistant.model, detail=ENOUGH if enough else None))
            try:
                outcome = await reply.assistant.engine.generate(
                    request, self._filter if config.disclaimer else reply
                )
            except ContextExceededError as error:
                if not window.shrink(prompt, error):
                    raise
                continue
            finally:
                self._filter.flush()
            self._usage.add(outcome)
            if not reply.calls or reply.ending is not None:
                return Finished("length" if outcome.reason == "length" else "stop")
            if enough or steps >= config.tool_steps:
                return Failed("tool_steps", TOO_OFTEN)
            await self._tool_runner.use(reply.calls)
            steps += 1

    def cancelled(self, error: asyncio.CancelledError) -> Terminal:
        """Return how a reply ends whose turn was cancelled. Call it in the `except` clause.

        :raises asyncio.CancelledError: the reply is left for another server, which continues it.
        """
        reply, task = self._reply, asyncio.current_task()
        if reply.ending is None and task is not None and not task.cancelling():
            engine = reply.assistant.engine.name
            logger.exception("The engine %s cancelled itself (reply %s)", engine, reply.id)
            return BUG
        if reply.ending is None or reply.ending == "leaving":
            raise error
        return _stopped()

    def finish(self, end: Terminal) -> tuple[Message, Terminal]:
        """Return the message to store, and the event that closes the log."""
        reply = self._reply
        snapshot = reply.written.snapshot()
        for call, output in unfinished(pending(snapshot)):
            reply.written.append(ToolFinished(call, output, failed=True))
        silent = not snapshot.text.strip() and not self._filter.withheld
        if isinstance(end, Finished) and end.reason != "stopped" and silent:
            cut = end.reason == "length"
            end = Failed("empty", CUT if cut else SILENT_WITH_TOOLS if snapshot.tools else SILENT)
        snapshot = disclaim(reply.written, reply.assistant.config.disclaimer, self._filter.withheld)
        state: State | None = snapshot.state
        outcome = self._usage.outcome
        model = outcome.model if outcome else (state.model if state else None)
        if isinstance(end, Finished):
            usage = outcome.usage if outcome else None
            timings = reply.timings(
                outcome.timings if outcome else None, usage.completion_tokens if usage else None
            )
            end = Finished(end.reason, usage, timings)
        detail = state.detail if state else None
        if reply.ending == "unwatched":
            detail = "It was stopped because nobody was watching."
        return finished_message(reply.message, snapshot, end, model, detail), end


def _stopped() -> Finished:
    """Return the end of a stopped reply. Its task was cancelled for that, and is not cancelled any more."""
    if (task := asyncio.current_task()) is not None:
        task.uncancel()
    return Finished("stopped")


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other
