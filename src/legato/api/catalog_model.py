"""A name that clients of the APIs can use."""

from typing import Literal

from msgspec import Struct

from legato.engines.base import Model


class CatalogModel(Struct, frozen=True, omit_defaults=True):
    """One name that clients can use. `target` is the name behind an alias; `owner` is the engine, or `legato` for an assistant."""

    name: str
    kind: Literal["model", "assistant", "alias"]
    owner: str
    model: Model | None = None
    target: str | None = None
    description: str | None = None
