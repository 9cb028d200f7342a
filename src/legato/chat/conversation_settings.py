"""What was chosen for one conversation, and what comes of it: who speaks, and what the model reads."""

import copy
from collections.abc import Sequence

from msgspec.structs import replace

from legato.chat.reply import ResolvedAssistant
from legato.domain.conversation import ConversationSettings
from legato.domain.message import Message
from legato.engines.base import Model
from legato.engines.fallback import FallbackEngine
from legato.errors import InvalidError

SYSTEM_LENGTH = 20_000
"""Characters that a person may add to a system prompt."""


def with_settings(speaker: ResolvedAssistant, choices: ConversationSettings) -> ResolvedAssistant:
    """The speaker of one conversation. What its owner says comes behind the assistant's own system prompt, never in place of it."""
    if choices.model is None and choices.system is None:
        return speaker
    other = copy.copy(speaker)
    if choices.model is not None:
        other.model = choices.model
        if isinstance(speaker.engine, FallbackEngine):
            other.engine = speaker.engine.asking(choices.model)
    if choices.system is not None:
        system = "\n\n".join(filter(None, (speaker.assistant.system, choices.system)))
        other.assistant = replace(speaker.assistant, system=system)
    return other


def still_read(branch: list[Message], cleared: str | None) -> list[Message]:
    """What is left of a branch for the model, where its context was cleared behind a message."""
    places = (place for place, message in enumerate(branch) if message.id == cleared)
    return branch[next(places, -1) + 1 :]


async def eligible(speaker: ResolvedAssistant) -> list[Model]:
    """The models that may answer in place of the assistant's own, which is one of them: those of its engine, or those it names.

    :raises EngineError: the engine cannot be asked.
    """
    named = speaker.assistant.models
    if named is not None and not named:
        return []
    models = [model for model in await speaker.engine.models() if model.engine == speaker.engine.name]
    if named is None:
        return [model for model in models if model.chats or model.name == speaker.model]
    return [model for model in models if model.name in (*named, speaker.model)]


def pick(models: Sequence[Model], name: str) -> str:
    """The full name of one of them; `:latest` may be left out.

    :raises InvalidError: there is none of this name.
    """
    names = [model.name for model in models]
    found = next((each for each in (name, f"{name}:latest", f"demo:{name}") if each in names), None)
    if found is None:
        raise InvalidError(f"There is no model {name[:80]!r} to choose. There is: {', '.join(names)}.")
    return found
