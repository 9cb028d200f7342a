"""One reply that the fleet writes: over as many attempts as it takes, and as one text."""

from asyncio import Future
from typing import Any

from msgspec.structs import replace

from legato.engines.base import Out, Outcome, Request, ToolCall
from legato.errors import EngineBrokeError, EngineError
from legato.stream import State

DIFFERS = (
    "The agent that was writing this was lost, and another one would say it differently. Please ask again."
)
TOOLS = "The agent that was writing this was lost in the middle of its tools. Please ask again."


class Run:
    """What was shown is kept here, so that the next attempt can go on behind it, or be held against it.

    It is the sink of its current attempt. `end` gets the outcome, or the error. `failure` is what broke the last
    attempt, should no other be made. `agent` is the one that has it, or had it last; `stopped` is done once nothing of it
    runs any more. `parameters` are those of a browser of the first generation.
    """

    __slots__ = (
        "_at",
        "_called",
        "_out",
        "_said",
        "_shown",
        "_thought",
        "_writers",
        "agent",
        "end",
        "failure",
        "id",
        "parameters",
        "request",
        "stopped",
    )

    def __init__(
        self,
        id: str,  # noqa: A002 (it is what it is called)
        request: Request,
        out: Out,
        end: "Future[Outcome]",
        parameters: dict[str, Any] | None = None,
    ) -> None:
        self.id = id
        self.request = request
        self.end = end
        self.parameters = parameters
        self.agent: str | None = None
        self.stopped: Future[None] | None = None
        self.failure: EngineError | None = None
        self._out = out
        self._said: list[str] = []
        self._shown: str | None = None
        self._at = 0
        self._thought = False
        self._called = False
        self._writers: list[str] = []

    @property
    def shown(self) -> bool:
        """Whether anything was written that a person has seen."""
        return bool(self._said) or self._thought or self._called

    def begin(self, agent: str, *, loaded: bool, continues: bool) -> str | None:
        """An agent begins. The prefix for it; None where what was shown can neither be continued nor told again, and this
        run has ended."""
        if self.end.done():
            return None
        if self._called:
            self.fail(EngineBrokeError(TOOLS))
            return None
        said = "".join(self._said)
        self._said = [said] if said else []
        self._shown, self._at = None, 0
        detail, prefix = None, self.request.prefix
        if said and continues:
            prefix += said
            detail = f"{self._writers[-1]} was lost after {len(said)} characters; {agent} goes on."
        elif said:
            self._shown = said
            detail = f"{self._writers[-1]} was lost after {len(said)} characters; {agent} writes it again."
        elif self._thought and self._out.rewind():
            self._thought = False
        if detail is None and self._writers:
            detail = f"{self._writers[-1]} was lost; {agent} answers instead."
        self._writers.append(agent)
        self._out.state(
            State("reading" if loaded else "loading", model=self.request.model, agent=agent, detail=detail)
        )
        return prefix

    def finish(self, outcome: Outcome) -> None:
        """The attempt came to its end."""
        if self._shown is not None and not self._again(""):
            return
        if not self.end.done():
            self.end.set_result(outcome)

    def fail(self, error: EngineError) -> None:
        if not self.end.done():
            self.end.set_exception(error)

    # The sink.

    def text(self, text: str) -> None:
        if self._shown is not None:
            self._compare(self._shown, text)
        elif text:
            self._said.append(text)
            self._out.text(text)

    def reasoning(self, text: str) -> None:
        if self._shown is None and text:
            self._thought = True
            self._out.reasoning(text)

    def tool_call(self, call: ToolCall) -> None:
        if self._shown is not None and not self._again(""):
            return
        self._called = True
        self._out.tool_call(call)

    def state(self, state: State) -> None:
        """What the agent tells. Who it is, and its place, it does not decide."""
        if state.phase != "queued" and self._writers:
            self._out.state(replace(state, model=self.request.model, agent=self._writers[-1], place=None))

    def placed(self, place: int) -> None:
        self._out.state(State("queued", model=self.request.model, place=place))

    def _compare(self, shown: str, text: str) -> None:
        """This attempt tells from the start what an earlier one has told: what is the same is not told twice."""
        expected = shown[self._at : self._at + len(text)]
        if not text.startswith(expected):
            self._again(text)
            return
        self._at += len(expected)
        if self._at == len(shown):
            self._shown = None
            self.text(text[len(expected) :])

    def _again(self, text: str) -> bool:
        """This attempt says something else from here on: all is taken back, and told its way. Never a splice."""
        said = (self._shown or "")[: self._at] + text
        if self.end.done() or not self._out.rewind():
            self.fail(EngineBrokeError(DIFFERS))
            return False
        self._shown, self._thought, self._said = None, False, []
        self.text(said)
        return True
