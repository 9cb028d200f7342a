"""The contract of an engine type: what an engine exports so that settings, the server and `legato doctor` know it.

An engine type is one object, listed in `legato.engines.registry`. Its module imports little: the engine itself is imported
in `make`, because commands that only read the settings would wait for it.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Generic, TypeVar

from msgspec import Struct

from legato.check_result import CheckResult
from legato.engines.base import Engine
from legato.settings_types import SettingsSection

S = TypeVar("S", bound=SettingsSection)


class EngineContext(Struct, frozen=True):
    """What a factory and a doctor check receive beside the settings of the engine.

    `model` is the model that is asked for, None if none is named. `models_dir` is the directory of downloaded model files.
    `blaming(field)` is a context manager: a `SettingsError` raised in it names the place of this setting of the engine.
    """

    model: str | None
    models_dir: Path
    blaming: Callable[[str], AbstractContextManager[None]]


class Variable(Struct, frozen=True):
    """An environment variable with a name of its own for a setting of an engine. `parse` makes the value of the setting."""

    field: str
    parse: Callable[[str], str] = str


async def named_model(engine: Engine, model: str | None) -> str:
    """Return the model that is named. An engine whose models are known only later returns an empty name."""
    return model or ""


class EngineType(Struct, Generic[S], frozen=True):
    """One type of engine.

    - `name` is its word in settings and flags; `settings` the section `[engines.NAME]`, None if there is nothing to set;
      `about` a sentence for the reference of the settings.
    - `make` creates an engine. It raises `SettingsError` if a setting cannot be used.
    - `check` is what `legato doctor` reports about it: made as the server makes it, within `CHECK_SECONDS`, nothing changed.
    - `open_model` is called once after `make`. It returns the model to ask for, and raises a `LegatoError` if there is none.
    - `owns` says whether a model's name alone tells that this engine runs it.
    - `one_per_model`: each model has an engine of its own. Otherwise one engine serves all models.
    - `variables` are environment variables with names of their own.
    """

    name: str
    settings: type[S] | None
    make: Callable[[S, EngineContext], Engine]
    check: Callable[[S, EngineContext], Awaitable[list[CheckResult]]]
    about: str = ""
    open_model: Callable[[Engine, str | None], Awaitable[str]] = named_model
    owns: Callable[[str], bool] = lambda model: False
    one_per_model: bool = False
    variables: Mapping[str, Variable] = {}
