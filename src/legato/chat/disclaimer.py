"""The disclaimer of an assistant. Only the server adds it, at the end of every reply with any text.

What the model writes passes here first. Where it writes the disclaimer itself, because it was asked to or has seen it, that
copy is left out, so that no prompt can bury the disclaimer in the middle, or have it stand there twice.
"""

from msgspec.structs import replace

from legato.domain.message import Message, TextPart
from legato.engines.base import ReplyWriter, TokenLogprob, ToolCall
from legato.stream import Log, ReplySnapshot, State, Text


class DisclaimerFilter:
    """A `ReplyWriter` before a reply. It writes through at once, except what is or may become a copy of the disclaimer.

    `withheld`: the model said it, and it was left out.
    """

    def __init__(self, reply: ReplyWriter, disclaimer: str | None) -> None:
        self._reply = reply
        self._disclaimer = disclaimer or ""
        self._held = self._tail = ""
        self._marks: dict[int, tuple[str, str]] = {}
        self.withheld = False

    def text(self, text: str) -> None:
        disclaimer = self._disclaimer
        if not disclaimer or not (self._held or self.withheld or disclaimer[0] in text):
            self._say(text)
            return
        # With the end of what was said: it and what stands behind a copy may be another, once that one is gone.
        said = len(self._tail)
        whole = self._tail + self._held + text
        while (at := whole.find(disclaimer)) >= 0:
            self.withheld = True
            whole = whole[: max(at, said)] + whole[at + len(disclaimer) :]
        free = max(said, len(whole) - _begun(whole, disclaimer))
        self._held = whole[free:]
        self._say(whole[said:free])

    def flush(self) -> None:
        """Write what was held: the model has ended, so it has not become the disclaimer."""
        held, self._held = self._held, ""
        self._say(held)

    def _say(self, text: str) -> None:
        if self._disclaimer:
            room = len(self._disclaimer) - 1
            self._tail = (self._tail + text)[-room:] if room else ""
        self._reply.text(text)

    def reasoning(self, text: str) -> None:
        self._reply.reasoning(text)

    def logprobs(self, tokens: tuple[TokenLogprob, ...]) -> None:
        self._reply.logprobs(tokens)

    def tool_call(self, call: ToolCall) -> None:
        self._reply.tool_call(call)

    def state(self, state: State) -> None:
        self._reply.state(state)

    def mark(self) -> int:
        mark = self._reply.mark()
        self._marks[mark] = (self._held, self._tail)
        return mark

    def rewind(self, to: int = 0) -> bool:
        if not self._reply.rewind(to):
            return False
        self._held, self._tail = self._marks.get(to, ("", ""))
        return True


def _begun(text: str, disclaimer: str) -> int:
    """Return how many characters at the end of `text` may be the beginning of `disclaimer`, and are not all of it."""
    at = max(0, len(text) - len(disclaimer) + 1)
    while (at := text.find(disclaimer[0], at)) >= 0:
        if disclaimer.startswith(text[at:]):
            return len(text) - at
        at += 1
    return 0


def disclaim(log: Log, disclaimer: str | None, withheld: bool = False) -> ReplySnapshot:
    """Append the disclaimer to the log, once, if the reply has any text. Return the snapshot after it."""
    snapshot = log.snapshot()
    if disclaimer and (snapshot.text.strip() or withheld) and not is_disclaimed(snapshot.text, disclaimer):
        log.append(Text(paragraph(snapshot.text, disclaimer)))
        return log.snapshot()
    return snapshot


def is_disclaimed(text: str, disclaimer: str | None) -> bool:
    """Return whether the server has appended the disclaimer: then the reply had ended."""
    return bool(disclaimer) and text.endswith(disclaimer or "")


def paragraph(text: str, disclaimer: str) -> str:
    """Return what to add to a text so that the disclaimer follows it after a blank line."""
    if not text or text.endswith("\n\n"):
        return disclaimer
    return f"\n{disclaimer}" if text.endswith("\n") else f"\n\n{disclaimer}"


def without_disclaimer(message: Message, disclaimer: str | None) -> Message:
    """Return an earlier reply as the model reads it: without the disclaimer, which it never wrote, and which would cost context and be repeated."""
    if not disclaimer or message.role != "assistant":
        return message
    parts = list(message.parts)
    for place in range(len(parts) - 1, -1, -1):
        part = parts[place]
        if isinstance(part, TextPart):
            if part.text.endswith(disclaimer):
                left = part.text.removesuffix(disclaimer).removesuffix("\n\n")
                parts[place : place + 1] = [TextPart(left)] if left else []
            break
    return replace(message, parts=tuple(parts))
