"""Text for the answers of commands, as Markdown."""

import math


def code(text: str) -> str:
    """Return text as inline code, on one line."""
    plain = " ".join(text.replace("`", "'").split())
    return f"`{plain}`" if plain else ""


def escaped(text: str) -> str:
    """Return a user's text for the inside of a line: it stays on the line, and is no markup."""
    return "".join("\\" + each if each in "\\`*_[]<>#|~!" else each for each in " ".join(text.split()))


def fenced(text: str, language: str) -> str:
    """Return a block of code that nothing inside of it can end."""
    longest, run = 2, 0
    for each in text:
        run = run + 1 if each == "`" else 0
        longest = max(longest, run)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def span(seconds: float) -> str:
    """Return a time in words, rounded up to whole minutes, hours or days."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = math.ceil(seconds / length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{math.ceil(seconds)} seconds"
