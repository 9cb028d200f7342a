"""Describe wrong settings to people: the place, what the value must be, and a suggestion."""

import difflib
import re
from collections.abc import Callable, Collection, Iterator
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from legato.gateway.settings import AssistantSettings, Settings

Steps = tuple[int | str, ...]
MAX_SENTENCES = 10

ORIGIN = re.compile(r"[A-Za-z][\w+.-]*://[^\s/?#@]+")
"""An origin as browsers write it: without a path, and so without a slash at its end."""

OPTIONS = frozenset(
    [
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "num_ctx",
        "num_predict",
        "num_thread",
        "max_tokens",
        "seed",
        "stop",
        "repeat_penalty",
        "presence_penalty",
        "frequency_penalty",
        "tokens_per_second",
        "first_token_ms",
    ]
)
"""Engine options that are often mistaken for settings of an assistant."""


class SettingPlace(NamedTuple):
    """Where a setting is set: a file, a variable or a flag; and the line, if it is in a file."""

    name: str
    line: int | None = None

    def __str__(self) -> str:
        return self.name + (f", line {self.line}" if self.line else "")


def describe_errors(
    error: ValidationError, data: dict[str, Any], place: Callable[[Steps], SettingPlace]
) -> str:
    """Describe everything that is wrong in `data`, one sentence on each line, in the order of the places."""
    seen: dict[Steps, list[ErrorDetails]] = {}
    for each in error.errors(include_url=False, include_context=True):
        seen.setdefault(within(each["loc"], data), []).append(each)
    places = sorted((place(path), path) for path in seen)
    sentences = []
    for where, path in places[:MAX_SENTENCES]:
        sentence = _sentence(path, seen[path], data)
        sentences.append(f"{where}: {sentence}" if where.name else sentence)
    if len(places) > MAX_SENTENCES:
        sentences.append(f"And {len(places) - MAX_SENTENCES} more.")
    return "\n".join(sentences)


def unknown_names(settings: Settings, tools: Collection[str]) -> list[tuple[Steps, str]]:
    """Return names that refer to nothing, and what the demo engine would refuse: each with its path and a sentence.

    `tools` are the tools that need no section of their own.
    """
    found: list[tuple[Steps, str]] = []
    assistants = sorted(settings.assistants)
    for dialect, name in settings.dialect_assistants().items():
        if name not in settings.assistants:
            hint = suggestion(name, assistants) or f" There is: {', '.join(assistants)}."
            found.append(
                (
                    ("dialects", dialect),
                    f"{dialect} names {_toml(name)}, and there is no [assistants.{name}].{hint}",
                )
            )
    found += _wrong_server_settings(settings)
    known = sorted({*settings.tools, *tools})
    for assistant, each in settings.assistants.items():
        for name in each.tools:
            if name not in known:
                hint = suggestion(name, known)
                found.append(
                    (
                        ("assistants", assistant, "tools"),
                        f"tools names {_toml(name)}, and there is no [tools.{name}].{hint}",
                    )
                )
        found += _refused_by_demo(assistant, each)
    return [(path, f"[{'.'.join(map(str, path[:-1]))}] {sentence}") for path, sentence in found]


def _wrong_server_settings(settings: Settings) -> list[tuple[Steps, str]]:
    server = settings.server
    found: list[tuple[Steps, str]] = [
        (
            ("server", "cors_origins"),
            f"cors_origins must name sites as a browser does, such as https://example.org, not {_toml(each)}.",
        )
        for each in server.cors_origins
        if each not in ("*", "null") and not ORIGIN.fullmatch(each)
    ]
    if server.port and server.agents_port == server.port:
        found.append(
            (("server", "agents_port"), f"agents_port must be another than port, which is {server.port} too.")
        )
    return found


def _refused_by_demo(name: str, assistant: AssistantSettings) -> list[tuple[Steps, str]]:
    """Return what the demo engine would refuse. Only this engine's models and options are known before it starts."""
    models = {
        "model": (assistant.engine, assistant.model),
        "backup_model": (assistant.backup_engine or assistant.engine, assistant.backup_model),
    }
    mine = {key: model for key, (engine, model) in models.items() if engine == "demo"}
    if not mine:
        return []
    # Imported late: most servers do not need it.
    from legato.engines.demo.engine import MODELS, NUMBERS, is_number

    short = [model.removeprefix("demo:") for model in MODELS]
    found: list[tuple[Steps, str]] = [
        (
            ("assistants", name, key),
            f"{key} must be one of {', '.join(MODELS)}, not {_toml(model)}.{suggestion(model.removeprefix('demo:'), short)}",
        )
        for key, model in mine.items()
        if model and model.removeprefix("demo:") not in short
    ]
    found += [
        (
            ("assistants", name, "options", key),
            f"{key} must be a number that is not negative, not {_toml(value)}.",
        )
        for key, value in assistant.options.items()
        if key in NUMBERS and not is_number(value)
    ]
    return found


def suggestion(word: str, known: list[str]) -> str:
    """Return ` Did you mean …?`, or nothing if no word is similar."""
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def within(path: Steps, data: Any) -> Steps:
    """Return the part of `path` that exists in the data. pydantic appends the name of a union's branch."""
    found: list[int | str] = []
    for step in path:
        if not (
            step in data if isinstance(data, dict) else isinstance(data, list) and step in range(len(data))
        ):
            break
        data = data[step]
        found.append(step)
    return tuple(found)


def _sentence(path: Steps, errors: list[ErrorDetails], data: Any) -> str:
    section, name = _name(path)
    if errors[0]["type"] == "extra_forbidden":
        return _unknown(path, data)
    value = _value(data, path)
    value_text = (
        ""
        if value in ("", {}) or _secret(path) or isinstance(value, dict | list)
        else f", not {_toml(value)}"
    )
    meant = suggestion(value, _choices(path)) if isinstance(value, str) else ""
    must = " or ".join(dict.fromkeys(map(_must, errors))).replace(" or be ", " or ")
    return f"{section}{name} must {must}{value_text}.{meant}"


def _unknown(path: Steps, data: Any) -> str:
    *parents, key = path
    known = _known(tuple(parents))
    word = str(key)
    if not parents:
        value = data[key]
        if isinstance(value, dict):
            return f"there is no section [{word}].{suggestion(word, known)}"
        homes = [
            f"[{'.'.join(home)}] {name}" for home, names in _sections() for name in names if name == word
        ]
        hint = f" Did you mean {homes[0]}?" if homes else suggestion(word, known)
        return f"there is no setting {word!r} outside a section.{hint}"
    section = ".".join(map(str, parents))
    if len(parents) == 2 and parents[0] == "assistants" and word in OPTIONS:
        value = _toml(_value(data, path))
        return f"[{section}] has no setting {word!r}. It is one of its options: options = {{ {word} = {value} }}."
    kind = "no section" if isinstance(_value(data, path), dict) else "no setting"
    return f"[{section}] has {kind} {word!r}.{suggestion(word, known)}"


def _name(path: Steps) -> tuple[str, str]:
    names = _words(path)
    if names and _fields(names) is not None:
        return "", f"[{'.'.join(names)}]"
    section = f"[{'.'.join(names[:-1])}] " if len(names) > 1 else ""
    return section, names[-1] if names else "the whole"


def _must(error: ErrorDetails) -> str:
    context = error.get("ctx") or {}
    match error["type"]:
        case "int_type" | "int_parsing" | "int_from_float":
            return "be a whole number"
        case "float_type" | "float_parsing" | "finite_number":
            return "be a number"
        case "bool_type" | "bool_parsing":
            return "be true or false"
        case "string_type" | "path_type":
            return "be text in quotes"
        case "string_pattern_mismatch":
            return "be an address that begins with http:// or https://"
        case "control_character":
            return "be one line of text"
        case "string_too_short" | "too_short":
            return "not be empty"
        case "literal_error":
            return "be one of " + str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
        case "greater_than_equal":
            return f"be at least {context['ge']:.12g}"
        case "greater_than":
            return f"be more than {context['gt']:.12g}"
        case "less_than_equal":
            return f"be at most {context['le']:.12g}"
        case "tuple_type" | "list_type":
            return "be a list"
        case "nul":
            return "hold no NUL character"
        case "network":
            return str(error["msg"])
        case "missing":
            return f"have {error['loc'][-1]!r}"
        case "dict_type" | "model_type" | "model_attributes_type":
            return "be a section of settings"
    return f"be otherwise ({error['msg'][:1].lower() + error['msg'][1:]})"


def _words(path: Steps) -> tuple[str, ...]:
    """Return the path of the setting, without the indexes of lists."""
    return tuple(step for step in path if isinstance(step, str))


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _value(data: Any, path: Steps) -> Any:
    for step in path:
        data = data[step]
    return data


def _secret(path: Steps) -> bool:
    return SecretStr in _leaves(_annotation(_words(path)))


def _leaves(annotation: Any) -> list[Any]:
    inner = get_args(annotation)
    return [leaf for each in inner for leaf in _leaves(each)] if inner else [annotation]


def _annotation(path: tuple[str, ...]) -> Any:
    """Return the type that is declared at `path`; None if there is no such setting."""
    annotation: Any = Settings
    for step in path:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(step)
            if field is None:
                return None
            annotation = field.annotation
        elif get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        else:
            return None
    return annotation


def _fields(path: tuple[str, ...]) -> list[str] | None:
    """Return the names in the section at `path`; None if it is not a section."""
    annotation = _annotation(path)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return list(annotation.model_fields)
    return [] if get_origin(annotation) is dict and path in (("assistants",), ("tools",)) else None


def is_table(path: Steps) -> bool:
    """Return whether the setting at `path` contains further settings."""
    annotation = _annotation(_words(path))
    return get_origin(annotation) is dict or _fields(_words(path)) is not None


def _known(path: Steps) -> list[str]:
    return _fields(_words(path)) or []


def _choices(path: Steps) -> list[str]:
    annotation = _annotation(_words(path))
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return [str(value) for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]


def _sections(path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    for name in _known(path):
        inner = (*path, name)
        if inner == ("assistants",):
            inner = ("assistants", "default")
        fields = _fields(inner)
        if fields is not None:
            yield inner, fields
            yield from _sections(inner)
