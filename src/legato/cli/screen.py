"""A reply on a terminal, while it is written: Markdown that grows, with what is finished left alone."""

import select
import sys
import time
from collections.abc import Callable, Iterable

from markdown_it import MarkdownIt
from msgspec import Struct, structs
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment
from rich.text import Text

from legato.cli.tty import unseen_controls
from legato.stream import Failed, Finished, ReplySnapshot, State, Terminal, ToolUse
from legato.terminal_text import harmless

FRAME = 0.05
"""Seconds between two pictures, at least; and four times what one costs, so that a slow terminal is not kept busy."""

WAIT = 0.2
"""Seconds between two looks at whether a question to the person still stands."""

LINE = 300
"""Characters of what a tool is to do, or of why it failed, that are shown."""

_parse = MarkdownIt("commonmark").enable("table").parse


class MessageLayout(Struct, frozen=True):
    """A reply at one moment. `waiting` says in words what it waits for, `lost` that the server is away."""

    text: str = ""
    waiting: str = ""
    lost: str = ""
    end: Terminal | None = None
    tools: tuple[ToolUse, ...] = ()


def look_of(fold: ReplySnapshot, lost: str) -> MessageLayout:
    thinking = bool(fold.reasoning) and not fold.text
    tools = tuple(structs.replace(each) for each in fold.tools)
    if tools and tools[-1].output is None:
        waiting = f"{tools[-1].name} is running"
    else:
        waiting = "" if fold.text else words(fold.state, thinking)
    return MessageLayout(fold.text, waiting, lost, fold.end, tools)


def use_of(tool: ToolUse) -> str:
    """A tool and what it is to do, on a line."""
    return shortened(f"{tool.name} {tool.arguments}")


def shortened(text: str) -> str:
    """On a line, with an end."""
    line = harmless(" ".join(text.split()))
    return line if len(line) <= LINE else f"{line[: LINE - 2]} …"


def words(state: State | None, thinking: bool = False) -> str:
    """What a reply is waiting for, as a person says it."""
    if thinking:
        return "Thinking"
    if state is None:
        return "Waiting"
    share = f", {state.progress:.0%}" if state.progress is not None else ""
    match state.phase:
        case "queued":
            place = f", {ordinal(state.place)} in line" if state.place is not None else " for a place"
            said = f"Waiting{place}"
        case "loading":
            said = f"Loading {state.model or 'the model'}{share}"
        case "reading":
            said = f"Reading the prompt{share}"
        case "answering":
            said = "Answering"
    return f"{said}. {state.detail}" if state.detail else said


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th … 11th …"""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def settled(text: str) -> int:
    """How many characters of Markdown will look as they do whatever is still to come: all blocks but the last two."""
    begins = [token.map[0] for token in _parse(text) if token.level == 0 and token.map and token.nesting >= 0]
    if len(begins) < 3:
        return 0
    lines = text.splitlines(keepends=True)
    return sum(map(len, lines[: begins[-2]]))


def markdown(text: str) -> Markdown:
    # A link shows where it leads.
    return Markdown(text, hyperlinks=False)


def typed(wanted: Callable[[], bool]) -> str | None:
    """The line that the person types, Ctrl-D an empty one; None once it is not `wanted` any more."""
    if sys.platform == "win32":
        return sys.stdin.readline()
    while wanted():
        # In short waits, for a Ctrl-C that comes right before one is heard only behind it.
        if select.select([sys.stdin], [], [], WAIT)[0]:
            return sys.stdin.readline()
    return None


class _TextTail:
    """The last lines of something, as many as the terminal has room for."""

    def __init__(self, whole: RenderableType, below: Iterable[str]) -> None:
        self._whole = whole
        self._below = [Text(shortened(line), style="dim") for line in below if line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._whole, options, pad=False)
        room = max(1, options.size.height - 2 - len(self._below))
        for line in lines[-room:]:
            yield from line
            yield Segment.line()
        yield from self._below


def _nobody(call: str, allow: bool) -> None:
    """There is nobody to tell."""


class Screen:
    """`pause` waits so many seconds; tests do not."""

    def __init__(self, console: Console, pause: Callable[[float], None] = time.sleep) -> None:
        self._console = console
        self._pause = pause

    def copied(self, sentence: str) -> None:
        """A sentence of which a part is to be copied: no line ends in it, however narrow the screen."""
        self._console.print(Text(harmless(sentence), style="dim"), soft_wrap=True)

    def say(self, sentence: str, style: str = "dim") -> None:
        self._console.print(Text(harmless(sentence), style=style))

    def person(self, text: str) -> None:
        """What a person said before."""
        self._console.print(Text(f"> {harmless(text)}", style="bold"))

    def reply(self, text: str) -> None:
        """What was answered before."""
        self._console.print(markdown(harmless(text)))

    def play(
        self,
        look: Callable[[], MessageLayout],
        stop: Callable[[], None],
        word: Callable[[str, bool], None] = _nobody,
    ) -> MessageLayout:
        """Show a reply until it ends. The first Ctrl-C asks to `stop` it, the second one is passed on.

        `word` is told the call of a tool that waits for a person's, and whether it may run.
        """
        stopping = False
        with unseen_controls(), Live(console=self._console, transient=True, auto_refresh=False) as live:
            showing = _Showing(self, self._console, live, look, word)
            while True:
                try:
                    now, began = look(), time.perf_counter()
                    showing.show(now)
                    if now.end is not None:
                        break
                    self._pause(max(FRAME, 4 * (time.perf_counter() - began)))
                except KeyboardInterrupt:
                    if stopping:
                        raise
                    stopping = True
                    stop()
        showing.print(harmless(now.text))
        self._ending(now.end)
        return now

    def allows(self, tool: ToolUse, asks: Callable[[], bool]) -> bool | None:
        """Ask the person at the terminal whether it may run. None where it `asks` no more: somebody else has said it."""
        self._console.print(Text(f"{use_of(tool)}\nMay this tool run? [y/N]", style="yellow"), end=" ")
        line = typed(asks)
        if line is None or not line.endswith("\n"):
            self._console.print()
        return None if line is None else line.strip().lower() in ("y", "yes")

    def used(self, tool: ToolUse) -> None:
        """A tool has come back."""
        self.say(f"{'✗' if tool.failed else '✓'} {use_of(tool)}")
        if tool.failed:
            self.say(f"  {shortened(tool.output or '')}", "red")

    def _ending(self, end: Terminal) -> None:
        match end:
            case Failed(message=message):
                self.say(message, "red")
            case Finished(reason="stopped"):
                self.say("Stopped.")
            case Finished(reason="length"):
                self.say("It is longer than it may be, and ends here.")
            case _:
                pass


class _Showing:
    """One reply: `_above` is the text that stands for good, with the first `_told` tools; below it is what may still change."""

    def __init__(
        self,
        screen: Screen,
        console: Console,
        live: Live,
        look: Callable[[], MessageLayout],
        word: Callable[[str, bool], None],
    ) -> None:
        self._screen = screen
        self._console = console
        self._live = live
        self._look = look
        self._word = word
        self._above = ""
        self._told = 0
        self._asked: set[str] = set()
        self._lost = ""
        self._below = ("", "")

    def show(self, now: MessageLayout) -> None:
        text = harmless(now.text)
        # A reply that is told anew is short for a moment; what it says then may well be the same.
        if not text.startswith(self._above) and (now.end is not None or not self._above.startswith(text)):
            self._screen.say("The reply starts over.")
            self._above = ""
        if self._lost and not now.lost:
            self._screen.say("Connected again.")
        self._lost = now.lost
        self._tools(now)
        if now.end is not None:
            return
        if ready := settled(text[len(self._above) :]):
            self.print(text[: len(self._above) + ready])
            self._console.print()
        below = (text[len(self._above) :], now.lost or (f"{now.waiting} …" if now.waiting else ""))
        if below != self._below:
            self._live.update(_TextTail(markdown(below[0]), [below[1]]), refresh=True)
            self._below = below

    def print(self, text: str) -> None:
        """Let the text stand for good, up to here."""
        if len(text) > len(self._above):
            self._console.print(markdown(text[len(self._above) :]))
            self._above = text

    def _tools(self, now: MessageLayout) -> None:
        for tool in now.tools[self._told :]:
            asks = tool.asking and now.end is None and tool.call not in self._asked
            if tool.output is None and not asks:
                return
            self.print(harmless(now.text[: tool.at]))
            if asks:
                self._ask(tool)
                return
            self._screen.used(tool)
            self._told += 1

    def _ask(self, tool: ToolUse) -> None:
        def asks() -> bool:
            now = self._look()
            return now.end is None and any(each.asking and each.call == tool.call for each in now.tools)

        self._asked.add(tool.call)
        self._live.stop()
        try:
            allowed = self._screen.allows(tool, asks)
        finally:
            self._live.start()
        if allowed is not None:
            self._word(tool.call, allowed)
