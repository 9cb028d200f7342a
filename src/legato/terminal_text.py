"""Plain words for a terminal: what others wrote says nothing to the terminal itself."""

import re
import sys

from legato.characters import CONTROL, INVISIBLE

_UNSEEN = re.compile(rf"(?![\t\n])[{CONTROL}{INVISIBLE}]")


def harmless(text: str) -> str:
    """Return the text without what steers a terminal, overwrites a line or hides in it. Line ends and tabs stay."""
    return _UNSEEN.sub("", text)


def complain(sentence: str) -> None:
    """Say on stderr what is wrong. It may quote a server."""
    sys.stderr.write(f"legato: {harmless(sentence)}\n")
    sys.stderr.flush()
