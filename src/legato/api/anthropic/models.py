"""Models as Anthropic's list tells them."""

from typing import Any

from legato.api.catalog_model import CatalogModel


def model_object(model: CatalogModel) -> dict[str, Any]:
    """Return a `model` object."""
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": "1970-01-01T00:00:00Z",
    }


def list_object(models: list[CatalogModel]) -> dict[str, Any]:
    """Return a list of all models, as one page."""
    data = [model_object(each) for each in models]
    return {
        "data": data,
        "has_more": False,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }
