"""A full disk is called full, wherever it is met, and nothing is stored by halves."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from legato.disk import has_room, is_disk_full
from legato.engines.llama import download
from legato.engines.llama.supervisor import Supervisor
from legato.engines.llama.worker_protocol import WorkerConfig
from legato.errors import DiskFullError, EngineUnavailableError, SettingsError, StorageError
from legato.gateway.lock import only_server_of
from legato.gateway.settings import Settings
from legato.storage.sql.database import translated


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def over_quota(*_: object, **__: object) -> None:
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


def test_what_caused_an_error_tells_that_the_disk_is_full() -> None:
    cause = OSError(errno.EDQUOT, "Disk quota exceeded")
    error = RuntimeError("the model cannot be loaded")
    error.__cause__ = cause
    assert is_disk_full(error)
    assert not is_disk_full(OSError(errno.EACCES, "no"))


@pytest.mark.parametrize("failure", [full, over_quota])
def test_a_disk_without_room_is_told_from_one_that_fails_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: object
) -> None:
    assert has_room(tmp_path)
    assert has_room(tmp_path / "nowhere")
    monkeypatch.setattr(os, "fsync", failure)
    assert not has_room(tmp_path)


def test_an_error_of_sqlite_on_a_full_disk_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite says "disk I/O error" if a quota is used up or its shared memory cannot grow."""

    class Error(OSError):
        sqlite_errorname = "SQLITE_IOERR_WRITE"

    with pytest.raises(StorageError, match="Look after the disk") as other, translated("here", tmp_path):
        raise Error
    assert not isinstance(other.value, DiskFullError)
    monkeypatch.setattr(os, "fsync", over_quota)
    with pytest.raises(DiskFullError, match=r"is full\. Make room"), translated("here", tmp_path):
        raise Error


@pytest.mark.parametrize("call", ["open", "pwrite"])
def test_a_start_on_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr(os, call, full)
    with pytest.raises(SettingsError, match=r"is full\. Make room"), only_server_of(tmp_path / "legato.db"):
        pass
    monkeypatch.undo()
    with only_server_of(tmp_path / "legato.db"):
        pass


def test_a_data_directory_that_does_not_fit_on_the_disk_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(SettingsError, match=r"is full\. Make room"):
        Settings.model_validate({"server": {"data_dir": tmp_path / "data"}}).make_data_dir()


def test_a_download_that_does_not_fit_is_given_up_at_once_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = download._Source("http://here/model", 10, "version")
    monkeypatch.setattr(download, "_look", lambda *_: source)
    monkeypatch.setattr(download, "_receive", full)
    pauses: list[float] = []
    with pytest.raises(EngineUnavailableError, match=r"is full.*Make room.*goes on"):
        download.fetch("owner/model", "m.gguf", tmp_path / "m.gguf", pause=pauses.append)
    assert pauses == []
    assert not (tmp_path / "m.gguf").exists()


async def test_a_temporary_directory_that_does_not_fit_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.mkdtemp", full)

    def launch(*_: object) -> WorkerConfig:
        raise AssertionError("It has no directory to start in")

    child = Supervisor(launch, lambda why: f"llama.cpp does not run: {why}.")
    with pytest.raises(EngineUnavailableError, match="is full, make room there"):
        await child._run_child()


def test_output_that_does_not_fit_on_the_disk_is_a_sentence() -> None:
    with Path("/dev/full").open("w") as output:
        done = subprocess.run(
            [sys.executable, "-m", "legato", "--version"], stdout=output, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "is full. Make room" in done.stderr
