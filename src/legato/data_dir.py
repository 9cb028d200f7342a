"""The directory in which a process of Legato keeps its files if no other is named."""

import os
from collections.abc import Mapping
from pathlib import Path

from legato.errors import SettingsError


def default_data_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return `$XDG_DATA_HOME/legato`, or `~/.local/share/legato` if the variable is not set to an absolute path.

    :raises SettingsError: this user has no home directory.
    """
    base = environ.get("XDG_DATA_HOME", "")
    if Path(base).is_absolute():
        return Path(base) / "legato"
    return home_dir() / ".local" / "share" / "legato"


def home_dir() -> Path:
    """Return the home directory of this user.

    :raises SettingsError: `HOME` is not set, and the system does not know the user.
    """
    try:
        return Path.home()
    except RuntimeError:
        raise SettingsError(
            "This user has no home directory: HOME is not set, and the system does not know the user. "
            "Name a directory for the data with --data-dir or LEGATO_DATA_DIR."
        ) from None


def expand_home(path: str | Path) -> Path:
    """Return `path` with a leading `~` replaced by the home directory.

    :raises SettingsError: the home directory is needed and unknown.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:
        raise SettingsError(
            f"{path} begins with `~`, and the home directory that it means is unknown. Write the whole path."
        ) from None
