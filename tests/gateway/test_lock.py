"""Two servers by mistake on the same data."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from legato.errors import SettingsError
from legato.gateway.lock import only_server_of

from .server import calling, serving, settings_for


async def test_a_second_server_on_the_same_data_says_who_has_it(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path)) as first:
        with pytest.raises(SettingsError, match=rf"process {os.getpid()}.*legato\.db\.lock.*--data-dir"):
            async with serving(settings_for(tmp_path)):
                pass
        async with calling(first) as http, http.get("/ready") as response:
            assert response.status == 200
    async with serving(settings_for(tmp_path)):
        pass


async def test_servers_with_data_of_their_own_do_not_meet(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path / "one")), serving(settings_for(tmp_path / "two")):
        pass


def test_a_killed_server_leaves_no_lock(tmp_path: Path) -> None:
    database = tmp_path / "legato.db"
    holds = (
        "import sys, time; from pathlib import Path; from legato.gateway.lock import only_server_of\n"
        "with only_server_of(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", holds, str(database)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(SettingsError, match=f"process {other.pid}"), only_server_of(database):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
    with only_server_of(database):
        pass


def test_a_lock_file_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be written"), only_server_of(tmp_path / "file" / "db"):
        pass


def test_a_symbolic_link_to_a_database_is_the_same_database(tmp_path: Path) -> None:
    database, link = tmp_path / "legato.db", tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(database)
    with (
        only_server_of(database),
        pytest.raises(SettingsError, match=r"legato\.db\.lock"),
        only_server_of(link),
    ):
        pass
