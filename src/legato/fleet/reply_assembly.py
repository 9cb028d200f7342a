"""One reply that the fleet writes: one text over several attempts."""

from asyncio import Future
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from legato.engines.base import Outcome, ReplyWriter, Request, TokenLogprob, ToolCall
from legato.errors import EngineBrokeError, EngineError
from legato.stream import State, Timings, Usage

DIFFERS = (
    "The agent that was writing this was lost, and another one would say it differently. Please ask again."
)
TOOLS = "The agent that was writing this was lost in the middle of its tools. Please ask again."
NOT_TO_BE_TRUSTED = (
    "The agent that was writing this broke the rules: do not trust what it wrote here. Please ask again."
)


class _AttemptText(Struct):
    """The start of an attempt: the mark of the reply, the length of the text before it, and whether there were thoughts and tool
    calls."""

    mark: int
    said: int
    thought: bool
    called: bool


class ReplyAssembly:
    """Keeps the text that was shown, so that the next attempt can continue it or be compared with it.

    It is the sink of its current attempt. `done` gets the outcome or the error. `failure` is the error of the last attempt, for
    the case that there is no other. `agent` is the id of the agent that has the reply, or had it last; `stopped` completes when
    nothing of it runs any more. `parameters` are those of a request on the browser endpoint of version 1. `on_final` is called
    before the last text, if the agent marks it. `calls` are the tool calls that were shown. `clock` is in seconds.
    """

    __slots__ = (
        "_at",
        "_called",
        "_clock",
        "_first",
        "_lost",
        "_on_final",
        "_out",
        "_said",
        "_shown",
        "_spent",
        "_start",
        "_started",
        "_thought",
        "_tokens",
        "_writers",
        "agent",
        "calls",
        "done",
        "failure",
        "id",
        "parameters",
        "request",
        "stopped",
        "vectors",
    )

    def __init__(
        self,
        id: str,  # noqa: A002 (it is what it is called)
        request: Request,
        out: ReplyWriter,
        done: "Future[Outcome]",
        clock: Callable[[], float],
        parameters: dict[str, Any] | None = None,
        on_final: Callable[[], None] = lambda: None,
    ) -> None:
        self.id = id
        self.request = request
        self.vectors: list[tuple[float, ...]] = []
        self.done = done
        self.parameters = parameters
        self.agent: str | None = None
        self.stopped: Future[None] | None = None
        self.failure: EngineError | None = None
        self._out = out
        self._clock = clock
        self._on_final = on_final
        self.calls: list[ToolCall] = []
        self._said: list[str] = []
        self._shown: str | None = None
        self._at = 0
        self._thought = False
        self._called = False
        self._start = _AttemptText(0, 0, False, False)
        self._writers: list[str] = []
        self._lost = "was lost"
        self._started: float | None = None
        self._first: float | None = None
        self._tokens = 0
        self._spent = 0

    @property
    def attempts(self) -> int:
        """How many agents have started it."""
        return len(self._writers)

    @property
    def shown(self) -> bool:
        """Whether a person has seen anything of it."""
        return bool(self._said) or self._thought or self._called

    @property
    def said(self) -> str:
        """The text that was shown of it."""
        return self._joined()

    def begin(self, agent: str, *, loaded: bool, continues: bool) -> str | None:
        """Start an attempt. Returns its prefix; None if what was shown can neither be continued nor repeated: then the reply has
        failed."""
        if self.done.done():
            return None
        if self._called:
            self.fail(EngineBrokeError(TOOLS))
            return None
        said = self._joined()
        self._shown, self._at = None, 0
        self.vectors = []
        detail, prefix = None, self.request.prefix
        if said and continues:
            prefix += said
            detail = self._loss(agent, len(said), "goes on")
        elif said:
            self._shown = said
            detail = self._loss(agent, len(said), "writes it again")
        elif self._thought and self._out.rewind():
            self._thought = False
        if detail is None and self._writers:
            detail = self._loss(agent, 0, "answers instead")
        if self._started is None:
            self._started = self._clock()
        self._spent, self._tokens = self._spent + self._tokens, 0
        self._writers.append(agent)
        self._lost = "was lost"
        self._start = _AttemptText(self._out.mark(), len(said), self._thought, self._called)
        self._out.state(
            State("reading" if loaded else "loading", model=self.request.model, agent=agent, detail=detail)
        )
        return prefix

    def discard_attempt(self) -> None:
        """Take back all text of this attempt, because its agent violated the protocol. Earlier text stays. If the text cannot be
        taken back, the reply fails."""
        begun, self._tokens = self._start, 0
        if not self._spent:
            self._first = None
        self._lost = "broke the rules, and what it wrote was taken back"
        if self.done.done():
            return
        if self._shown is not None:
            self._shown = None
            return
        said = self._joined()
        wrote = len(said) > begun.said or (self._thought, self._called) != (begun.thought, begun.called)
        if wrote and not self._out.rewind(begun.mark):
            self.fail(EngineBrokeError(NOT_TO_BE_TRUSTED))
            return
        self._said = [said[: begun.said]] if begun.said else []
        self._thought, self._called = begun.thought, begun.called
        if not begun.called:
            self.calls.clear()

    def finish(self, outcome: Outcome) -> None:
        """End the reply, because the attempt came to its end."""
        if self._shown is not None and not self._start_over(""):
            return
        if not self.done.done():
            self.done.set_result(outcome if len(self._writers) < 2 else self._summed(outcome))

    def fail(self, error: EngineError) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    # The sink.

    def text(self, text: str) -> None:
        if not text:
            self._out.text(text)
            return
        self._tokens += 1
        if self._first is None:
            self._first = self._clock()
        if self._shown is not None:
            self._compare(self._shown, text)
        else:
            self._said.append(text)
            self._out.text(text)

    def final(self) -> None:
        self._on_final()

    def reasoning(self, text: str) -> None:
        self._tokens += 1
        if self._first is None:
            self._first = self._clock()
        if self._shown is None and text:
            self._thought = True
            self._out.reasoning(text)

    def vector(self, vector: tuple[float, ...]) -> None:
        """Keep the vector of a text that is to be embedded. An attempt begins anew."""
        if len(self.vectors) < len(self.request.embed):
            self.vectors.append(vector)

    def logprobs(self, tokens: tuple[TokenLogprob, ...]) -> None:
        """Pass on those of text that was not shown before."""
        if self.request.logprobs is not None and self._shown is None:
            self._out.logprobs(tokens)

    def tool_call(self, call: ToolCall) -> None:
        if self._shown is not None and not self._start_over(""):
            return
        self._called = True
        self.calls.append(call)
        self._out.tool_call(call)

    def state(self, state: State) -> None:
        """Pass on a state of the agent. The agent decides neither its name nor the queue position."""
        if state.phase != "queued" and self._writers:
            self._out.state(replace(state, model=self.request.model, agent=self._writers[-1], place=None))

    def queued(self, position: int) -> None:
        self._out.state(State("queued", model=self.request.model, place=position))

    def _joined(self) -> str:
        said = "".join(self._said)
        self._said = [said] if said else []
        return said

    def _loss(self, agent: str, length: int, does: str) -> str:
        """A sentence that says which agent was lost, and which one continues."""
        before = self._writers[-1]
        after = f" after {length} characters" if length and self._lost == "was lost" else ""
        if agent == before:
            return f"{before} {self._lost}{after}. It is back, and {does.removesuffix(' instead')}."
        return f"{before} {self._lost}{after}; {agent} {does}."

    def _compare(self, shown: str, text: str) -> None:
        """Compare text of an attempt that repeats the reply with what was shown. Equal text is not shown again."""
        expected = shown[self._at : self._at + len(text)]
        if not text.startswith(expected):
            self._start_over(text)
            return
        self._at += len(expected)
        if self._at == len(shown):
            self._shown = None
            self._write(text[len(expected) :])
        else:
            self._out.text("")

    def _start_over(self, text: str) -> bool:
        """Take back all text and show that of this attempt, because it differs from here on. Two texts are never joined."""
        said = (self._shown or "")[: self._at] + text
        if self.done.done() or not self._out.rewind():
            self.fail(EngineBrokeError(DIFFERS))
            return False
        self._shown, self._thought, self._said = None, False, []
        self._start = _AttemptText(0, 0, False, False)
        self._write(said)
        return True

    def _write(self, text: str) -> None:
        if text:
            self._said.append(text)
            self._out.text(text)

    def _summed(self, outcome: Outcome) -> Outcome:
        """The outcome with the cost of all attempts. A lost attempt counts the tokens that it delivered, one that violated the
        protocol none."""
        now, usage, spent = self._clock(), outcome.usage, self._spent
        if spent:
            written = usage.completion_tokens if usage is not None else None
            tokens = spent + (self._tokens if written is None else written)
            usage = Usage(usage.prompt_tokens if usage is not None else None, tokens)
        started = now if self._started is None else self._started
        tokens = (usage.completion_tokens if usage is not None else None) or 0
        seconds = now - self._first if self._first is not None else 0.0
        timings = Timings(
            load_ms=outcome.timings.load_ms if outcome.timings is not None else None,
            first_token_ms=round((self._first - started) * 1000, 2) if self._first is not None else None,
            total_ms=round((now - started) * 1000, 2),
            tokens_per_second=round(tokens / seconds, 2) if tokens and seconds > 0 else None,
        )
        return replace(outcome, usage=usage, timings=timings)
