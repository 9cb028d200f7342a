"""Find out whether a directory can be written, or created."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory


def unusable(path: Path) -> str:
    """Return a sentence that says why this user cannot write to the directory `path`; empty if they can. Nothing is left behind."""
    existing = nearest(path)
    if not existing.is_dir():
        return f"{existing} is in the way of {path}: it is no directory."
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} cannot be written by this user."
    if existing != path:
        try:
            # Permissions are not enough: by them root may write in /proc.
            TemporaryDirectory(dir=existing, prefix=".legato-").cleanup()
        except OSError as error:
            return f"{path} cannot be made: {error.strerror}."
    return ""


def nearest(path: Path) -> Path:
    """Return the path itself, or its first existing parent."""
    return next(each for each in (path, *path.parents) if each.exists() or each == each.parent)
