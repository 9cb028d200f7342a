"""Events as Hypothesis draws them, and a log so simple that it can be believed."""

import itertools
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from legato.stream import (
    Event,
    Failed,
    Finished,
    Reasoning,
    ReplySnapshot,
    State,
    Terminal,
    Text,
    ToolFinished,
    ToolStarted,
    ToolUse,
    Usage,
)

words = st.text(st.characters(codec="utf-8"), max_size=6)
calls = st.sampled_from(["1", "2", "3"])
phases = st.sampled_from(["queued", "loading", "reading", "answering"])

texts = st.builds(Text, words)
reasonings = st.builds(Reasoning, words)
names = st.sampled_from([None, "m", "n"])
states = st.builds(State, phases, names, names, place=st.none() | st.integers(1, 9), detail=st.none() | words)
tools = st.builds(ToolStarted, calls, words, words) | st.builds(ToolFinished, calls, words, st.booleans())
terminals: st.SearchStrategy[Terminal] = st.one_of(
    st.builds(Finished, st.sampled_from(["stop", "length", "stopped"]), st.none() | st.just(Usage(1, 2))),
    st.builds(Failed, words, words),
)

ordinary: st.SearchStrategy[Event] = st.one_of(texts, texts, texts, reasonings, states, tools)
"""What may stand in the middle of a log, but rewinds, which the log itself writes."""


@dataclass(frozen=True)
class Page:
    """All that a viewer knows at one offset."""

    text: str = ""
    writers: tuple[tuple[str | None, str | None], ...] = ()
    reasoning: str = ""
    tools: tuple[tuple[str, str, str, int, str | None, bool], ...] = ()
    state: State | None = None
    end: Terminal | None = None


@dataclass
class Book:
    """A log that keeps a whole page for every offset: nothing is joined, compacted or remembered."""

    pages: list[Page] = field(default_factory=lambda: [Page()])
    last_tool: int = 0
    writer: tuple[str | None, str | None] = (None, None)

    @property
    def next(self) -> int:
        return len(self.pages) - 1

    @property
    def last(self) -> Page:
        return self.pages[-1]

    def write(self, event: Event) -> None:
        page = self.last
        match event:
            case Text(text):
                writers = page.writers + (self.writer,) * len(text)
                page = replace(page, text=page.text + text, writers=writers)
            case Reasoning(text):
                page = replace(page, reasoning=page.reasoning + text)
            case State():
                page = replace(page, state=event)
                if event.phase == "answering":
                    self.writer = (event.model, event.agent)
            case ToolStarted(call, name, arguments):
                tool = (call, name, arguments, len(page.text), None, False)
                page = replace(page, tools=(*page.tools, tool))
            case ToolFinished(call, output, failed):
                page = replace(page, tools=self._finish(page.tools, call, output, failed))
            case Finished() | Failed():
                page = replace(page, end=event)
            case _:
                raise AssertionError(event)
        self.pages.append(page)
        if isinstance(event, ToolStarted | ToolFinished):
            self.last_tool = self.next

    def rewind(self, to: int) -> None:
        last, page = self.last, self.pages[to]
        pairs = zip(last.text, page.text, strict=False)
        same = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
        writers = last.writers[:same] + (self.writer,) * (len(page.text) - same)
        self.pages.append(replace(last, text=page.text, writers=writers, reasoning=page.reasoning))

    @staticmethod
    def _finish(
        tools: tuple[tuple[str, str, str, int, str | None, bool], ...], call: str, output: str, failed: bool
    ) -> tuple[tuple[str, str, str, int, str | None, bool], ...]:
        for i, tool in enumerate(tools):
            if tool[0] == call and tool[4] is None:
                return (*tools[:i], (*tool[:4], output, failed), *tools[i + 1 :])
        return tools


def page_of(fold: ReplySnapshot) -> Page:
    """A fold in the form of a page."""

    def row(tool: ToolUse) -> tuple[str, str, str, int, str | None, bool]:
        return (tool.call, tool.name, tool.arguments, tool.at, tool.output, tool.failed)

    writers: list[tuple[str | None, str | None]] = []
    for span in fold.spans:
        assert len(writers) == span.start < span.end, "they tile the text"
        writers += [(span.model, span.agent)] * (span.end - span.start)
    return Page(fold.text, tuple(writers), fold.reasoning, tuple(map(row, fold.tools)), fold.state, fold.end)
