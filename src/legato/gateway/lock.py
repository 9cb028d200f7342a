"""Allow one server for one database file.

Two servers on one file would both continue the replies that an earlier server left, and would not tell their clients what
the other one wrote. Nothing checks this for PostgreSQL yet: give each server a database of its own.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - a system without advisory locks
    fcntl = None  # type: ignore[assignment]

from legato.disk import is_disk_full
from legato.errors import SettingsError


@contextmanager
def only_server_of(database: Path) -> Iterator[None]:
    """Hold the lock file beside `database`. The system releases it when the process ends, also after a crash.

    :raises SettingsError: another server holds it, or the file cannot be written.
    """
    # Resolve symbolic links: two links to one database are one database.
    path = Path(f"{os.path.realpath(database)}.lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if is_disk_full(error):
            raise SettingsError(f"The disk of {path} is full. Make room there, and start again.") from None
        raise SettingsError(
            f"The lock file {path} cannot be written ({error.strerror}). Give this user the right to write to its directory, "
            "or choose another one with --data-dir."
        ) from None
    try:
        _lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    if fcntl is None:  # pragma: no cover
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        raise SettingsError(
            f"Another Legato{f' (process {owner})' if owner.isdigit() else ''} has the data of this one: it holds {path}. "
            "Stop it, or give this one a place of its own with --data-dir."
        ) from None
    except OSError:
        return  # The file system has no locks: run without one.
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise SettingsError(f"The disk of {path} is full. Make room there, and start again.") from None
