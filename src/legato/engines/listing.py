"""Lists of models: which one to use if none is named, and how to describe a list to a person."""

import asyncio
from collections.abc import Sequence

from legato.check_result import CHECK_SECONDS
from legato.engines.base import Engine, Model
from legato.errors import EngineError, SettingsError


def first_to_chat(models: Sequence[Model]) -> Model | None:
    """Return the model to chat with if none is named: a loaded one, else the first. None if none can chat."""
    chatting = [model for model in models if model.chats]
    return next((model for model in chatting if model.loaded), chatting[0] if chatting else None)


async def named_or_first(engine: Engine, model: str | None) -> str:
    """Return the model that is named, or the first that chats.

    :raises SettingsError: none is named, and the engine has none that chats or does not answer.
    """
    if model:
        return model
    try:
        models = await engine.models()
    except EngineError as error:
        raise SettingsError(
            f"{error.message} Or name a model with --model, and it is asked for when it is needed."
        ) from None
    found = first_to_chat(models)
    if found is None:
        what = "no model to chat with" if models else "no model"
        raise SettingsError(f"The engine {engine.name} has {what}. Get one, or name one with --model.")
    return found.name


async def model_names(engine: Engine) -> list[str]:
    """Return the names of the engine's models, then close it.

    :raises LegatoError: the engine cannot be asked. :raises TimeoutError: it did not answer within `CHECK_SECONDS`.
    """
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return [model.name for model in await engine.models()]
    finally:
        await engine.close()


def listed(names: Sequence[str]) -> str:
    """Return the names as part of a sentence; of many, the first three."""
    if not names:
        return "no list of models"
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
