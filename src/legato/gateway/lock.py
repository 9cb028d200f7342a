"""One server for one database file.

Two that share one would both go on with the replies that an earlier server left, and tell their clients of nothing that
the other wrote. For PostgreSQL nothing guards this yet: give each server a database of its own.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - a system without advisory locks
    fcntl = None  # type: ignore[assignment]

from legato.errors import SettingsError


@contextmanager
def only_server_of(database: Path) -> Iterator[None]:
    """Hold the lock file beside `database`; the system lets go of it when the process ends, however it ends.

    :raises SettingsError: another server holds it, or the file cannot be made.
    """
    # The file that a symbolic link leads to: two links to one database are one database.
    path = Path(f"{os.path.realpath(database)}.lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(
            f"The lock file {path} cannot be written ({error.strerror}). Give this user the right to write to its directory, "
            "or choose another one with --data-dir."
        ) from None
    try:
        _lock(held, path)
        yield
    finally:
        os.close(held)


def _lock(held: int, path: Path) -> None:
    if fcntl is None:  # pragma: no cover
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(held, 20, 0).decode("ascii", "replace").strip()
        raise SettingsError(
            f"Another Legato{f' (process {owner})' if owner.isdigit() else ''} has the data of this one: it holds {path}. "
            "Stop it, or give this one a place of its own with --data-dir."
        ) from None
    except OSError:
        return  # a file system without locks: better without one than not at all
    os.ftruncate(held, 0)
    os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
