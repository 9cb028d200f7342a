"""What the terminal does with keys of its own accord."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unseen_controls() -> Iterator[None]:
    """Ctrl-C leaves no `^C` on the screen: behind a line of full width it would wrap, and what is drawn anew would stay."""
    try:
        import termios
    except ImportError:
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    changed = [*before]
    changed[3] &= ~termios.ECHOCTL
    try:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, changed)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
