"""Where settings come from: `legato.toml`, then the environment, then flags, each outranking the one before.

What is wrong stops the start, with the place that said it and what was probably meant.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pydantic_settings
from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.sources import EnvSettingsSource

from legato.data_dir import default_data_dir, expand_home
from legato.engines.registry import ENGINE_TYPES
from legato.errors import SettingsError
from legato.gateway.settings import Settings
from legato.gateway.settings_errors import SettingPlace, Steps, astray, complaints, is_table, within

Keys = tuple[str, ...]

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
"""Variables with names of their own. Every setting has one besides: `LEGATO_SERVER__PORT` is `[server] port`."""

_PARSERS: Mapping[str, Callable[[str], str]] = {
    variable: each.parse
    for engine_type in ENGINE_TYPES.values()
    for variable, each in engine_type.variables.items()
}

FLAGS: Mapping[str, Keys] = {
    "host": ("server", "host"),
    "port": ("server", "port"),
    "agents_port": ("server", "agents_port"),
    "data_dir": ("server", "data_dir"),
    "engine": ("assistants", "default", "engine"),
    "model": ("assistants", "default", "model"),
    "backup_model": ("assistants", "default", "backup_model"),
}

TOOLS = "legato.tools"
"""The group of entry points under which other packages bring tools."""


def _files(section: type[BaseModel], above: Keys = ()) -> Iterator[Keys]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        if Path in kinds:
            yield (*above, name)
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _files(kind, (*above, name))


FILES: tuple[Keys, ...] = tuple(_files(Settings))
"""Settings that are paths: `~` is the home, and a relative one stands beside what names it."""


class _Environment(Settings, BaseSettings):
    """The settings as pydantic-settings looks for them in the environment."""

    model_config = SettingsConfigDict(env_prefix="LEGATO_", env_nested_delimiter="__", env_ignore_empty=True)


def load_settings(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    directory: Path | None = None,
) -> Settings:
    """Read all there is. `flags` are those of `legato serve` that were given (None: not given); `directory` is where one stands.

    :raises SettingsError: for the first source in which something is wrong, with all that is wrong there.
    """
    flags = {name: value for name, value in (flags or {}).items() if value is not None}
    directory = directory or Path.cwd()
    from_flags, from_environment = _flags(flags, directory), _environment(environ, directory)
    above = merged(from_environment, from_flags)
    file = find_config(flags, environ, directory, _at(above, ("server", "data_dir")))
    from_file = _read(file) if file else {}
    everything = merged(from_file, above)
    if _at(everything, ("server", "data_dir")) is None:
        everything = merged({"server": {"data_dir": str(default_data_dir(environ))}}, everything)
    _engine_flags(everything, flags)
    _forget_model(everything, merged(from_file, from_environment), flags)

    def place(path: Steps) -> SettingPlace:
        """Who said it: the highest source that has it, since that is the one that counted."""
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
        return SettingPlace(_variable(path, environ))

    try:
        settings = Settings.model_validate(everything)
    except ValidationError as error:
        raise SettingsError(complaints(error, everything, place)) from None

    def said(path: Steps) -> SettingPlace:
        return _said(place(path), path, file)

    _check_names(settings, said)
    return settings.read_from(file, lambda path: str(said(path)))


def misspelt(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Variables that look like settings and are none, each with the one that was probably meant. Others may own them, so this is
    never an error."""
    known = [*VARIABLES, "LEGATO_CONFIG", "LEGATO_TOKEN", "LEGATO_AGENT_KEY"]
    for name in sorted(environ):
        if name.startswith("LEGATO_") and "__" not in name and name not in known:
            for meant in difflib.get_close_matches(name, known, n=1, cutoff=0.85):
                yield name, meant
            path = FLAGS.get(name.removeprefix("LEGATO_").lower())
            # Where a service of Kubernetes is called legato, its port stands in LEGATO_PORT as an address.
            if path is not None and "://" not in environ[name]:
                yield name, "LEGATO_" + "__".join(path).upper()


def find_config(
    flags: Mapping[str, Any], environ: Mapping[str, str], directory: Path, data_dir: object = None
) -> Path | None:
    """The file to read: `--config`, `LEGATO_CONFIG`, `legato.toml` here, or the one in the data directory.

    :raises SettingsError: where one is named and is not there.
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


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """One tree out of several; later ones outrank the earlier, table by table."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            both = isinstance(below, dict) and isinstance(value, dict)
            result[key] = merged(below, value) if both and below is not None else value
    return result


def _check_names(settings: Settings, place: Callable[[Steps], SettingPlace]) -> None:
    """:raises SettingsError: a setting names an assistant or a tool that there is not."""
    named = any(assistant.tools for assistant in settings.assistants.values())
    tools = {entry.name for entry in entry_points(group=TOOLS)} if named else set()
    if lost := [(place(path), sentence) for path, sentence in astray(settings, tools)]:
        raise SettingsError(
            "\n".join(f"{where}: {sentence}" if where.name else sentence for where, sentence in sorted(lost))
        )


def _said(by: SettingPlace, path: Steps, file: Path | None) -> SettingPlace:
    """The variable or flag that said it, else the line of the file; no place where nobody did."""
    if by.name or file is None:
        return by
    line = line_of(file.read_text(encoding="utf-8-sig").splitlines(), path)
    return SettingPlace(str(file), line) if line else by


def _flags(flags: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, path in FLAGS.items():
        if name in flags:
            _put(tree, path, str(flags[name]) if isinstance(flags[name], Path) else flags[name])
    return _resolved(tree, directory)


def _engine_flags(everything: dict[str, Any], flags: Mapping[str, Any]) -> None:
    """`--url` and `--api-key` are the default assistant's engine's."""
    engine = _at(everything, ("assistants", "default", "engine")) or "auto"
    if "url" in flags:
        if engine not in (addressed := _engines_with("url")):
            flag = " or ".join(f"--engine {name}" for name in addressed)
            raise SettingsError(
                f"--url needs {flag} beside it: it does not say what answers at that address."
            )
        _put(everything, ("engines", engine, "url"), flags["url"])
    if "api_key" in flags:
        if engine not in _engines_with("api_key"):
            raise SettingsError(
                "--api-key goes with --engine openai. For an Ollama behind a key, set [engines.ollama] headers in legato.toml."
            )
        _put(everything, ("engines", engine, "api_key"), flags["api_key"])


def _engines_with(field: str) -> list[str]:
    """Return the engines that have this setting."""
    return [
        name
        for name, engine_type in ENGINE_TYPES.items()
        if engine_type.settings is not None and field in engine_type.settings.model_fields
    ]


def _forget_model(everything: dict[str, Any], below: dict[str, Any], flags: Mapping[str, Any]) -> None:
    """`--engine` alone leaves the models behind that were set for another engine."""
    before = _at(below, ("assistants", "default", "engine")) or "auto"
    default = _at(everything, ("assistants", "default"))
    if flags.get("engine", "auto") in ("auto", before) or before == "auto":
        return
    if "model" not in flags:
        default.pop("model", None)
    if "backup_model" not in flags and not default.get("backup_engine"):
        default.pop("backup_model", None)


def _environment(environ: Mapping[str, str], directory: Path) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, path in VARIABLES.items():
        if environ.get(name):
            _put(named, path, _PARSERS[name](environ[name]) if name in _PARSERS else environ[name])
    source = EnvSettingsSource(_Environment)
    source.env_vars = {name.lower(): value for name, value in environ.items() if value}
    try:
        nested = source()
    except (pydantic_settings.SettingsError, ValueError) as error:
        found = re.search(r'field "(\w+)"', str(error))
        variable = _no_json(f"LEGATO_{found[1].upper()}", environ) if found else "LEGATO_…"
        raise SettingsError(f"{variable} must hold a JSON object.") from None
    assistants = nested.get("assistants")
    for assistant in assistants.values() if isinstance(assistants, dict) else ():
        for key in ("options", "keep_alive", "think") if isinstance(assistant, dict) else ():
            if key in assistant:
                assistant[key] = _untyped(assistant[key])
    return _resolved(merged(named, nested), directory)


def _no_json(section: str, environ: Mapping[str, str]) -> str:
    """Which variable of a section should hold JSON, and does not."""
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


def _untyped(value: Any) -> Any:
    """What text means where no type is declared: a JSON value if it is one."""
    if isinstance(value, dict):
        return {key: _untyped(each) for key, each in value.items()}
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _variable(path: Steps, environ: Mapping[str, str]) -> str:
    upper = {name.upper(): name for name, value in environ.items() if value}
    for length in range(len(path), 0, -1):
        nested = "LEGATO_" + "__".join(str(step).upper() for step in path[:length])
        if nested in upper:
            return upper[nested]
    return next((name for name, each in VARIABLES.items() if each == path and environ.get(name)), "")


def _read(file: Path) -> dict[str, Any]:
    """The file's settings, checked as they stand there: a number in quotes is not a number.

    :raises SettingsError: it cannot be read, is not TOML, or says something that does not exist.
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
            complaints(error, data, lambda path: SettingPlace(str(file), line_of(lines, path)))
        ) from None
    return _resolved(data, file.resolve().parent)


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
    """The line, counted from 1, on which the key at `path` begins.

    It is in the shortest run of first lines that is TOML by itself and holds the key. That is slow for a long file and
    never wrong, whatever way the key is written in; it is asked only where something is amiss.
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


def _resolved(tree: dict[str, Any], beside: Path) -> dict[str, Any]:
    for path in FILES:
        value = _at(tree, path)
        if isinstance(value, str) and value:
            _put(tree, path, str(beside / expand_home(value)))
    assistants = tree.get("assistants")
    for assistant in assistants.values() if isinstance(assistants, dict) else ():
        for key in ("model", "backup_model") if isinstance(assistant, dict) else ():
            value = assistant.get(key)
            # A model's name may look like a file's; it is one where such a file is.
            if isinstance(value, str) and value.endswith(".gguf"):
                file = beside / expand_home(value)
                if file.is_file():
                    assistant[key] = str(file)
    return tree


def _put(tree: dict[str, Any], path: Keys, value: object) -> None:
    for step in path[:-1]:
        tree = tree.setdefault(step, {})
    tree[path[-1]] = value


def _at(tree: Mapping[str, Any], path: Keys) -> Any:
    value: Any = tree
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value
