"""Flags of `legato serve` as settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from legato.engines.registry import ENGINE_TYPES
from legato.errors import SettingsError
from legato.gateway.settings_tree import Keys, get_at, put, resolve_paths

FLAGS: Mapping[str, Keys] = {
    "host": ("server", "host"),
    "port": ("server", "port"),
    "agents_port": ("server", "agents_port"),
    "data_dir": ("server", "data_dir"),
    "engine": ("assistants", "default", "engine"),
    "model": ("assistants", "default", "model"),
    "backup_model": ("assistants", "default", "backup_model"),
}


def read_flags(flags: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Return the settings of the flags."""
    tree: dict[str, Any] = {}
    for name, path in FLAGS.items():
        if name in flags:
            put(tree, path, str(flags[name]) if isinstance(flags[name], Path) else flags[name])
    return resolve_paths(tree, directory)


def apply_engine_flags(tree: dict[str, Any], flags: Mapping[str, Any]) -> None:
    """Apply `--url` and `--api-key` to the engine of the default assistant.

    :raises SettingsError: the engine has no such setting.
    """
    engine = get_at(tree, ("assistants", "default", "engine")) or "auto"
    if "url" in flags:
        if engine not in (with_url := _engines_with("url")):
            flag = " or ".join(f"--engine {name}" for name in with_url)
            raise SettingsError(
                f"--url needs {flag} beside it: it does not say what answers at that address."
            )
        put(tree, ("engines", engine, "url"), flags["url"])
    if "api_key" in flags:
        if engine not in _engines_with("api_key"):
            raise SettingsError(
                "--api-key goes with --engine openai. For an Ollama behind a key, set [engines.ollama] headers in legato.toml."
            )
        put(tree, ("engines", engine, "api_key"), flags["api_key"])


def _engines_with(field: str) -> list[str]:
    """Return the engines that have this setting."""
    return [
        name
        for name, engine_type in ENGINE_TYPES.items()
        if engine_type.settings is not None and field in engine_type.settings.model_fields
    ]


def forget_models(tree: dict[str, Any], below: dict[str, Any], flags: Mapping[str, Any]) -> None:
    """Remove the models of another engine if `--engine` selects a different one without a model."""
    before = get_at(below, ("assistants", "default", "engine")) or "auto"
    default = get_at(tree, ("assistants", "default"))
    if flags.get("engine", "auto") in ("auto", before) or before == "auto":
        return
    if "model" not in flags:
        default.pop("model", None)
    if "backup_model" not in flags and not default.get("backup_engine"):
        default.pop("backup_model", None)
