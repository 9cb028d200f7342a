"""Models as Ollama's API tells them: `tags`, `ps` and `show`, without I/O."""

import hashlib
import re
from typing import Any

from msgspec import Struct

from legato.api.catalog_model import CatalogModel
from legato.engines.base import Capabilities
from legato.engines.embedding import Embedding

VERSION = "0.17.4"
"""The version of Ollama whose API this is. Clients refuse to work with one that is too old."""

LONG_AGO = "1970-01-01T00:00:00Z"
"""When a model was changed: engines do not tell it."""

NEVER = "9999-12-31T23:59:59Z"
"""When a loaded model is unloaded: its engine decides that."""

UNKNOWN = "unknown"
"""What Ollama says of a property that it cannot tell."""

_SIZE = re.compile(r"(\d[\d.]*[KMBT])(?:\s+(\S+))?", re.ASCII)


class OllamaShowBody(Struct, frozen=True):
    """The body of `POST /api/show`. `name` stands for `model`."""

    model: str | None = None
    name: str | None = None
    verbose: bool | None = None


class OllamaEmbedBody(Struct, frozen=True):
    """The body of `POST /api/embed`. `name` stands for `model`. A text is never cut, so `truncate` has no effect; how long a model stays
    loaded and its `options` are the engine's own.
    """

    model: str | None = None
    name: str | None = None
    input: str | list[Any] | None = None
    dimensions: int | None = None
    truncate: bool | None = None
    keep_alive: str | float | None = None
    options: dict[str, Any] | None = None


class OllamaEmbeddingsBody(Struct, frozen=True):
    """The body of `POST /api/embeddings`. `name` stands for `model`."""

    model: str | None = None
    name: str | None = None
    prompt: str | None = None
    keep_alive: str | float | None = None
    options: dict[str, Any] | None = None


def embedded_object(found: Embedding, model: str, *, counted: bool) -> dict[str, Any]:
    """Return the response of `embed`. `model` is the name that the client asked for; `counted`: the server counted the tokens."""
    told = {
        "model": model,
        "embeddings": found.vectors,
        "total_duration": round((found.total_ms or 0) * 1e6),
        "load_duration": round((found.load_ms or 0) * 1e6),
        "prompt_eval_count": found.tokens or 0,
    }
    return {**told, "legato_counted": True} if counted else told


def tag_object(model: CatalogModel) -> dict[str, Any]:
    """Return a model of `tags`."""
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": LONG_AGO,
        "size": _size(model),
        "digest": _digest(model),
        "details": _details(model),
    }


def is_loaded(model: CatalogModel) -> bool:
    """Return whether `ps` has this model: it is loaded, and not another name of one."""
    return model.kind == "model" and model.model is not None and bool(model.model.loaded)


def process_object(model: CatalogModel) -> dict[str, Any]:
    """Return a loaded model of `ps`. Where it is loaded is not known, so `size_vram` is 0."""
    tag = tag_object(model)
    del tag["modified_at"]
    context = model.model.context if model.model is not None else None
    return {**tag, "expires_at": NEVER, "size_vram": 0, "context_length": context or 0}


def show_object(model: CatalogModel, can: Capabilities) -> dict[str, Any]:
    """Return what `show` tells. The template is the engine's own, so it is told as one that only has the prompt."""
    context = can.context or (model.model.context if model.model is not None else None)
    info: dict[str, Any] = {"general.architecture": "legato", "general.basename": model.name}
    if context is not None:
        info["legato.context_length"] = context
    embeds = model.model is not None and not model.model.chats
    abilities = ["embedding"] if embeds else ["completion"]
    abilities += [
        name
        for name, able in (("tools", can.tools), ("vision", can.images), ("thinking", can.thinks))
        if able and not embeds
    ]
    return {
        "license": UNKNOWN,
        "modelfile": f"# Legato manages this model beside its engine.\nFROM {model.name}\n",
        "parameters": "" if context is None else f"{'num_ctx':<30} {context}",
        "template": "{{ .Prompt }}",
        "details": _details(model),
        "model_info": info,
        "capabilities": abilities,
        "modified_at": LONG_AGO,
    }


def _details(model: CatalogModel) -> dict[str, Any]:
    """Return the details. `legato` says what the name is: a model of an engine, an assistant or an alias."""
    told = model.model.detail if model.model is not None else None
    match = _SIZE.fullmatch(told or "")
    return {
        "parent_model": model.target or "",
        "format": "gguf" if _size(model) else UNKNOWN,
        "family": model.owner,
        "families": [model.owner],
        "parameter_size": match[1] if match else UNKNOWN,
        "quantization_level": (match[2] if match else None) or UNKNOWN,
        "legato": {"kind": model.kind},
    }


def _size(model: CatalogModel) -> int:
    return (model.model.size if model.model is not None else None) or 0


def _digest(model: CatalogModel) -> str:
    """Return a digest that is the same as long as the name means the same."""
    parts = (model.name, model.kind, model.owner, model.target or "", str(_size(model)))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
