"""The tree of settings as dictionaries: merge sources, get and set values, resolve paths."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from legato.data_dir import expand_home
from legato.gateway.settings import Settings

Keys = tuple[str, ...]


def _path_settings(section: type[BaseModel], above: Keys = ()) -> Iterator[Keys]:
    """Yield the settings that are paths."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        if Path in kinds:
            yield (*above, name)
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _path_settings(kind, (*above, name))


FILES: tuple[Keys, ...] = tuple(_path_settings(Settings))
"""Settings that are paths. `~` is the home directory, and a relative path is relative to the file or directory that contains it."""


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return one tree. A later layer overrides an earlier one, key by key."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            both = isinstance(below, dict) and isinstance(value, dict)
            result[key] = merged(below, value) if both and below is not None else value
    return result


def resolve_paths(tree: dict[str, Any], beside: Path) -> dict[str, Any]:
    """Make the relative paths of a tree absolute, relative to `beside`. Return the tree."""
    for path in FILES:
        value = get_at(tree, path)
        if isinstance(value, str) and value:
            put(tree, path, str(beside / expand_home(value)))
    assistants = tree.get("assistants")
    for assistant in assistants.values() if isinstance(assistants, dict) else ():
        for key in ("model", "backup_model") if isinstance(assistant, dict) else ():
            value = assistant.get(key)
            # The name of a model may look like a file name. It is one if the file exists.
            if isinstance(value, str) and value.endswith(".gguf"):
                file = beside / expand_home(value)
                if file.is_file():
                    assistant[key] = str(file)
    return tree


def put(tree: dict[str, Any], path: Keys, value: object) -> None:
    """Set the value at `path`."""
    for step in path[:-1]:
        tree = tree.setdefault(step, {})
    tree[path[-1]] = value


def get_at(tree: Mapping[str, Any], path: Keys) -> Any:
    """Return the value at `path`; None if there is none."""
    value: Any = tree
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value
