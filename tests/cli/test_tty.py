import io
import os
import pty
import sys
import termios

import pytest

from legato.cli.tty import hidden_control_characters


def test_the_terminal_is_left_as_it_was_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r+b", buffering=0) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        before = termios.tcgetattr(theirs)
        with hidden_control_characters():
            assert not termios.tcgetattr(theirs)[3] & termios.ECHOCTL
        assert termios.tcgetattr(theirs) == before
        with pytest.raises(KeyboardInterrupt), hidden_control_characters():
            raise KeyboardInterrupt
        assert termios.tcgetattr(theirs) == before
    os.close(ours)


def test_what_is_no_terminal_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with hidden_control_characters():
        pass
