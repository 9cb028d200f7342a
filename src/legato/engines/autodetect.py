"""Which engine answers where nobody has said so: the best of those that are there."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from msgspec import Struct

from legato.engines.base import Model
from legato.engines.demo.engine import DEFAULT_MODEL
from legato.engines.listing import first_to_chat
from legato.errors import LegatoError

PATIENCE = 1.0
"""Seconds that an Ollama may take to list its models: one that is there takes milliseconds."""


class EngineChoice(Struct, frozen=True):
    """The engine, the model to ask it for, and why, in words for the one who started the server."""

    engine: Literal["ollama", "llama", "demo"]
    model: str
    why: str


async def pick_engine(
    ollama: Callable[[], Awaitable[Sequence[Model]]],
    llama: Callable[[], Awaitable[str]],
    *,
    url: str,
    model: str | None = None,
    patience: float = PATIENCE,
) -> EngineChoice:
    """An Ollama that answers and has a model, else the embedded model, else the demo engine.

    `ollama` lists the models of the Ollama at `url`; `llama` makes the embedded model ready, and returns its name. Each
    raises a `LegatoError` where it cannot. With `model` only that one will do, until the demo engine is all there is.
    """
    try:
        async with asyncio.timeout(patience):
            models = await ollama()
    except TimeoutError:
        without = f"Ollama did not answer at {url} within {patience:g} s."
    except LegatoError:
        without = f"Ollama does not answer at {url}."
    else:
        found = _suited(models, model)
        if found is not None:
            return EngineChoice("ollama", found.name, f"Ollama answers at {url} and has {found.name}.")
        without = f"Ollama answers at {url}, but has no model {model or 'to chat with'}."
    try:
        name = await llama()
    except LegatoError as error:
        return EngineChoice(
            "demo", DEFAULT_MODEL, f"{without} {error.message} The demo engine answers instead."
        )
    return EngineChoice("llama", name, f"{without} The embedded engine answers with {name}.")


def _suited(models: Sequence[Model], wanted: str | None) -> Model | None:
    """The model that is wanted, or else the first to chat with."""
    if wanted is not None:
        names = (wanted, f"{wanted}:latest")
        return next((model for model in models if model.name in names), None)
    return first_to_chat(models)
