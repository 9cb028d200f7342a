"""One turn: the history becomes a prompt, an engine writes, tools run, and how it ended is decided. Nothing here stores."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec.structs import replace

from legato.chat.disclaimer import DisclaimerFilter, disclaim
from legato.chat.message_tree import budget, size, window
from legato.chat.reply import Reply, finished_message
from legato.chat.tool_calls import before_and_tail, pending, unfinished
from legato.chat.tool_runner import Keep, ToolRunner
from legato.domain.message import AudioPart, ImagePart, Message
from legato.domain.validation import clean_text
from legato.engines.base import Capabilities, Outcome, Request, Turn
from legato.errors import LegatoError
from legato.stream import Failed, Finished, State, Terminal, ToolFinished, Usage
from legato.tools.base import Tool, offered

logger = logging.getLogger(__name__)

SHORT = 4000
"""Characters of history below which no model's context needs to be asked for."""

SILENT = "The model said nothing. Try again, or ask another model."
SILENT_WITH_TOOLS = "The model used its tools and then said nothing. Try again, or ask another model."
CUT = "The model came to the limit of its tokens before it had said anything. Allow more (`num_predict`), or ask for less."
ENOUGH = "It has used its tools as often as it may, and answers with what it has."
TOO_OFTEN = (
    "The model asked for its tools again and again, as often as it may, and came to no answer. "
    "Ask for less at once, or allow more steps (`tool_steps`)."
)

BUG = Failed("internal", "The engine failed in a way it should not. The server's log says more; try again.")


class History(Protocol):
    """Gives the branch that a reply stands behind, first message first."""

    async def __call__(self, reply: Reply) -> list[Message]: ...


class TurnUsage:
    """What the steps of one reply cost together, and how the last of them ended."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self._prompt: int | None = None
        self._completion: int | None = None
        self._load_ms: float | None = None

    def add(self, outcome: Outcome) -> None:
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


async def run(
    reply: Reply, history: History, keep: Keep, clock: Callable[[], float]
) -> tuple[Message, Terminal]:
    """Let the engine write into the reply's log until it ends; the message to store and the event that closes the log.

    What the log says already is gone on with. Where the model asks for tools, they are run, and it is asked again with what
    they said. `clock` is in seconds.

    :raises asyncio.CancelledError: where the reply is left for another server to go on with.
    """
    spent = TurnUsage()
    voice = DisclaimerFilter(reply, reply.speaker.assistant.disclaimer)
    end: Terminal
    try:
        if reply.ending is not None:
            raise asyncio.CancelledError
        end = await _write(reply, voice, await history(reply), spent, keep, clock)
        if reply.ending == "stopped" or reply.ending == "unwatched":
            end = _stopped()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if reply.ending is None and task is not None and not task.cancelling():
            logger.exception("The engine %s cancelled itself (reply %s)", reply.speaker.engine.name, reply.id)
            end = BUG
        elif reply.ending is None or reply.ending == "leaving":
            raise
        else:
            end = _stopped()
    except LegatoError as error:
        end = Failed(error.code, clean_text(error.message))
    except Exception:
        logger.exception(
            "The engine %s failed in a way of its own (reply %s)", reply.speaker.engine.name, reply.id
        )
        end = BUG
    fold = reply.log.snapshot()
    for call, last_word in unfinished(pending(fold)):
        reply.log.append(ToolFinished(call, last_word, failed=True))
    silent = not fold.text.strip() and not voice.withheld
    if isinstance(end, Finished) and end.reason != "stopped" and silent:
        cut = end.reason == "length"
        end = Failed("empty", CUT if cut else SILENT_WITH_TOOLS if fold.tools else SILENT)
    fold = disclaim(reply.log, reply.speaker.assistant.disclaimer, voice.withheld)
    state: State | None = fold.state
    outcome = spent.outcome
    model = outcome.model if outcome else (state.model if state else None)
    if isinstance(end, Finished):
        usage = outcome.usage if outcome else None
        end = Finished(
            end.reason,
            usage,
            reply.timings(outcome.timings if outcome else None, usage.completion_tokens if usage else None),
        )
    detail = state.detail if state else None
    if reply.ending == "unwatched":
        detail = "It was stopped because nobody was watching."
    return finished_message(reply.message, fold, end, model, detail), end


async def _write(
    reply: Reply,
    voice: DisclaimerFilter,
    branch: list[Message],
    spent: TurnUsage,
    keep: Keep,
    clock: Callable[[], float],
) -> Finished | Failed:
    """Ask the engine, run the tools that it asks for, ask it again …, until it asks for none, or may ask for no more."""
    speaker = reply.speaker
    tools = offered(speaker.tools)
    bench = ToolRunner(reply, tools, clock, keep)
    await bench.take_up()
    # After a restart the log tells calls, not the steps they were asked for in: rather too few are left than too many.
    steps = len(reply.log.snapshot().tools)
    while True:
        enough = bool(tools) and (steps >= speaker.assistant.tool_steps or bench.left <= 0)
        reply.step()
        request = await _request(reply, branch, {} if enough else tools)
        reply.state(State("reading", model=speaker.model, detail=ENOUGH if enough else None))
        try:
            outcome = await speaker.engine.generate(request, voice if speaker.assistant.disclaimer else reply)
        finally:
            voice.flush()
        spent.add(outcome)
        if not reply.calls or reply.ending is not None:
            return Finished("length" if outcome.reason == "length" else "stop")
        if enough or steps >= speaker.assistant.tool_steps:
            return Failed("tool_steps", TOO_OFTEN)
        await bench.use(reply.calls)
        steps += 1


def _stopped() -> Finished:
    """A person has stopped it, and what its task was cancelled for is done."""
    if (task := asyncio.current_task()) is not None:
        task.uncancel()
    return Finished("stopped")


async def _request(reply: Reply, branch: list[Message], tools: Mapping[str, Tool]) -> Request:
    speaker = reply.speaker
    assistant = speaker.assistant
    done, prefix = before_and_tail(reply.log.snapshot())
    parts = [*(part for message in branch for part in message.parts), *done]
    characters = sum(len(getattr(part, "text", "")) + len(getattr(part, "output", "")) for part in parts)
    pictures = any(isinstance(part, ImagePart | AudioPart) for part in parts)
    capabilities = Capabilities()
    if characters > SHORT or pictures:
        capabilities = await speaker.engine.capabilities(speaker.model)
    room = budget(capabilities, assistant.options)
    if room is not None and done:
        room -= size(done)
    turns = window(branch, assistant.system, assistant.history, room)
    return Request(
        model=speaker.model,
        turns=(*turns, Turn("assistant", done)) if done else turns,
        prefix=prefix,
        options=assistant.options,
        tools=tuple(replace(tool.spec, name=name) for name, tool in tools.items()),
        think=assistant.think,
        keep_alive=assistant.keep_alive,
        conversation=reply.message.conversation,
        user=reply.user,
    )


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other
