"""What the terminal does with keys by itself."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden_control_characters() -> Iterator[None]:
    """Do not print `^C` for Ctrl-C: after a full line it would wrap, and the next frame would leave it on the screen."""
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
