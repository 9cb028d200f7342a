"""A job at an agent: what it wrote so far, and who hears it."""

from typing import Any, Protocol

from legato.engines.base import ToolCall
from legato.stream import State

MAX_CHARACTERS = 4_000_000
"""What one job may write, thinking included."""

LIMIT = "num_predict"
"""The option by which every engine is told how many tokens to write."""

OTHERS = ("max_tokens", "max_completion_tokens")
"""Names that some engines go by instead, and others never heard of."""

EXCESS = 4
"""An event is a token, or a part of one; more events than this for each token that was asked for are no mistake."""

SLACK = 16


class JobSink(Protocol):
    """Hears what a job writes, in order. Its calls are cheap and never raise."""

    def text(self, text: str) -> None: ...

    def reasoning(self, text: str) -> None: ...

    def tool_call(self, call: ToolCall) -> None: ...

    def state(self, state: State) -> None: ...


class JobAttempt:
    """One attempt of a job at one agent. `next` is the offset of the event that comes next, those below `told` were
    acknowledged. Once it is not `wanted` nobody hears it any more; `over`: its last event was taken."""

    __slots__ = ("_events", "attempt", "job", "model", "next", "over", "room", "sink", "told", "wanted")

    def __init__(
        self, job: str, attempt: int, model: str, sink: JobSink, options: dict[str, Any] | None = None
    ) -> None:
        self.job = job
        self.attempt = attempt
        self.model = model
        self.sink = sink
        self.next = 0
        self.told = 0
        self.wanted = True
        self.over = False
        self.room = MAX_CHARACTERS
        self._events = _most_events(options or {})

    @property
    def began(self) -> bool:
        """Whether it wrote anything."""
        return self.room < MAX_CHARACTERS

    def write(self, text: str) -> bool:
        """Text of this job; False where that is more than it can honestly have to say."""
        self.room -= len(text)
        self._events -= 1
        return self.room >= 0 and self._events != 0


def _most_events(options: dict[str, Any]) -> int:
    """How many events a job with these options may write; below 0 for any number.

    Of two limits the wider counts, and one that not every engine knows counts for nothing by itself: the agent is honest
    whose engine goes by the other.
    """
    told = [options.get(LIMIT), *(options[name] for name in OTHERS if name in options)]
    limits = [each for each in told if isinstance(each, int) and not isinstance(each, bool) and each > 0]
    return max(limits) * EXCESS + SLACK if len(limits) == len(told) else -1
