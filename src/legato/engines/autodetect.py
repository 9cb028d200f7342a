"""Choose the engine if none is configured: the best of the available ones."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from msgspec import Struct

from legato.engines.base import Model
from legato.engines.demo.engine import DEFAULT_MODEL
from legato.engines.listing import first_to_chat
from legato.errors import LegatoError

LIST_SECONDS = 1.0
"""Seconds that an Ollama may take to list its models; a running one takes milliseconds."""


class EngineChoice(Struct, frozen=True):
    """The engine, the model to request, and a sentence that says why, for the person who started the server."""

    engine: Literal["ollama", "llama", "demo"]
    model: str
    why: str


async def pick_engine(
    ollama: Callable[[], Awaitable[Sequence[Model]]],
    llama: Callable[[], Awaitable[str]],
    *,
    url: str,
    model: str | None = None,
    timeout: float = LIST_SECONDS,
) -> EngineChoice:
    """Return an Ollama that answers and has a model, else the embedded model, else the demo engine.

    `ollama` lists the models of the Ollama at `url`; `llama` prepares the embedded model and returns its name. Each raises a
    `LegatoError` if it cannot. If `model` is given, only that model is accepted, except for the demo engine.
    """
    try:
        async with asyncio.timeout(timeout):
            models = await ollama()
    except TimeoutError:
        problem = f"Ollama did not answer at {url} within {timeout:g} s."
    except LegatoError:
        problem = f"Ollama does not answer at {url}."
    else:
        found = _find_model(models, model)
        if found is not None:
            return EngineChoice("ollama", found.name, f"Ollama answers at {url} and has {found.name}.")
        problem = f"Ollama answers at {url}, but has no model {model or 'to chat with'}."
    try:
        name = await llama()
    except LegatoError as error:
        return EngineChoice(
            "demo", DEFAULT_MODEL, f"{problem} {error.message} The demo engine answers instead."
        )
    return EngineChoice("llama", name, f"{problem} The embedded engine answers with {name}.")


def _find_model(models: Sequence[Model], wanted: str | None) -> Model | None:
    """Return the wanted model, or else the first model to chat with."""
    if wanted is not None:
        names = (wanted, f"{wanted}:latest")
        return next((model for model in models if model.name in names), None)
    return first_to_chat(models)
