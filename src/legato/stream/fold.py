"""What a log says, added up: the value that every viewer must arrive at."""

from collections.abc import Iterable
from typing import assert_never

from msgspec import Struct

from legato.stream.events import (
    Event,
    Failed,
    Finished,
    Reasoning,
    Rewound,
    State,
    Terminal,
    Text,
    ToolFinished,
    ToolStarted,
)


class ToolUse(Struct):
    """One run of a tool as a viewer sees it; `output` is None while it runs. `at` is where in the text it began."""

    call: str
    name: str
    arguments: str
    at: int
    output: str | None = None
    failed: bool = False


class Fold:
    """The sum of the events applied so far.

    Joined neighbours add up to the same as the single events: `Fold` of any sequence of batches that covers a log
    without gap or overlap equals `Fold` of the log.
    """

    __slots__ = ("_reasoning", "_text", "end", "state", "tools")

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self.tools: list[ToolUse] = []
        self.state: State | None = None
        self.end: Terminal | None = None
        for event in events:
            self.apply(event)

    @property
    def text(self) -> str:
        """The answer so far."""
        if len(self._text) > 1:
            self._text = ["".join(self._text)]
        return self._text[0] if self._text else ""

    @property
    def reasoning(self) -> str:
        """The thinking so far."""
        if len(self._reasoning) > 1:
            self._reasoning = ["".join(self._reasoning)]
        return self._reasoning[0] if self._reasoning else ""

    def apply(self, event: Event) -> None:
        """Add one event. After a terminal event nothing more counts."""
        if self.end is not None:
            return
        match event:
            case Text():
                self._text.append(event.text)
            case Reasoning():
                self._reasoning.append(event.text)
            case ToolStarted():
                self.tools.append(ToolUse(event.call, event.name, event.arguments, at=len(self.text)))
            case ToolFinished():
                for tool in self.tools:
                    if tool.call == event.call and tool.output is None:
                        tool.output, tool.failed = event.output, event.failed
                        break
            case State():
                self.state = event
            case Rewound():
                self._text, self._reasoning = [event.text], [event.reasoning]
            case Finished() | Failed():
                self.end = event
            case _:
                assert_never(event)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fold):
            return NotImplemented
        return (self.text, self.reasoning, self.tools, self.state, self.end) == (
            other.text,
            other.reasoning,
            other.tools,
            other.state,
            other.end,
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Fold(text={self.text!r}, reasoning={self.reasoning!r}, tools={self.tools!r}, state={self.state!r}, end={self.end!r})"
