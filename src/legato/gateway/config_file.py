"""Read `legato.toml`."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from legato.data_dir import default_data_dir, expand_home
from legato.errors import SettingsError
from legato.gateway.settings import Settings
from legato.gateway.settings_errors import SettingPlace, Steps, describe_errors, within
from legato.gateway.settings_tree import resolve_paths


def find_config(
    flags: Mapping[str, Any], environ: Mapping[str, str], directory: Path, data_dir: object = None
) -> Path | None:
    """Return the file to read: `--config`, `LEGATO_CONFIG`, `legato.toml` in `directory`, or the one in the data directory.

    :raises SettingsError: the named file does not exist.
    """
    for named, by in ((flags.get("config"), "--config"), (environ.get("LEGATO_CONFIG"), "LEGATO_CONFIG")):
        if named:
            path = directory / expand_home(named)
            if not path.is_file():
                raise SettingsError(f"{by} names {path}, and there is no such file.")
            return path
    if (here := directory / "legato.toml").is_file():
        return here
    home = Path(str(data_dir)) if data_dir else default_data_dir(environ)
    return there if (there := home / "legato.toml").is_file() else None


def read_config(file: Path) -> dict[str, Any]:
    """Return the settings of the file. Types are checked strictly: a number in quotes is not a number.

    :raises SettingsError: the file cannot be read, is not TOML, or has an unknown or wrong setting.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{file}, line {line}: this is not UTF-8 text.") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(_syntax(file, text, str(error))) from None
    except RecursionError:
        raise SettingsError(f"{file} is nested too deeply to be read.") from None
    try:
        Settings.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        lines = text.splitlines()
        raise SettingsError(
            describe_errors(error, data, lambda path: SettingPlace(str(file), line_of(lines, path)))
        ) from None
    return resolve_paths(data, file.resolve().parent)


def _syntax(file: Path, text: str, reason: str) -> str:
    found = re.search(r"^(.*?) \((?:at line (\d+), column (\d+)|at end of document)\)$", reason, re.DOTALL)
    if not found:
        return f"{file} is not TOML: {reason}."
    line = int(found[2]) if found[2] else max(1, len(text.splitlines()))
    hint = ""
    if found[1] == "Invalid value" or found[1].startswith("Invalid date"):
        hint = " Text stands in quotes."
    return f"{file}, line {line}: this is not TOML ({found[1][:1].lower() + found[1][1:]}).{hint}"


def line_of(lines: list[str], path: Steps) -> int | None:
    """Return the line, counted from 1, on which the key at `path` begins; None if the key is not in the file.

    It looks for the smallest number of leading lines that is valid TOML and contains the key. That is correct for every
    notation, but slow for a long file; it is used only for errors.
    """
    begins = 0
    for count in range(1, len(lines) + 1):
        try:
            data = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        if within(path, data) == path:
            return begins + 1
        begins = count
    return None
