"""JSON in and out of the HTTP routes, and what the OpenAPI document says of it. All of it is msgspec's, as on the sockets."""

from typing import Any, TypeVar

import msgspec
from fastapi import Request, Response

from legato.chat.ingress import lenient
from legato.dialects.native.codec import short
from legato.errors import InvalidError

T = TypeVar("T")

REF = "#/components/schemas/{name}"


async def read(request: Request, shape: type[T]) -> T:
    """The body as a `shape`; an empty one counts as `{}`.

    :raises InvalidError: with a sentence that says what is wrong with it.
    """
    raw = await request.body() or b"{}"
    try:
        return lenient(lambda raw: msgspec.json.decode(raw, type=shape), raw)
    except msgspec.ValidationError as error:
        raise InvalidError(f"The request does not fit: {short(error)}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidError(f"The request is not JSON: {short(error)}.") from None
    except RecursionError:
        raise InvalidError("The request's JSON is nested too deeply.") from None


def answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, "application/json")


class Documented:
    """Collects the shapes that routes name, so that the OpenAPI document has each of them once."""

    def __init__(self) -> None:
        self._shapes: dict[str, Any] = {}

    def _content(self, shape: Any) -> dict[str, Any]:
        self._shapes[shape.__name__] = shape
        return {"application/json": {"schema": {"$ref": REF.format(name=shape.__name__)}}}

    def takes(self, shape: Any) -> dict[str, Any]:
        """For a route's `openapi_extra`."""
        return {"requestBody": {"required": True, "content": self._content(shape)}}

    def gives(self, shape: Any, status: int = 200, what: str = "Success") -> dict[int | str, dict[str, Any]]:
        """For a route's `responses`."""
        return {status: {"description": what, "content": self._content(shape)}}

    def components(self) -> dict[str, Any]:
        _, components = msgspec.json.schema_components(self._shapes.values(), ref_template=REF)
        return components


documented = Documented()
