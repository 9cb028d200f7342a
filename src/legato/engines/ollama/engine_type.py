"""The engine type of Ollama."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from legato.check_result import CHECK_SECONDS, CheckResult, ok, problem
from legato.engines.base import Engine
from legato.engines.engine_type import EngineContext, EngineType, Variable
from legato.engines.listing import listed, model_names, named_or_first
from legato.engines.ollama.address import address
from legato.errors import LegatoError
from legato.settings_types import Header, SettingsSection


class OllamaSettings(SettingsSection):
    """`[engines.ollama]`. `ca_file` is a PEM file of certificates to trust in addition to the system's."""

    url: Annotated[str, Field(pattern=r"^https?://\S+$", description="The URL of Ollama.")] = (
        "http://127.0.0.1:11434"
    )
    ca_file: Path | None = Field(
        None, description="PEM file of certificates to trust in addition to the system's."
    )
    slots: Annotated[int, Field(ge=1, le=4096)] = Field(
        4,
        description="Number of requests sent to Ollama at once; further ones queue, and people take turns. "
        "At least OLLAMA_NUM_PARALLEL.",
    )
    headers: dict[str, Header] = Field(
        default_factory=dict,
        description="Headers of every request, for example the key of a proxy in front of Ollama.",
    )


def _make(settings: OllamaSettings, context: EngineContext) -> Engine:
    from legato.engines.ollama.engine import OllamaEngine

    headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
    with context.blaming("ca_file" if settings.ca_file is not None else "url"):
        return OllamaEngine(settings.url, ca_file=settings.ca_file, headers=headers)


async def _check(settings: OllamaSettings, context: EngineContext) -> list[CheckResult]:
    url, model = settings.url, context.model
    try:
        names = await model_names(_make(settings, context))
    except LegatoError as error:
        return [problem("Ollama", error.message)]
    except TimeoutError:
        start = "Start it with `ollama serve`, or say where it is with OLLAMA_HOST."
        return [problem("Ollama", f"Nothing answers at {url} within {CHECK_SECONDS:g} s.", start)]
    if not names:
        message = f"It answers at {url} and has no model."
        return [problem("Ollama", message, f"ollama pull {model or 'qwen3:0.6b'}")]
    if model is not None and model not in names and f"{model}:latest" not in names:
        return [problem("Ollama", f"It answers at {url} and has no model {model!r}.", f"ollama pull {model}")]
    return [ok("Ollama", f"It answers at {url} and has {listed(names)}.")]


OLLAMA: EngineType[OllamaSettings] = EngineType(
    name="ollama",
    settings=OllamaSettings,
    make=_make,
    check=_check,
    open_model=named_or_first,
    variables={"OLLAMA_HOST": Variable("url", address)},
)
