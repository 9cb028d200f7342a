"""Tools without a model: a line `!tool NAME {…}` of the last message makes `demo:echo` call one."""

import re

from legato.domain.message import ToolResultPart, text_of
from legato.engines.base import Request, ToolCall

_LINE = re.compile(r"^!tool +(\S+)[ \t]*(.*)$", re.MULTILINE)


def calls_of(request: Request) -> list[ToolCall]:
    """Return the tool calls of the last message, one for each such line, in order; nothing if no tools are offered."""
    if not request.tools or results_of(request) is not None:
        return []
    prompt = next((text_of(turn.parts) for turn in reversed(request.turns) if turn.role == "user"), "")
    return [
        ToolCall(f"call_{number}", found[1], found[2].strip() or "{}")
        for number, found in enumerate(_LINE.finditer(prompt), start=1)
    ]


def results_of(request: Request) -> str | None:
    """Return the results after the last message, a paragraph each; None if there are none."""
    text: list[str] = []
    for turn in reversed(request.turns):
        if turn.role == "user":
            break
        text = [part.output for part in turn.parts if isinstance(part, ToolResultPart)] + text
    return "\n\n".join(text) if text else None
