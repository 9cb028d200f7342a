"""The directory in which a process of Legato keeps its files if no other is named."""

import os
from collections.abc import Mapping
from pathlib import Path


def default_data_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return `$XDG_DATA_HOME/legato`, or `~/.local/share/legato` if the variable is not set to an absolute path."""
    base = environ.get("XDG_DATA_HOME", "")
    home = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share"
    return home / "legato"
