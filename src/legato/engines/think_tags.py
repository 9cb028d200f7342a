"""Separate reasoning that a model writes into its text, in tags or channels, from the answer.

Servers do this for models whose template declares it, unless they were asked to switch reasoning off. Ollama with
`think = false`, and servers without a parser for the model, pass the tags on as text.
"""

from typing import Literal

from legato.engines.base import ReplyWriter, TokenLogprob, ToolCall
from legato.engines.harmony import START, HarmonyParser, HarmonyPiece
from legato.stream import State

TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "[think]": "[/think]",
    "<seed:think>": "</seed:think>",
    "◁think▷": "◁/think▷",
    "<|start_thinking|>": "<|end_thinking|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel>thought": "<channel|>",
}
"""Opening tags of reasoning and their closing tags, in any case."""

CLOSING = ("</think>", "</thinking>", "[/think]", "</seed:think>", "◁/think▷", "<|end_thinking|>")
"""Tags that close reasoning also without an opening tag, which a template may have written into the prompt."""

_WATCHED = 1024 * 1024
_MENTIONS = 8


class ThinkTagParser:
    """A `ReplyWriter` in front of another one. A text that begins with `<think>` is reasoning up to `</think>`; the same holds for
    the other `TAGS`, and for the channels of gpt-oss.

    A text without an opening tag is written as the answer at once. If a closing tag follows, the text is removed and becomes
    reasoning. If `out` cannot remove it, the tag is written unchanged, for a parser behind it. A tag in quotes or in code is
    text.

    It holds back only what may be a tag. Call `finish` when the reply has ended, also after a failure. If the reply continues
    an existing text (`goes_on`), that text has its beginning.
    """

    __slots__ = ("_calls", "_close", "_harmony", "_held", "_mentions", "_out", "_phase", "_size", "_spoken")

    def __init__(self, out: ReplyWriter, *, goes_on: bool = False) -> None:
        self._out = out
        self._held: list[str] = []
        self._close = ""
        self._spoken: list[str] = []
        self._size = 0
        self._mentions = 0
        self._calls = 0
        self._harmony = HarmonyParser()
        self._phase: Literal[
            "beginning", "thinking", "thought", "told", "watching", "channels", "speaking"
        ] = "speaking" if goes_on else "beginning"

    def text(self, text: str) -> None:
        if not text or self._phase == "speaking":
            self._out.text(text)
            return
        if (
            self._phase == "watching"
            and not self._held
            and "<" not in text
            and "[" not in text
            and "◁" not in text
        ):
            # The common case of `_watch`, without a call: no tag begins here.
            self._show(text)
            return
        match self._phase:
            case "beginning":
                self._begin(text)
            case "thinking":
                self._think(text)
            case "thought":
                self._speak(text)
            case "told":
                self._go_on(text)
            case "watching":
                self._watch(text)
            case "channels":
                self._write(self._harmony.feed(text))

    def reasoning(self, text: str) -> None:
        """Pass on reasoning that the server separated itself."""
        if self._phase != "told":
            self.finish()
            self._phase = "told"
        self._out.reasoning(text)

    def logprobs(self, tokens: tuple[TokenLogprob, ...]) -> None:
        self._out.logprobs(tokens)

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
        """Write what was held back, because no more text comes."""
        held, self._held = self._held, []
        write = self._out.reasoning if self._phase == "thinking" else self._out.text
        if self._phase == "channels":
            self._write(self._harmony.end())
        self._phase = "speaking"
        self._spoken.clear()
        for piece in held:
            write(piece)

    def _begin(self, text: str) -> None:
        self._held.append(text)
        said = "".join(self._held).lstrip()
        low = said[: max(map(len, TAGS))].lower()
        opened = max((tag for tag in TAGS if low.startswith(tag)), key=len, default="")
        if opened:
            self._held.clear()
            self._phase, self._close = "thinking", TAGS[opened]
            self._think(said[len(opened) :])
        elif closed := _closing(low):
            self._held.clear()
            self._phase = "thought"
            self._speak(said[len(closed) :])
        elif said.startswith(START):
            self._held.clear()
            self._phase = "channels"
            self._write(self._harmony.feed(said))
        elif not any(tag.startswith(low) for tag in (*TAGS, *CLOSING, *START)):
            held, self._held = self._held, []
            self._phase = "watching"
            for piece in held:
                self._watch(piece)

    def _think(self, text: str) -> None:
        text = "".join(self._held) + text
        self._held.clear()
        at = _find(text, self._close)
        thought, said = (text, "") if at < 0 else (text[:at], text[at + len(self._close) :])
        if at < 0 and (tail := _start_of_a_tag(thought, (self._close,))):
            self._held.append(tail)
            thought = thought.removesuffix(tail)
        if thought:
            self._out.reasoning(thought)
        if at >= 0:
            self._phase = "thought"
            self._speak(said)

    def _speak(self, text: str) -> None:
        """Write the answer, without the blank line after the reasoning."""
        if said := text.lstrip():
            self._phase = "speaking"
            self._out.text(said)

    def _go_on(self, text: str) -> None:
        """Handle a closing tag before the answer, which a server that separates reasoning may leave there."""
        self._held.append(text)
        said = "".join(self._held)
        low = said.lstrip()[: max(map(len, CLOSING))].lower()
        if closed := _closing(low):
            self._held.clear()
            self._phase = "thought"
            self._speak(said.lstrip()[len(closed) :])
        elif not any(tag.startswith(low) for tag in CLOSING):
            self.finish()

    def _watch(self, text: str) -> None:
        """Write text, and look for a closing tag without an opening one."""
        held = "".join(self._held)
        self._held.clear()
        text = held + text
        found = [(at, tag) for tag in CLOSING if (at := _find(text, tag)) >= 0]
        if not found:
            tail = _start_of_a_tag(text, CLOSING)
            if tail:
                self._held.append(tail)
            self._show(text.removesuffix(tail))
            return
        at, tag = min(found)
        thought = "".join(self._spoken) + text[:at]
        if not _is_mention(thought) and self._out.rewind():
            self._spoken.clear()
            self._phase = "thought"
            self._out.reasoning(thought)
            self._speak(text[at + len(tag) :])
            return
        self._mentions += 1
        self._show(text[: at + len(tag)])
        if rest := text[at + len(tag) :]:
            self.text(rest)

    def _show(self, text: str) -> None:
        if not text:
            return
        self._spoken.append(text)
        self._size += len(text)
        if self._size > _WATCHED or self._mentions >= _MENTIONS:
            self._phase = "speaking"
            self._spoken.clear()
        self._out.text(text)

    def _write(self, pieces: list[HarmonyPiece]) -> None:
        for piece in pieces:
            match piece.kind:
                case "text":
                    self._out.text(piece.text)
                case "thinking":
                    self._out.reasoning(piece.text)
                case "call":
                    self._calls += 1
                    self._out.tool_call(ToolCall(f"call_{self._calls}", piece.name, piece.text or "{}"))


def _closing(text: str) -> str:
    return next((tag for tag in CLOSING if text.startswith(tag)), "")


def _is_mention(before: str) -> bool:
    """Return whether a closing tag after this text is only mentioned: in quotes, in code, or after its own opening tag."""
    if before.endswith(("`", '"', "'", "“", "‘", "«")) or before.count("```") % 2:
        return True
    if before.rpartition("\n")[2].count("`") % 2:
        return True
    low = before.lower()
    return any(tag in low for tag in TAGS)


def _find(text: str, tag: str) -> int:
    """Return the index of a tag in the text, in any case; -1 if it is not there."""
    at = text.find(tag)
    if at >= 0 or tag[0] not in text:
        return at
    at = text.find(tag[0])
    while at >= 0:
        if text[at : at + len(tag)].lower() == tag:
            return at
        at = text.find(tag[0], at + 1)
    return -1


def _start_of_a_tag(text: str, tags: tuple[str, ...]) -> str:
    """Return the longest end of the text with which one of the tags may begin."""
    longest = max(map(len, tags)) - 1
    if not any(tag[0] in text[-longest:] for tag in tags):
        return ""
    for length in range(min(longest, len(text)), 0, -1):
        end = text[-length:].lower()
        if any(len(tag) > length and tag.startswith(end) for tag in tags):
            return text[-length:]
    return ""
