"""An engine that a test controls, and a `ReplyWriter` that records what an engine writes."""

import asyncio
from collections.abc import Iterable
from typing import Literal

from legato.engines.base import (
    Capabilities,
    Health,
    Model,
    Outcome,
    ReplyWriter,
    Request,
    TokenLogprob,
    ToolCall,
)
from legato.errors import EngineError, EngineRefusedError, EngineUnavailableError, ModelNotFoundError
from legato.stream import Event, Phase, Reasoning, State, Text, Timings, ToolStarted, Usage


class Recorder:
    """A `ReplyWriter` that records everything in order, a tool call as `ToolStarted`, so that tests can compare it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.rewinds = 0
        self.tokens: tuple[TokenLogprob, ...] = ()

    @property
    def said(self) -> str:
        """The answer so far."""
        return "".join(event.text for event in self.events if isinstance(event, Text))

    @property
    def thought(self) -> str:
        """The reasoning so far."""
        return "".join(event.text for event in self.events if isinstance(event, Reasoning))

    @property
    def words(self) -> list[str]:
        """The pieces of the answer, as they came."""
        return [event.text for event in self.events if isinstance(event, Text)]

    @property
    def states(self) -> list[State]:
        """The states, as they came."""
        return [event for event in self.events if isinstance(event, State)]

    @property
    def calls(self) -> list[ToolCall]:
        """The tool calls."""
        return [
            ToolCall(event.call, event.name, event.arguments)
            for event in self.events
            if isinstance(event, ToolStarted)
        ]

    def text(self, text: str) -> None:
        if text:
            self.events.append(Text(text))

    def reasoning(self, text: str) -> None:
        if text:
            self.events.append(Reasoning(text))

    def logprobs(self, tokens: tuple[TokenLogprob, ...]) -> None:
        self.tokens += tokens

    def tool_call(self, call: ToolCall) -> None:
        self.events.append(ToolStarted(call.call, call.name, call.arguments))

    def state(self, state: State) -> None:
        self.events.append(state)

    def mark(self) -> int:
        return len(self.events)

    def rewind(self, to: int = 0) -> bool:
        behind = self.events[to:]
        if any(isinstance(event, ToolStarted) for event in behind):
            return False
        self.events[to:] = [event for event in behind if not isinstance(event, Text | Reasoning)]
        self.rewinds += 1
        return True


class ScriptedGeneration:
    """One generation of a `ScriptedEngine`. The test decides what it writes and how it ends.

    `state` is `running` until the generation finished, failed, or was cancelled by its caller.
    """

    def __init__(self, request: Request, out: ReplyWriter) -> None:
        self.request = request
        self.out = out
        self.state: Literal["running", "finished", "failed", "cancelled"] = "running"
        self._end: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._left = asyncio.Event()
        self._may_leave = asyncio.Event()
        self._may_leave.set()

    @property
    def cancelled(self) -> bool:
        """Whether the caller has cancelled this generation."""
        return self.state == "cancelled"

    def say(self, *words: str) -> None:
        """Write the words to the answer, one call each."""
        for word in words:
            self._running().text(word)

    def think(self, *words: str) -> None:
        """Write the words to the reasoning, one call each."""
        for word in words:
            self._running().reasoning(word)

    def tell_logprobs(self, *tokens: TokenLogprob) -> None:
        """Tell the log probabilities of the tokens of the next words."""
        self._running().logprobs(tokens)

    def call(self, call: str, name: str, arguments: str = "{}") -> None:
        """Request a tool."""
        self._running().tool_call(ToolCall(call, name, arguments))

    def tell(
        self,
        phase: Phase,
        *,
        place: int | None = None,
        progress: float | None = None,
        detail: str | None = None,
    ) -> None:
        """Report a state."""
        self._running().state(State(phase, place=place, progress=progress, detail=detail))

    def finish(
        self,
        reason: Literal["stop", "length", "tool_calls"] = "stop",
        *,
        usage: Usage | None = None,
        timings: Timings | None = None,
    ) -> None:
        """End the reply with this outcome."""
        self._running()
        self.state = "finished"
        self._end.set_result(Outcome(reason, self.request.model, usage, timings))

    def fail(self, error: EngineError) -> None:
        """End the reply by raising `error`."""
        self._running()
        self.state = "failed"
        self._end.set_exception(error)

    def hold(self) -> None:
        """Delay the stop: if this generation is cancelled, `generate` returns only after `release`."""
        self._may_leave.clear()

    def release(self) -> None:
        """Let a cancelled `generate` return."""
        self._may_leave.set()

    async def left(self) -> None:
        """Wait until `generate` has returned or raised, for any reason."""
        await self._left.wait()

    async def _play(self) -> Outcome:
        try:
            return await asyncio.shield(self._end)
        except asyncio.CancelledError:
            self.state = "cancelled"
            await self._may_leave.wait()
            raise
        finally:
            self._left.set()

    def _running(self) -> ReplyWriter:
        if self.state != "running":
            raise RuntimeError(f"this reply is {self.state}: it can say nothing more")
        return self.out


class ScriptedEngine:
    """An engine that writes what a test tells it, when the test tells it.

    Each call of `generate` becomes a `ScriptedGeneration`: `await engine.asked()` returns the next one. With `reply` every
    request is answered at once with these words; the part that the prefix already has is left out.

    If `down` is true, it is unreachable: every call except `health` and `capabilities` raises `EngineUnavailableError`.
    """

    def __init__(
        self,
        name: str = "scripted",
        *,
        models: Iterable[str] = ("scripted",),
        continues: bool = False,
        capabilities: Capabilities | None = None,
        reply: Iterable[str] | None = None,
    ) -> None:
        """If `models` is empty, every name is a model. `capabilities` overrides `continues`."""
        self._name = name
        self._models = tuple(models)
        self._reply = None if reply is None else tuple(reply)
        self._asked: asyncio.Queue[ScriptedGeneration] = asyncio.Queue()
        self.can = capabilities or Capabilities(
            supports_prefill=continues, tools=True, images=True, thinks=True
        )
        self.down = False
        self.closed = False
        self.requests: list[Request] = []
        self.runs: list[ScriptedGeneration] = []

    @property
    def name(self) -> str:
        return self._name

    async def asked(self) -> ScriptedGeneration:
        """Wait for the next generation that the test has not taken yet, and return it."""
        return await self._asked.get()

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        self.requests.append(request)
        self._reachable()
        if self._models and request.model not in self._models:
            raise ModelNotFoundError(f"{self._name} has no model {request.model}.")
        if request.prefix and not self.can.supports_prefill:
            raise EngineRefusedError(f"{self._name} cannot continue a text.")
        run = ScriptedGeneration(request, out)
        self.runs.append(run)
        if self._reply is None:
            self._asked.put_nowait(run)
        else:
            self._recite(run, self._reply)
        return await run._play()

    async def capabilities(self, model: str) -> Capabilities:
        return self.can

    async def models(self) -> tuple[Model, ...]:
        self._reachable()
        return tuple(Model(name, self._name) for name in self._models)

    async def health(self) -> Health:
        if self.down:
            return Health(False, f"{self._name} does not answer.")
        return Health(True, f"{self._name} does as it is told.", loaded=self._models)

    async def close(self) -> None:
        self.closed = True

    def _reachable(self) -> None:
        if self.down:
            raise EngineUnavailableError(f"{self._name} does not answer.")

    @staticmethod
    def _recite(run: ScriptedGeneration, words: tuple[str, ...]) -> None:
        written, skip = 0, len(run.request.prefix)
        for word in words:
            run.say(word[max(0, skip - written) :])
            written += len(word)
        run.finish(usage=Usage(prompt_tokens=len(run.request.turns), completion_tokens=len(words)))
