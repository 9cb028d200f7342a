"""Load the settings: `legato.toml`, then the environment, then flags; a later source overrides an earlier one.

If a setting is wrong, the server does not start. The error names the place of the setting and a suggestion.
"""

import os
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from legato.data_dir import default_data_dir
from legato.errors import SettingsError
from legato.gateway.config_file import find_config, line_of, read_config
from legato.gateway.environment import read_environment, variable_of
from legato.gateway.flags import FLAGS, apply_engine_flags, forget_models, read_flags
from legato.gateway.settings import Settings
from legato.gateway.settings_errors import SettingPlace, Steps, describe_errors, unknown_names
from legato.gateway.settings_tree import get_at, merged
from legato.tools.python import GROUP


def load_settings(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    directory: Path | None = None,
) -> Settings:
    """Read all settings. `flags` are the flags of `legato serve` (None: not given); `directory` is the current directory.

    :raises SettingsError: a source is wrong. The error names everything that is wrong in the first such source.
    """
    flags = {name: value for name, value in (flags or {}).items() if value is not None}
    directory = directory or Path.cwd()
    from_flags, from_environment = read_flags(flags, directory), read_environment(environ, directory)
    overriding = merged(from_environment, from_flags)
    file = find_config(flags, environ, directory, get_at(overriding, ("server", "data_dir")))
    from_file = read_config(file) if file else {}
    tree = merged(from_file, overriding)
    if get_at(tree, ("server", "data_dir")) is None:
        tree = merged({"server": {"data_dir": str(default_data_dir(environ))}}, tree)
    apply_engine_flags(tree, flags)
    forget_models(tree, merged(from_file, from_environment), flags)

    def place(path: Steps) -> SettingPlace:
        """Return the place of a setting: the source with the highest precedence that has it."""
        for name, each in {
            **FLAGS,
            "url": ("engines", "*", "url"),
            "api_key": ("engines", "openai", "api_key"),
        }.items():
            if (
                name in flags
                and len(path) == len(each)
                and all(e in ("*", p) for e, p in zip(each, path, strict=True))
            ):
                return SettingPlace("--" + name.replace("_", "-"))
        return SettingPlace(variable_of(path, environ))

    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(describe_errors(error, tree, place)) from None

    def place_with_line(path: Steps) -> SettingPlace:
        return _with_line(place(path), path, file)

    _check_names(settings, place_with_line)
    return settings.read_from(file, lambda path: str(place_with_line(path)))


def _check_names(settings: Settings, place: Callable[[Steps], SettingPlace]) -> None:
    """Check that every assistant and tool that a setting names exists.

    :raises SettingsError: one does not exist.
    """
    uses_tools = any(assistant.tools for assistant in settings.assistants.values())
    tools = {entry.name for entry in entry_points(group=GROUP)} if uses_tools else set()
    if unknown := [(place(path), sentence) for path, sentence in unknown_names(settings, tools)]:
        raise SettingsError(
            "\n".join(
                f"{where}: {sentence}" if where.name else sentence for where, sentence in sorted(unknown)
            )
        )


def _with_line(place: SettingPlace, path: Steps, file: Path | None) -> SettingPlace:
    """Return the variable or flag of a setting, or else its line in the file; an empty place if no source has it."""
    if place.name or file is None:
        return place
    line = line_of(file.read_text(encoding="utf-8-sig").splitlines(), path)
    return SettingPlace(str(file), line) if line else place
