"""The settings of one conversation: limits, and the models to choose from."""

from collections.abc import Sequence

from legato.chat.reply import ResolvedAssistant
from legato.engines.base import Model
from legato.errors import InvalidError

SYSTEM_LENGTH = 20_000
"""Characters that a user may add to a system prompt."""


async def eligible(assistant: ResolvedAssistant) -> list[Model]:
    """Return the models that may answer in place of the assistant's own, which is one of them: those of its engine, or those it names.

    :raises EngineError: the engine cannot be asked.
    """
    named = assistant.config.models
    if named is not None and not named:
        return []
    models = [model for model in await assistant.engine.models() if model.engine == assistant.engine.name]
    if named is None:
        return [model for model in models if model.chats or model.name == assistant.model]
    return [model for model in models if model.name in (*named, assistant.model)]


def pick(models: Sequence[Model], name: str) -> str:
    """Return the full name of one of them; `:latest` may be left out.

    :raises InvalidError: there is none of this name.
    """
    names = [model.name for model in models]
    found = next((each for each in (name, f"{name}:latest", f"demo:{name}") if each in names), None)
    if found is None:
        raise InvalidError(f"There is no model {name[:80]!r} to choose. There is: {', '.join(names)}.")
    return found
