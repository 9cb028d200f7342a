"""The names of models."""

from collections.abc import Iterable

from legato.fleet.protocol import ModelInfo

LATEST = ":latest"

MODELS = 1000
"""Models that one agent may offer: everyone who reads the state of the fleet gets them all."""

NAME_LENGTH = 256
"""Characters of a model's name."""


def canonical_model_name(model: str) -> str:
    """The name by which models are compared: Ollama lists `llama3:latest` for what people call `llama3`."""
    return model.removesuffix(LATEST)


def by_name(models: Iterable[ModelInfo], allowed: frozenset[str] | None = None) -> dict[str, ModelInfo]:
    """The models by canonical name; only those of `allowed`, unless it is None."""
    named = {canonical_model_name(each.name): each for each in models}
    return named if allowed is None else {name: each for name, each in named.items() if name in allowed}
