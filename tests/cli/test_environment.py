"""`legato` in an odd environment: no home directory, a user that the system does not know, closed standard streams."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from legato.data_dir import default_data_dir, expand_home
from legato.errors import SettingsError

UNKNOWN_USER = """
import pwd, sys
from legato.cli.main import main


def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")


pwd.getpwuid = unknown
sys.argv[0] = "legato"
main()
"""
"""Runs the command line as a user whom the system does not know."""


def serve(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Serve the demo engine as an unknown user without HOME; stop it when it is ready, and return how it ended."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    command = [sys.executable, "-c", UNKNOWN_USER, "serve", "--engine", "demo", "--port", "0", *arguments]
    with subprocess.Popen(
        command, env=kept, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(command, process.returncode, first + out, err)


def test_a_user_without_a_home_names_a_data_directory(tmp_path: Path) -> None:
    ended = serve("--data-dir", str(tmp_path / "data"), directory=tmp_path)
    assert (ended.returncode, "is ready" in ended.stdout) == (0, True), ended.stderr
    assert (tmp_path / "data" / "legato.db").is_file()


def test_without_one_it_says_so_in_a_sentence(tmp_path: Path) -> None:
    ended = serve(directory=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("legato: This user has no home directory")
    assert "--data-dir" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_home_is_needed_only_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.setattr(Path, "expanduser", unknown)
    assert default_data_dir({"XDG_DATA_HOME": "/data"}) == Path("/data/legato")
    with pytest.raises(SettingsError, match="HOME"):
        default_data_dir({})
    with pytest.raises(SettingsError, match="whole path"):
        expand_home("~/model.gguf")


CLOSED = """
import os, sys
from legato.cli.main import open_standard_streams

for number in (0, 1, 2):
    os.close(number)
sys.stdin = sys.stdout = sys.stderr = None
open_standard_streams()
opened = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
print("said", flush=True)
print("complained", file=sys.stderr, flush=True)
os.write(opened, f"{opened > 2} {sys.stdin.read()!r}".encode())
"""


def test_closed_standard_streams_are_no_ones_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    subprocess.run([sys.executable, "-c", CLOSED, str(file)], check=True, timeout=60)
    assert file.read_text() == "True ''"


def test_a_server_without_standard_streams_ends_cleanly(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shell = 'exec 0<&- 1>&- 2>&-; exec "$@"'
    arguments = ["-m", "legato", "serve", "--engine", "demo", "--port", "0", "--data-dir", str(data)]
    with subprocess.Popen(["bash", "-c", shell, "bash", sys.executable, *arguments]) as process:
        while process.poll() is None and not (data / "legato.db").is_file():
            os.sched_yield()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
