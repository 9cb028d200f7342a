"""Whether a directory can be written, or made where it is not there yet."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory


def unusable(path: Path) -> str:
    """Why this user cannot keep anything in the directory `path`, as a sentence; empty where they can. Leaves nothing behind."""
    there = nearest(path)
    if not there.is_dir():
        return f"{there} is in the way of {path}: it is no directory."
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} cannot be written by this user."
    if there != path:
        try:
            # The rights do not tell: root may write in /proc as far as they go.
            TemporaryDirectory(dir=there, prefix=".legato-").cleanup()
        except OSError as error:
            return f"{path} cannot be made: {error.strerror}."
    return ""


def nearest(path: Path) -> Path:
    """What is there of it: itself, or the first above it."""
    return next(each for each in (path, *path.parents) if each.exists() or each == each.parent)
