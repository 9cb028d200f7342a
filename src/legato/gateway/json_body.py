"""JSON bodies of the HTTP routes, and their types in the OpenAPI document. msgspec encodes and decodes them, as on the sockets."""

from typing import Any, TypeVar, get_args

import msgspec
from fastapi import Request, Response

from legato.domain.client_json import decode_client_json

T = TypeVar("T")

REF = "#/components/schemas/{name}"


async def read_body(request: Request, shape: type[T]) -> T:
    """Return the body of a request as a `shape`. An empty body counts as `{}`.

    :raises InvalidError: the body does not fit; the sentence says why.
    """
    raw = await request.body() or b"{}"
    return decode_client_json(
        lambda raw: msgspec.json.decode(raw, type=shape),
        raw,
        misfit="The request does not fit",
        subject="The request",
        possessive="The request's",
    )


def answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, "application/json")


class OpenApiTypes:
    """Collects the types that routes name, so that the OpenAPI document contains each of them once."""

    def __init__(self) -> None:
        self._shapes: dict[str, Any] = {}

    def _content(self, shape: Any) -> dict[str, Any]:
        refs = []
        for each in get_args(shape) or (shape,):
            self._shapes[each.__name__] = each
            refs.append({"$ref": REF.format(name=each.__name__)})
        return {"application/json": {"schema": {"anyOf": refs} if len(refs) > 1 else refs[0]}}

    def body(self, shape: Any) -> dict[str, Any]:
        """Return the `openapi_extra` of a route whose body has this type."""
        return {"requestBody": {"required": True, "content": self._content(shape)}}

    def response(
        self, shape: Any, status: int = 200, what: str = "Success", text: str | None = None
    ) -> dict[int | str, dict[str, Any]]:
        """Return the `responses` of a route. `shape` may be a union (`A | B`); `text` is a media type that the route can return instead."""
        content = self._content(shape)
        if text is not None:
            content[text] = {"schema": {"type": "string"}}
        return {status: {"description": what, "content": content}}

    def components(self) -> dict[str, Any]:
        _, components = msgspec.json.schema_components(self._shapes.values(), ref_template=REF)
        return components


openapi_types = OpenApiTypes()
