"""Tell a full disk from other failures of a file."""

import errno
import os
import tempfile
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT}

_PROBE_BYTES = 64 * 1024


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether this error, or one that caused it, says that a disk or the user's share of it is full."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def has_room(directory: Path) -> bool:
    """Return whether a small file can be written to the directory. An error other than a full disk counts as room."""
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            file.write(bytes(_PROBE_BYTES))
            os.fsync(file.fileno())
    except OSError as error:
        return not is_disk_full(error)
    return True
