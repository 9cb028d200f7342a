"""Environment variables as settings."""

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic_settings
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.sources import EnvSettingsSource

from legato.engines.registry import ENGINE_TYPES
from legato.errors import SettingsError
from legato.gateway.flags import FLAGS
from legato.gateway.settings import Settings
from legato.gateway.settings_errors import Steps, is_table
from legato.gateway.settings_tree import Keys, merged, put, resolve_paths

VARIABLES: Mapping[str, Keys] = {
    "LEGATO_JWT_SECRET": ("auth", "jwt_secret"),
    "LEGATO_AGENT_KEYS": ("fleet", "agent_keys"),
    "LEGATO_DATA_DIR": ("server", "data_dir"),
    "LEGATO_DATABASE_URL": ("server", "database_url"),
    **{
        variable: ("engines", name, each.field)
        for name, engine_type in ENGINE_TYPES.items()
        for variable, each in engine_type.variables.items()
    },
}
"""Variables with names of their own. Every setting also has a regular one: `LEGATO_SERVER__PORT` is `[server] port`."""


_PARSERS: Mapping[str, Callable[[str], str]] = {
    variable: each.parse
    for engine_type in ENGINE_TYPES.values()
    for variable, each in engine_type.variables.items()
}


class _Environment(Settings, BaseSettings):
    """The settings in the form in which pydantic-settings reads them from the environment."""

    model_config = SettingsConfigDict(env_prefix="LEGATO_", env_nested_delimiter="__", env_ignore_empty=True)


def read_environment(environ: Mapping[str, str], directory: Path) -> dict[str, Any]:
    """Return the settings of the environment.

    :raises SettingsError: a table in a variable is not JSON.
    """
    named: dict[str, Any] = {}
    for name, path in VARIABLES.items():
        if environ.get(name):
            put(named, path, _PARSERS[name](environ[name]) if name in _PARSERS else environ[name])
    source = EnvSettingsSource(_Environment)
    source.env_vars = {name.lower(): value for name, value in environ.items() if value}
    try:
        nested = source()
    except (pydantic_settings.SettingsError, ValueError) as error:
        found = re.search(r'field "(\w+)"', str(error))
        variable = _variable_without_json(f"LEGATO_{found[1].upper()}", environ) if found else "LEGATO_…"
        raise SettingsError(f"{variable} must hold a JSON object.") from None
    assistants = nested.get("assistants")
    for assistant in assistants.values() if isinstance(assistants, dict) else ():
        for key in ("options", "keep_alive", "think") if isinstance(assistant, dict) else ():
            if key in assistant:
                assistant[key] = _json_or_text(assistant[key])
    return resolve_paths(merged(named, nested), directory)


def _variable_without_json(section: str, environ: Mapping[str, str]) -> str:
    """Return the variable of a section that must contain JSON and does not."""
    for name, value in sorted(environ.items()):
        upper = name.upper()
        if f"{upper}__".startswith(f"{section}__") and is_table(
            tuple(upper.removeprefix("LEGATO_").lower().split("__"))
        ):
            try:
                json.loads(value)
            except ValueError:
                return name
    return section


def _json_or_text(value: Any) -> Any:
    """Return the meaning of text for which no type is declared: a JSON value if it is one."""
    if isinstance(value, dict):
        return {key: _json_or_text(each) for key, each in value.items()}
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def variable_of(path: Steps, environ: Mapping[str, str]) -> str:
    """Return the variable that sets the setting at `path`; empty if none does."""
    upper = {name.upper(): name for name, value in environ.items() if value}
    for length in range(len(path), 0, -1):
        nested = "LEGATO_" + "__".join(str(step).upper() for step in path[:length])
        if nested in upper:
            return upper[nested]
    return next((name for name, each in VARIABLES.items() if each == path and environ.get(name)), "")


def misspelled(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield variables that look like settings and are none, each with a suggestion. They may belong to another program, so this
    is never an error.
    """
    known = [*VARIABLES, "LEGATO_CONFIG", "LEGATO_TOKEN", "LEGATO_AGENT_KEY"]
    for name in sorted(environ):
        if name.startswith("LEGATO_") and "__" not in name and name not in known:
            for meant in difflib.get_close_matches(name, known, n=1, cutoff=0.85):
                yield name, meant
            path = FLAGS.get(name.removeprefix("LEGATO_").lower())
            # If a service of Kubernetes is called legato, LEGATO_PORT contains its address.
            if path is not None and "://" not in environ[name]:
                yield name, "LEGATO_" + "__".join(path).upper()
