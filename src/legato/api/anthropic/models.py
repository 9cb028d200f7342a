"""Models as Anthropic's list tells them."""

from typing import Any

from legato.api.catalog_model import CatalogModel
from legato.api.request_fields import InvalidFieldError


def model_object(model: CatalogModel) -> dict[str, Any]:
    """Return a `model` object."""
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": "1970-01-01T00:00:00Z",
    }


def list_object(
    models: list[CatalogModel],
    *,
    limit: int | None = None,
    after: str | None = None,
    before: str | None = None,
) -> dict[str, Any]:
    """Return a page of the models, behind or before a name. Without `limit` it has all of them.

    :raises InvalidFieldError: there is no such name.
    """
    names = [each.name for each in models]
    for name, param in ((after, "after_id"), (before, "before_id")):
        if name is not None and name not in names:
            raise InvalidFieldError(f"`{param}` is the `id` of a model of this list.", param)
    found = models
    if after is not None:
        found = found[names.index(after) + 1 :]
    elif before is not None:
        found = found[: names.index(before)]
    most = len(found) if limit is None else limit
    page = found[-most:] if before is not None and after is None and most else found[:most]
    data = [model_object(each) for each in page]
    return {
        "data": data,
        "has_more": len(page) < len(found),
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }
