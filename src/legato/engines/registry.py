"""The engine types of this version, in the order in which they are listed to people. A new engine is one more line."""

from typing import Any

from legato.engines.demo.engine_type import DEMO
from legato.engines.engine_type import EngineType
from legato.engines.llama.engine_type import LLAMA
from legato.engines.ollama.engine_type import OLLAMA
from legato.engines.openai.engine_type import OPENAI

ENGINE_TYPES: dict[str, EngineType[Any]] = {
    engine_type.name: engine_type
    for engine_type in (
        DEMO,
        LLAMA,
        OLLAMA,
        OPENAI,
    )
}
"""By name."""


def engine_of_model(model: str | None) -> str | None:
    """Return the engine that a model's name alone tells; None if it tells none."""
    if model is None:
        return None
    return next((name for name, each in ENGINE_TYPES.items() if each.owns(model)), None)
