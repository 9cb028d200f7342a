"""What models are called."""

from collections.abc import Iterable

from legato.fleet.protocol import ModelInfo

LATEST = ":latest"

MODELS = 1000
"""Models that one agent may offer: everyone who looks at the fleet is told of them."""

NAME_LENGTH = 256
"""Characters of a model's name."""


def canonical_model_name(model: str) -> str:
    """The name by which models are compared: Ollama lists `llama3:latest`, everybody says `llama3`, and they are one."""
    return model.removesuffix(LATEST)


def by_name(facts: Iterable[ModelInfo], allowed: frozenset[str] | None = None) -> dict[str, ModelInfo]:
    """The models by the names they are compared by; only those of `allowed`, where that is told."""
    named = {canonical_model_name(each.name): each for each in facts}
    return named if allowed is None else {name: each for name, each in named.items() if name in allowed}
