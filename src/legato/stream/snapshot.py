"""The content of a log up to an offset: the value that every subscriber must arrive at."""

from collections.abc import Iterable
from typing import assert_never

from msgspec import Struct

from legato.stream.events import (
    Event,
    Failed,
    Finished,
    Reasoning,
    Rewound,
    Span,
    State,
    Terminal,
    Text,
    ToolAsked,
    ToolFinished,
    ToolStarted,
)


class ToolUse(Struct):
    """One run of a tool. `output` is None while the tool runs, or waits for a person's approval (`asking`).

    `at` is the position in the text at which it began. `refused`: it waited for approval and ended without it, so it never ran.
    """

    call: str
    name: str
    arguments: str
    at: int
    output: str | None = None
    failed: bool = False
    asking: bool = False
    refused: bool = False


class ReplySnapshot:
    """The text, reasoning, tool runs, state and end after the events applied so far.

    Text belongs to the model and agent that the last state of the phase `answering` names. Text that a rewind keeps stays
    with its writer.

    Joined events give the same as single ones: the snapshot of any sequence of batches that covers a log without gap or
    overlap equals the snapshot of the log.
    """

    __slots__ = ("_length", "_reasoning", "_starts", "_text", "_writer", "end", "state", "tools")

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._length = 0
        self._writer: tuple[str | None, str | None] = (None, None)
        self._starts: list[tuple[int, tuple[str | None, str | None]]] = []
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

    @property
    def spans(self) -> tuple[Span, ...]:
        """The writers of the text, from its first character to its last, without a gap."""
        ends = [start for start, _ in self._starts[1:]]
        return tuple(
            Span(start, end, *who)
            for (start, who), end in zip(self._starts, [*ends, self._length], strict=False)
        )

    def apply(self, event: Event) -> None:
        """Apply one event. Events after a terminal event change nothing."""
        if self.end is not None:
            return
        match event:
            case Text():
                self._write(event.text)
            case Reasoning():
                self._reasoning.append(event.text)
            case ToolAsked():
                use = ToolUse(event.call, event.name, event.arguments, at=len(self.text), asking=True)
                self.tools.append(use)
            case ToolStarted():
                for tool in self.tools:
                    if tool.call == event.call and tool.asking:
                        tool.asking = False
                        break
                else:
                    self.tools.append(ToolUse(event.call, event.name, event.arguments, at=len(self.text)))
            case ToolFinished():
                for tool in self.tools:
                    if tool.call == event.call and tool.output is None:
                        tool.output, tool.failed = event.output, event.failed
                        tool.refused, tool.asking = tool.asking, False
                        break
            case State():
                self.state = event
                if event.phase == "answering":
                    self._writer = (event.model, event.agent)
            case Rewound():
                self._cut(common_prefix_length(self.text, event.text))
                self._write(event.text[self._length :])
                self._reasoning = [event.reasoning]
            case Finished() | Failed():
                self.end = event
            case _:
                assert_never(event)

    def _write(self, text: str) -> None:
        if text:
            if not self._starts or self._starts[-1][1] != self._writer:
                self._starts.append((self._length, self._writer))
            self._text.append(text)
            self._length += len(text)

    def _cut(self, length: int) -> None:
        self._text, self._length = [self.text[:length]], length
        while self._starts and self._starts[-1][0] >= length:
            self._starts.pop()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ReplySnapshot):
            return NotImplemented
        return (self.text, self.spans, self.reasoning, self.tools, self.state, self.end) == (
            other.text,
            other.spans,
            other.reasoning,
            other.tools,
            other.state,
            other.end,
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ReplySnapshot(text={self.text!r}, reasoning={self.reasoning!r}, tools={self.tools!r}, state={self.state!r}, end={self.end!r})"


def common_prefix_length(one: str, other: str) -> int:
    """Return how many characters both texts begin with in common."""
    least = min(len(one), len(other))
    if one[:least] == other[:least]:
        return least
    return next(at for at, (mine, its) in enumerate(zip(one, other, strict=False)) if mine != its)
