"""A model as OpenAI's list of models tells it."""

from typing import Any

from legato.api.catalog_model import CatalogModel


def model_object(model: CatalogModel) -> dict[str, Any]:
    """Return a `model` object. `legato` says what it is: a model of an engine, an assistant or an alias."""
    legato: dict[str, Any] = {"kind": model.kind}
    if model.target is not None:
        legato["target"] = model.target
    if model.model is not None and model.model.context is not None:
        legato["context"] = model.model.context
    return {"id": model.name, "object": "model", "created": 0, "owned_by": model.owner, "legato": legato}
