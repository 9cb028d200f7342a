"""A reply on a terminal, while it is written: Markdown that grows, with what is finished left alone."""

import re
import time
from collections.abc import Callable, Iterable

from markdown_it import MarkdownIt
from msgspec import Struct
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment
from rich.text import Text

from legato.stream import Failed, Finished, Fold, State, Terminal

FRAME = 0.05
"""Seconds between two pictures, at least; and four times what one costs, so that a slow terminal is not kept busy."""

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_parse = MarkdownIt("commonmark").enable("table").parse


class Look(Struct, frozen=True):
    """A reply at one moment. `waiting` says in words what it waits for, `lost` that the server is away."""

    text: str = ""
    waiting: str = ""
    lost: str = ""
    end: Terminal | None = None


def look_of(fold: Fold, lost: str) -> Look:
    thinking = bool(fold.reasoning) and not fold.text
    return Look(fold.text, "" if fold.text else words(fold.state, thinking), lost, fold.end)


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


def harmless(text: str) -> str:
    """Text that says nothing to the terminal itself: no escape sequences, nothing that overwrites a line."""
    return CONTROL.sub("", text)


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


class _Tail:
    """The last lines of something, as many as the terminal has room for."""

    def __init__(self, whole: RenderableType, below: Iterable[str]) -> None:
        self._whole = whole
        self._below = [Text(line, style="dim") for line in below if line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._whole, options, pad=False)
        room = max(1, options.size.height - 2 - len(self._below))
        for line in lines[-room:]:
            yield from line
            yield Segment.line()
        yield from self._below


class Screen:
    """`pause` waits so many seconds; tests do not."""

    def __init__(self, console: Console, pause: Callable[[float], None] = time.sleep) -> None:
        self._console = console
        self._pause = pause

    def say(self, sentence: str, style: str = "dim") -> None:
        self._console.print(Text(harmless(sentence), style=style))

    def person(self, text: str) -> None:
        """What a person said before."""
        self._console.print(Text(f"> {harmless(text)}", style="bold"))

    def reply(self, text: str) -> None:
        """What was answered before."""
        self._console.print(markdown(harmless(text)))

    def play(self, look: Callable[[], Look], stop: Callable[[], None]) -> Look:
        """Show a reply until it ends. The first Ctrl-C asks to `stop` it, the second one is passed on."""
        shown, stopping, lost, before = "", False, "", ("", "")
        with Live(console=self._console, transient=True, auto_refresh=False) as live:
            while True:
                try:
                    now, began = look(), time.perf_counter()
                    text = harmless(now.text)
                    # A reply that is told anew is short for a moment; what it says then may well be the same.
                    if not text.startswith(shown) and (now.end is not None or not shown.startswith(text)):
                        self.say("The reply starts over.")
                        shown = ""
                    if lost and not now.lost:
                        self.say("Connected again.")
                    lost = now.lost
                    if now.end is not None:
                        break
                    if ready := settled(text[len(shown) :]):
                        self._console.print(markdown(text[len(shown) :][:ready]))
                        self._console.print()
                        shown = text[: len(shown) + ready]
                    picture = (text[len(shown) :], lost or ("" if text else f"{now.waiting} …"))
                    if picture != before:
                        live.update(_Tail(markdown(picture[0]), [picture[1]]), refresh=True)
                        before = picture
                    self._pause(max(FRAME, 4 * (time.perf_counter() - began)))
                except KeyboardInterrupt:
                    if stopping:
                        raise
                    stopping = True
                    stop()
        if rest := text[len(shown) :]:
            self._console.print(markdown(rest))
        self._ending(now.end)
        return now

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
