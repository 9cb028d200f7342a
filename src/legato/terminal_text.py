"""Plain words for a terminal: what others wrote says nothing to the terminal itself."""

import re
import sys

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """Text without escape sequences and without anything that overwrites a line. Line ends and tabs stay."""
    return CONTROL.sub("", text)


def complain(sentence: str) -> None:
    """Say on stderr what is wrong. It may quote a server."""
    sys.stderr.write(f"legato: {harmless(sentence)}\n")
    sys.stderr.flush()
