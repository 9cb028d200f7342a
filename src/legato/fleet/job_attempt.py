"""One attempt of a job at one agent: how far it is, what it may still write, and who gets what it writes."""

from typing import Any, Protocol

from legato.engines.base import TokenLogprob, ToolCall
from legato.stream import State

MAX_CHARACTERS = 4_000_000
"""Characters that one job may write, thinking included."""

LENGTH_OPTION = "num_predict"
"""The option that tells every engine how many tokens to write."""

OTHER_LENGTH_OPTIONS = ("max_tokens", "max_completion_tokens")
"""Options that mean the same to some engines and nothing to others."""

EVENTS_PER_TOKEN = 4
"""An event is a token or a part of one. More events than this for each token that was asked for are a violation."""

SPARE_EVENTS = 16


class JobSink(Protocol):
    """Gets what a job writes, in order. Its calls are cheap and never raise."""

    def text(self, text: str) -> None: ...

    def final(self) -> None:
        """The agent said that its next text, which may be empty, is the last of the reply."""
        ...

    def reasoning(self, text: str) -> None: ...

    def logprobs(self, tokens: tuple[TokenLogprob, ...]) -> None: ...

    def tool_call(self, call: ToolCall) -> None: ...

    def vector(self, vector: tuple[float, ...]) -> None:
        """The vector of the next text, of a job that embeds."""
        ...

    def state(self, state: State) -> None: ...


NUMBER_CHARACTERS = 8
"""As how many characters a number of a vector counts."""

MAX_STATES = 2000
"""States of one attempt that are shown. Further ones are dropped."""


class JobAttempt:
    """One attempt of a job at one agent.

    The agent's events have offsets. `received` is the offset of the event that comes next; the sink has taken those below
    `taken`, and those below `acknowledged` were acknowledged to the agent. An attempt that is not `wanted` any more writes
    to no sink. `characters_left` is what it may still write.
    """

    __slots__ = (
        "_events_left",
        "_states_left",
        "acknowledged",
        "attempt",
        "characters_left",
        "job",
        "model",
        "received",
        "sink",
        "taken",
        "wanted",
    )

    def __init__(
        self, job: str, attempt: int, model: str, sink: JobSink, options: dict[str, Any] | None = None
    ) -> None:
        self.job = job
        self.attempt = attempt
        self.model = model
        self.sink = sink
        self.received = 0
        self.taken = 0
        self.acknowledged = 0
        self.wanted = True
        self.characters_left = MAX_CHARACTERS
        self._states_left = MAX_STATES
        self._events_left = _most_events(options or {})

    @property
    def started(self) -> bool:
        """Whether it wrote anything."""
        return self.characters_left < MAX_CHARACTERS

    def show(self, state: State) -> None:
        """Give a state to the sink, unless there were too many."""
        if self._states_left > 0:
            self._states_left -= 1
            self.sink.state(state)

    def count_vector(self, vector: tuple[float, ...]) -> bool:
        """Count a vector of this job. False if it is more than the job may write."""
        self.characters_left -= NUMBER_CHARACTERS * len(vector)
        return self.count("")

    def count(self, text: str) -> bool:
        """Count text of this job. False if it is more than the job may write."""
        self.characters_left -= len(text)
        self._events_left -= 1
        return self.characters_left >= 0 and self._events_left != 0


def _most_events(options: dict[str, Any]) -> int:
    """How many events a job with these options may write; below 0 for any number.

    Of two limits the wider counts. A limit that not every engine knows counts for nothing by itself: an agent whose engine
    goes by the other one violates nothing.
    """
    given = [options.get(LENGTH_OPTION), *(options[name] for name in OTHER_LENGTH_OPTIONS if name in options)]
    limits = [each for each in given if isinstance(each, int) and not isinstance(each, bool) and each > 0]
    return max(limits) * EVENTS_PER_TOKEN + SPARE_EVENTS if len(limits) == len(given) else -1
