"""What `legato doctor` says of the engines that assistants use. They are made as the server makes them."""

import asyncio
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from legato.cli.check_result import SECONDS, CheckResult, note, ok, problem
from legato.engines.base import Engine
from legato.engines.demo import full_name
from legato.engines.llama import load_errors
from legato.engines.llama.model_files import DEFAULT
from legato.errors import LegatoError, ModelNotFoundError
from legato.gateway.engine_factory import make_llama, make_ollama, make_openai, told_by
from legato.gateway.settings import AssistantSettings, Settings

REMOTE = re.compile(r"(?:hf:)?[\w-][\w.-]*(?:/[\w.-]+){2,}")
"""owner/repository/file, which is fetched where it is not here."""

DEFAULTS = (None, DEFAULT.file, DEFAULT.file.removesuffix(".gguf"))
"""Names of the model that is fetched where none is asked for."""


async def engines(settings: Settings) -> list[CheckResult]:
    """The engines that the assistants use, each looked at once for each model."""
    wanted = dict.fromkeys(
        (engine, model) for assistant in settings.assistants.values() for engine, model in _used(assistant)
    )
    found = await asyncio.gather(*(_engine(settings, engine, model) for engine, model in wanted))
    return list(dict.fromkeys(finding for each in found for finding in each))


def _used(assistant: AssistantSettings) -> Iterator[tuple[str, str | None]]:
    pairs = [(assistant.engine, assistant.model)]
    if assistant.backup_engine or assistant.backup_model:
        pairs.append((assistant.backup_engine or assistant.engine, assistant.backup_model))
    for engine, model in pairs:
        yield (told_by(model) or engine if engine == "auto" else engine), model


async def _engine(settings: Settings, name: str, model: str | None) -> list[CheckResult]:
    match name:
        case "demo":
            return list(_demo(model))
        case "ollama":
            return [await _ollama(settings, model)]
        case "openai":
            return [await _openai(settings, model)]
        case "fleet":
            return [ok("Fleet", "Agents answer, which dial in by themselves.")]
        case "llama":
            return [await _llama(settings, model)]
    ollama = await _ollama(settings, model)
    if ollama.verdict == "ok":
        return [ollama]
    llama = await _llama(settings, model)
    instead = (
        "The embedded model answers instead." if llama.verdict != "problem" else "The demo engine answers."
    )
    return [
        note("Ollama", f"{ollama.said} {instead}", ollama.fix),
        llama if llama.verdict != "problem" else note(llama.about, llama.said, llama.fix),
    ]


def _demo(model: str | None) -> Iterator[CheckResult]:
    """It is always there, so only a model that is none is worth a word."""
    try:
        full_name(model or "")
    except ModelNotFoundError as error:
        yield problem("Demo", error.message)


async def _ollama(settings: Settings, model: str | None) -> CheckResult:
    url = settings.engines.ollama.url
    start = "Start it with `ollama serve`, or say where it is with OLLAMA_HOST."
    try:
        names = await _names(make_ollama(settings))
    except LegatoError as error:
        return problem("Ollama", error.message)
    except TimeoutError:
        return problem("Ollama", f"Nothing answers at {url} within {SECONDS:g} s.", start)
    if not names:
        return problem(
            "Ollama", f"It answers at {url} and has no model.", f"ollama pull {model or 'qwen3:0.6b'}"
        )
    if model is not None and model not in names and f"{model}:latest" not in names:
        return problem("Ollama", f"It answers at {url} and has no model {model!r}.", f"ollama pull {model}")
    return ok("Ollama", f"It answers at {url} and has {_listed(names)}.")


async def _openai(settings: Settings, model: str | None) -> CheckResult:
    url = settings.engines.openai.url
    fix = "See that OPENAI_BASE_URL and OPENAI_API_KEY, or [engines.openai], are right."
    try:
        names = await _names(make_openai(settings))
    except LegatoError as error:
        return problem("OpenAI API", error.message)
    except TimeoutError:
        return problem("OpenAI API", f"Nothing answers at {url} within {SECONDS:g} s.", fix)
    if model is not None and names and model not in names:
        return note("OpenAI API", f"{url} does not list a model {model!r}, but {_listed(names)}.")
    return ok("OpenAI API", f"It answers at {url} and has {_listed(names)}.")


async def _names(engine: Engine) -> list[str]:
    try:
        async with asyncio.timeout(SECONDS):
            return [model.name for model in await engine.models()]
    finally:
        await engine.close()


async def _llama(settings: Settings, model: str | None) -> CheckResult:
    about = "Embedded model"
    if find_spec("xllamacpp") is None:
        return problem(about, load_errors.MISSING)
    projector = settings.engines.llama.mmproj
    if projector is not None and not projector.is_file():
        return problem(about, f"There is no file {projector}, which mmproj in [engines.llama] names.")
    engine = make_llama(settings, model)
    if _fetched(model, settings.server.data_dir / "models"):
        return note(
            about, f"{model or DEFAULT} is fetched at the first start, unless it is in a cache already."
        )
    try:
        await engine.prepare()
    except LegatoError as error:
        return problem(about, error.message)
    finally:
        await engine.close()
    return ok(about, f"{engine.model} is here.")


def _fetched(model: str | None, directory: Path) -> bool:
    """Whether the server would look for it elsewhere than here."""
    if (directory / Path(model or DEFAULT.file).name).is_file():
        return False
    return model in DEFAULTS or bool(
        model and REMOTE.fullmatch(model) and not Path(model).expanduser().is_file()
    )


def _listed(names: list[str]) -> str:
    if not names:
        return "no list of models"
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
