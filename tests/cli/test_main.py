import subprocess
import sys
from typing import Any

import pytest

from legato import __version__
from legato.cli import main
from legato.errors import SettingsError


def test_the_version_is_reported(legato: Any) -> None:
    assert legato("--version").stdout == f"legato {__version__}\n"


def test_every_command_is_there_and_says_what_it_is_for(legato: Any) -> None:
    shown = legato("--help")
    assert shown.returncode == 0
    for command in ("serve", "chat", "token", "doctor"):
        assert command in shown.stdout


def test_a_command_does_not_wait_for_what_others_need() -> None:
    heavy = ("aiohttp", "fastapi", "jwt", "pydantic", "rich", "sqlalchemy", "uvicorn")
    look = f"import sys, legato.cli.main; print(*(each for each in {heavy} if each in sys.modules))"
    shown = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == []


def test_a_wrong_call_is_no_crash(legato: Any) -> None:
    shown = legato("serve", "--prot", "1")
    assert shown.returncode == 2
    assert "Traceback" not in shown.stderr


def test_what_is_wrong_is_one_sentence_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app() -> None:
        raise SettingsError("This cannot be.")

    monkeypatch.setattr(main, "app", app)
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 1
    assert capsys.readouterr() == ("", "legato: This cannot be.\n")


def test_one_who_reads_no_more_ends_it_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app() -> None:
        raise BrokenPipeError

    monkeypatch.setattr(main, "app", app)
    monkeypatch.setattr(main, "_silence", lambda: None)
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == ""
