"""What a model thinks in tags at the beginning of its text, told apart from what it says.

Servers do that for models whose template says so, and where they were not asked to switch thinking off: Ollama with
`think = false`, and servers without a parser for the model, let the tags through as text.
"""

from typing import Literal

from legato.engines.base import ReplyWriter, ToolCall
from legato.stream import State

OPEN, CLOSE = "<think>", "</think>"


class ThinkTagParser:
    """An `Out` in front of another. A text that begins with `<think>` is reasoning up to `</think>`; all else goes through.

    Nothing is held back but what may still turn out to be a tag. Call `finish` when the reply has ended. A reply that goes
    on behind a text (`goes_on`) has its beginning behind it.
    """

    __slots__ = ("_held", "_out", "_phase")

    def __init__(self, out: ReplyWriter, *, goes_on: bool = False) -> None:
        self._out = out
        self._held: list[str] = []
        self._phase: Literal["beginning", "thinking", "thought", "speaking"] = (
            "speaking" if goes_on else "beginning"
        )

    def text(self, text: str) -> None:
        if not text:
            self._out.text(text)
            return
        match self._phase:
            case "speaking":
                self._out.text(text)
            case "beginning":
                self._begin(text)
            case "thinking":
                self._think(text)
            case "thought":
                self._speak(text)

    def reasoning(self, text: str) -> None:
        """The server tells it apart itself."""
        self.finish()
        self._out.reasoning(text)

    def tool_call(self, call: ToolCall) -> None:
        self.finish()
        self._out.tool_call(call)

    def state(self, state: State) -> None:
        self._out.state(state)

    def mark(self) -> int:
        return self._out.mark()

    def rewind(self, to: int = 0) -> bool:
        return self._out.rewind(to)

    def finish(self) -> None:
        """No more text comes: what was held back is what it looks like."""
        held, self._held = self._held, []
        write = self._out.reasoning if self._phase == "thinking" else self._out.text
        self._phase = "speaking"
        for piece in held:
            write(piece)

    def _begin(self, text: str) -> None:
        self._held.append(text)
        said = "".join(self._held).lstrip()
        if said.startswith(OPEN):
            self._held.clear()
            self._phase = "thinking"
            self._think(said[len(OPEN) :])
        elif not OPEN.startswith(said):
            self.finish()

    def _think(self, text: str) -> None:
        thought, closed, said = ("".join(self._held) + text).partition(CLOSE)
        self._held.clear()
        if not closed and (tail := _start_of_a_tag(thought)):
            self._held.append(tail)
            thought = thought.removesuffix(tail)
        if thought:
            self._out.reasoning(thought)
        if closed:
            self._phase = "thought"
            self._speak(said)

    def _speak(self, text: str) -> None:
        """The blank line behind the thinking is not part of the answer."""
        if said := text.lstrip():
            self._phase = "speaking"
            self._out.text(said)


def _start_of_a_tag(text: str) -> str:
    """The longest end of the text with which `</think>` may begin."""
    for length in range(min(len(CLOSE) - 1, len(text)), 0, -1):
        if text.endswith(CLOSE[:length]):
            return text[-length:]
    return ""
