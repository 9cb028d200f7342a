"""A reply on a terminal while it is written: growing Markdown of which finished blocks are not drawn again."""

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

from legato.cli.tty import hidden_control_characters
from legato.stream import Failed, Finished, ReplySnapshot, State, Terminal, ToolUse
from legato.terminal_text import harmless

FRAME_SECONDS = 0.05
"""Minimum seconds between two frames; and at least four times what a frame costs, so that a slow terminal is not kept busy."""

POLL_SECONDS = 0.2
"""Seconds between two checks whether a question to the person is still open."""

MAX_LINE = 300
"""Characters of a tool call, or of its error, that are shown."""

_parse = MarkdownIt("commonmark").enable("table").parse


class MessageLayout(Struct, frozen=True):
    """A reply at one moment. `waiting` says what it waits for, `lost` that the server is unreachable."""

    text: str = ""
    waiting: str = ""
    lost: str = ""
    end: Terminal | None = None
    tools: tuple[ToolUse, ...] = ()


def layout_of(snapshot: ReplySnapshot, lost: str) -> MessageLayout:
    thinking = bool(snapshot.reasoning) and not snapshot.text
    tools = tuple(structs.replace(each) for each in snapshot.tools)
    if tools and tools[-1].output is None:
        waiting = f"{tools[-1].name} is running"
    else:
        waiting = "" if snapshot.text else state_text(snapshot.state, thinking)
    return MessageLayout(snapshot.text, waiting, lost, snapshot.end, tools)


def tool_line(tool: ToolUse) -> str:
    """Return a tool and its arguments on one line."""
    return one_line(f"{tool.name} {tool.arguments}")


def one_line(text: str) -> str:
    """Return text on one line of limited length."""
    line = harmless(" ".join(text.split()))
    return line if len(line) <= MAX_LINE else f"{line[: MAX_LINE - 2]} …"


def state_text(state: State | None, thinking: bool = False) -> str:
    """Describe for a person what a reply waits for."""
    if thinking:
        return "Thinking"
    if state is None:
        return "Waiting"
    share = f", {state.progress:.0%}" if state.progress is not None else ""
    match state.phase:
        case "queued":
            place = f", {ordinal(state.place)} in line" if state.place is not None else " for a place"
            text = f"Waiting{place}"
        case "loading":
            text = f"Loading {state.model or 'the model'}{share}"
        case "reading":
            text = f"Reading the prompt{share}"
        case "answering":
            text = "Answering"
    return f"{text}. {state.detail}" if state.detail else text


def ordinal(number: int) -> str:
    """Return 1st, 2nd, 3rd, 4th … 11th …"""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def settled(text: str) -> int:
    """Return the number of characters of Markdown that later text cannot change: all blocks but the last two."""
    begins = [token.map[0] for token in _parse(text) if token.level == 0 and token.map and token.nesting >= 0]
    if len(begins) < 3:
        return 0
    lines = text.splitlines(keepends=True)
    return sum(map(len, lines[: begins[-2]]))


def markdown(text: str) -> Markdown:
    # Links show their target.
    return Markdown(text, hyperlinks=False)


def read_line(is_wanted: Callable[[], bool]) -> str | None:
    """Return the line that the person types, empty for Ctrl-D; None if it is not wanted any more."""
    if sys.platform == "win32":
        return sys.stdin.readline()
    while is_wanted():
        # Wait briefly each time: a Ctrl-C just before a wait is handled only after it.
        if select.select([sys.stdin], [], [], POLL_SECONDS)[0]:
            return sys.stdin.readline()
    return None


class _TextTail:
    """The last lines of a text, as many as fit on the terminal."""

    def __init__(self, whole: RenderableType, below: Iterable[str]) -> None:
        self._whole = whole
        self._below = [Text(one_line(line), style="dim") for line in below if line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._whole, options, pad=False)
        room = max(1, options.size.height - 2 - len(self._below))
        for line in lines[-room:]:
            yield from line
            yield Segment.line()
        yield from self._below


def _ignore(call: str, allow: bool) -> None:
    """Do nothing."""


class Screen:
    """Prints to the terminal. `pause` waits for so many seconds; tests replace it."""

    def __init__(self, console: Console, pause: Callable[[float], None] = time.sleep) -> None:
        self._console = console
        self._pause = pause

    def say_unwrapped(self, sentence: str) -> None:
        """Print a sentence that contains text to copy: it is not wrapped, however narrow the screen."""
        self._console.print(Text(harmless(sentence), style="dim"), soft_wrap=True)

    def say(self, sentence: str, style: str = "dim") -> None:
        self._console.print(Text(harmless(sentence), style=style))

    def user_message(self, text: str) -> None:
        """Print an earlier message of the user."""
        self._console.print(Text(f"> {harmless(text)}", style="bold"))

    def reply(self, text: str) -> None:
        """Print an earlier reply."""
        self._console.print(markdown(harmless(text)))

    def play(
        self,
        look: Callable[[], MessageLayout],
        stop: Callable[[], None],
        approve: Callable[[str, bool], None] = _ignore,
    ) -> MessageLayout:
        """Show a reply until it ends. The first Ctrl-C calls `stop`, the second one is passed on.

        `approve` receives the call of a tool that waits for approval, and whether it may run.
        """
        stopping = False
        with (
            hidden_control_characters(),
            Live(console=self._console, transient=True, auto_refresh=False) as live,
        ):
            showing = _LiveReply(self, self._console, live, look, approve)
            while True:
                try:
                    now, began = look(), time.perf_counter()
                    showing.show(now)
                    if now.end is not None:
                        break
                    self._pause(max(FRAME_SECONDS, 4 * (time.perf_counter() - began)))
                except KeyboardInterrupt:
                    if stopping:
                        raise
                    stopping = True
                    stop()
        showing.print(harmless(now.text))
        self._show_end(now.end)
        return now

    def ask_approval(self, tool: ToolUse, asks: Callable[[], bool]) -> bool | None:
        """Ask the person whether the tool may run. Return None if it no longer `asks`, because another person answered."""
        self._console.print(Text(f"{tool_line(tool)}\nMay this tool run? [y/N]", style="yellow"), end=" ")
        line = read_line(asks)
        if line is None or not line.endswith("\n"):
            self._console.print()
        return None if line is None else line.strip().lower() in ("y", "yes")

    def tool_result(self, tool: ToolUse) -> None:
        """Print that a tool has returned."""
        self.say(f"{'✗' if tool.failed else '✓'} {tool_line(tool)}")
        if tool.failed:
            self.say(f"  {one_line(tool.output or '')}", "red")

    def _show_end(self, end: Terminal) -> None:
        match end:
            case Failed(message=message):
                self.say(message, "red")
            case Finished(reason="stopped"):
                self.say("Stopped.")
            case Finished(reason="length"):
                self.say("It is longer than it may be, and ends here.")
            case _:
                pass


class _LiveReply:
    """One reply. `_above` is the final text, with the first `_tools_shown` tools; what may still change is below it."""

    def __init__(
        self,
        screen: Screen,
        console: Console,
        live: Live,
        look: Callable[[], MessageLayout],
        approve: Callable[[str, bool], None],
    ) -> None:
        self._screen = screen
        self._console = console
        self._live = live
        self._look = look
        self._approve = approve
        self._above = ""
        self._tools_shown = 0
        self._asked_calls: set[str] = set()
        self._lost = ""
        self._below = ("", "")

    def show(self, now: MessageLayout) -> None:
        text = harmless(now.text)
        # A reply that is sent again is short for a moment, and may then be the same.
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
        """Print the text up to this point for good."""
        if len(text) > len(self._above):
            self._console.print(markdown(text[len(self._above) :]))
            self._above = text

    def _tools(self, now: MessageLayout) -> None:
        for tool in now.tools[self._tools_shown :]:
            asks = tool.asking and now.end is None and tool.call not in self._asked_calls
            if tool.output is None and not asks:
                return
            self.print(harmless(now.text[: tool.at]))
            if asks:
                self._ask(tool)
                return
            self._screen.tool_result(tool)
            self._tools_shown += 1

    def _ask(self, tool: ToolUse) -> None:
        def asks() -> bool:
            now = self._look()
            return now.end is None and any(each.asking and each.call == tool.call for each in now.tools)

        self._asked_calls.add(tool.call)
        self._live.stop()
        try:
            allowed = self._screen.ask_approval(tool, asks)
        finally:
            self._live.start()
        if allowed is not None:
            self._approve(tool.call, allowed)
