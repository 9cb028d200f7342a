"""JSON in and out of the HTTP routes, and what the OpenAPI document says of it. All of it is msgspec's, as on the sockets."""

from typing import Any, TypeVar, get_args

import msgspec
from fastapi import Request, Response

from legato.dialects.native.codec import short
from legato.domain.surrogates import decode_replacing_surrogates
from legato.errors import InvalidError

T = TypeVar("T")

REF = "#/components/schemas/{name}"


async def read(request: Request, shape: type[T]) -> T:
    """The body as a `shape`; an empty one counts as `{}`.

    :raises InvalidError: with a sentence that says what is wrong with it.
    """
    raw = await request.body() or b"{}"
    try:
        return decode_replacing_surrogates(lambda raw: msgspec.json.decode(raw, type=shape), raw)
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
        refs = []
        for each in get_args(shape) or (shape,):
            self._shapes[each.__name__] = each
            refs.append({"$ref": REF.format(name=each.__name__)})
        return {"application/json": {"schema": {"anyOf": refs} if len(refs) > 1 else refs[0]}}

    def takes(self, shape: Any) -> dict[str, Any]:
        """For a route's `openapi_extra`."""
        return {"requestBody": {"required": True, "content": self._content(shape)}}

    def gives(
        self, shape: Any, status: int = 200, what: str = "Success", text: str | None = None
    ) -> dict[int | str, dict[str, Any]]:
        """For a route's `responses`. `shape` may be one or another (`A | B`), `text` a media type that can be had instead."""
        content = self._content(shape)
        if text is not None:
            content[text] = {"schema": {"type": "string"}}
        return {status: {"description": what, "content": content}}

    def components(self) -> dict[str, Any]:
        _, components = msgspec.json.schema_components(self._shapes.values(), ref_template=REF)
        return components


documented = Documented()
