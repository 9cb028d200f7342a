"""The engine type of servers with the OpenAI API."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from legato.check_result import CHECK_SECONDS, CheckResult, note, ok, problem
from legato.engines.base import Engine
from legato.engines.engine_type import EngineContext, EngineType, Variable
from legato.engines.listing import listed, model_names, named_or_first
from legato.errors import LegatoError
from legato.settings_types import Key, SettingsSection


class OpenAISettings(SettingsSection):
    """`[engines.openai]`: any server with the OpenAI API."""

    url: Annotated[
        str, Field(pattern=r"^https?://\S+$", description="The base URL of the server, including `/v1`.")
    ] = "https://api.openai.com/v1"
    api_key: Key | None = Field(None, description="The API key, if the server requires one.")
    ca_file: Path | None = Field(
        None, description="PEM file of certificates to trust in addition to the system's."
    )
    slots: Annotated[int, Field(ge=1, le=4096)] = Field(
        64,
        description="Number of requests sent to the server at once; further ones queue, and people take turns.",
    )
    continues: bool = Field(
        False,
        description="The server continues a final assistant message instead of starting a new one.",
    )
    sees: bool = Field(
        True,
        description="The models accept pictures. The protocol has no way to ask, and a model without vision "
        "refuses the request.",
    )
    hears: bool = Field(
        False,
        description="The models accept recordings (`input_audio`, WAV and MP3). The protocol has no way to ask.",
    )


def _make(settings: OpenAISettings, context: EngineContext) -> Engine:
    from legato.engines.openai.engine import OpenAIEngine

    key = settings.api_key.get_secret_value() if settings.api_key is not None else None
    with context.blaming("ca_file" if settings.ca_file is not None else "url"):
        return OpenAIEngine(
            settings.url,
            api_key=key,
            ca_file=settings.ca_file,
            continues=settings.continues,
            sees=settings.sees,
            hears=settings.hears,
        )


async def _check(settings: OpenAISettings, context: EngineContext) -> list[CheckResult]:
    url, model = settings.url, context.model
    try:
        names = await model_names(_make(settings, context))
    except LegatoError as error:
        return [problem("OpenAI API", error.message)]
    except TimeoutError:
        fix = "See that OPENAI_BASE_URL and OPENAI_API_KEY, or [engines.openai], are right."
        return [problem("OpenAI API", f"Nothing answers at {url} within {CHECK_SECONDS:g} s.", fix)]
    if model is not None and names and model not in names:
        return [note("OpenAI API", f"{url} does not list a model {model!r}, but {listed(names)}.")]
    return [ok("OpenAI API", f"It answers at {url} and has {listed(names)}.")]


OPENAI: EngineType[OpenAISettings] = EngineType(
    name="openai",
    settings=OpenAISettings,
    make=_make,
    check=_check,
    about="Any server that speaks the OpenAI API.",
    open_model=named_or_first,
    variables={"OPENAI_BASE_URL": Variable("url"), "OPENAI_API_KEY": Variable("api_key")},
)
