"""`/v1/streams/{id}`: read on in a response of any API, by the protocol of Durable Streams."""

from functools import partial

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest

from legato.api.durable_streams import StreamReadRequest
from legato.gateway.api_caller import ApiCaller
from legato.gateway.api_errors import api_named, error_answer
from legato.gateway.dependencies import Context
from legato.gateway.generation_response import GenerationResponse
from legato.gateway.stream_read_response import StreamReadResponse, head_response

router = APIRouter(prefix="/v1/streams", tags=["streams"])


@router.get(
    "/{stream}",
    openapi_extra={
        "parameters": [
            {"name": name, "in": where, "required": False, "schema": {"type": "string"}}
            for name, where in (
                ("offset", "query"),
                ("live", "query"),
                ("cursor", "query"),
                ("Last-Event-ID", "header"),
                ("If-None-Match", "header"),
            )
        ]
    },
    responses={
        200: {
            "content": {"application/json": {}, "application/x-ndjson": {}, "text/event-stream": {}},
            "description": "What follows the offset, byte for byte as the first answer would have gone on",
        },
        204: {"description": "Nothing came while a long-poll waited, or a client has received all of it"},
        304: {"description": "What the client has is what there is"},
        410: {"description": "The server was restarted and has lost what was at this offset"},
    },
)
async def read(request: HttpRequest, stream: str, context: Context, caller: ApiCaller) -> Response:
    """Read on in a stream that the header `Legato-Stream` of an answer named.

    `offset` is a position: the id of an event, a `Stream-Next-Offset`, `-1` (the beginning) or `now`. Without `live`, the answer is
    what is there. `live` is `long-poll`, `sse` (events of Durable Streams) or `raw` (the answer goes on as the first one would
    have). A client that accepts only events and does not say `live` gets `raw`, if the stream is one of events.
    """
    found = await context.generations.find(caller.user, stream)
    asked = StreamReadRequest.parse(
        request.query_params.getlist("offset"),
        request.query_params.get("live"),
        request.query_params.get("cursor"),
        request.headers.get("last-event-id"),
        raw=found.log.numbered and request.headers.get("accept", "").startswith("text/event-stream"),
    )
    on_error = partial(error_answer, api_named(found.api))
    if asked.mode != "raw":
        enter = partial(context.generations.read, found)
        known = request.headers.get("if-none-match")
        return StreamReadResponse(found, asked, enter, on_error, known=known)
    offset = found.log.position(asked.offset)
    if found.log.closed and offset == found.log.next and offset:
        return Response(status_code=204)
    return GenerationResponse(found, context.generations, on_error, offset=offset)


@router.head(
    "/{stream}", responses={200: {"description": "How long the stream is, and whether it has ended"}}
)
async def head(stream: str, context: Context, caller: ApiCaller) -> Response:
    """Tell the position behind what is there, and whether the stream has ended."""
    return head_response(await context.generations.find(caller.user, stream))


@router.delete("/{stream}", status_code=204)
async def delete(stream: str, context: Context, caller: ApiCaller) -> Response:
    """End a stream, down to the engine, and forget it."""
    await context.generations.delete(caller.user, stream)
    return Response(status_code=204)
