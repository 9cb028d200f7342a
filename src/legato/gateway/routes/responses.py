"""OpenAI's Responses under `/v1/responses`."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi import Request as HttpRequest

from legato.api.call import CANCEL, CONTINUE, Call
from legato.api.openai.errors import responses_error_object
from legato.api.openai.responses_request import (
    ResponseNotFoundError,
    ResponsesBody,
    ResponsesRequest,
    check_names,
    parse_responses_request,
)
from legato.api.prompt_size import prompt_size
from legato.api.request_fields import InvalidFieldError
from legato.api.response_history import ResponseHistory, items_with_ids, stream_id_of
from legato.api.response_stream import ResponseStream
from legato.errors import GoneError, LegatoError, NotFoundError
from legato.gateway.api_caller import ApiCaller
from legato.gateway.api_errors import error_answer
from legato.gateway.call_headers import with_headers
from legato.gateway.dependencies import Context
from legato.gateway.document_response import DocumentResponse
from legato.gateway.generation_response import STREAM_HEADER, GenerationResponse, resume_position
from legato.gateway.json_body import answer, openapi_types, read_body

router = APIRouter(prefix="/v1/responses", tags=["openai"])

RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {}, "text/event-stream": {}}, "description": "A response"}
}


@router.post("", openapi_extra=openapi_types.body(ResponsesBody), responses=RESPONSE)
async def create(request: HttpRequest, context: Context, caller: ApiCaller) -> Response:
    """Answer an input, as OpenAI's Responses do."""
    asked = await _asked(request)
    resolved = await context.catalog.resolve(asked.model, caller)
    history = ResponseHistory(context.generations, caller.user)
    items = await history.resolved(asked)
    prompt = asked.with_history([*await history.before(asked.previous), *items])
    call = Call(
        "openai",
        "openai.responses",
        asked.model,
        resolved.engine,
        prompt,
        caller,
        format_options={"fields": asked.fields},
        on_disconnect=CONTINUE if asked.background else CANCEL,
        stored=asked.store,
        background=asked.background,
        document={"input": items, "previous": asked.previous} if asked.store else None,
    )
    stream = await context.generations.start(await with_headers(request, context, call, resolved))
    if asked.stream:
        return GenerationResponse(stream, context.generations, _error, resume_at=resume_position(request))
    if asked.background:
        return answer(context.generations.document(stream), headers={STREAM_HEADER: stream.id})
    return DocumentResponse(stream, context.generations, _error)


@router.post(
    "/input_tokens",
    openapi_extra=openapi_types.body(ResponsesBody),
    responses={200: {"content": {"application/json": {}}, "description": "The number of tokens"}},
)
async def input_tokens(request: HttpRequest, context: Context, caller: ApiCaller) -> Response:
    """Estimate how many tokens the input of a request has."""
    asked = await _asked(request)
    await context.catalog.resolve(asked.model, caller)
    history = ResponseHistory(context.generations, caller.user)
    items = await history.resolved(asked)
    prompt = asked.with_history([*await history.before(asked.previous), *items])
    return answer({"object": "response.input_tokens", "input_tokens": prompt_size(prompt)})


@router.get("/{response}", responses=RESPONSE)
async def retrieve(
    request: HttpRequest,
    response: str,
    context: Context,
    caller: ApiCaller,
    stream: bool = False,
    starting_after: int | None = None,
    include_obfuscation: bool = False,
) -> Response:
    """Return a stored response as it is now, or its events behind `starting_after`, or `Last-Event-ID`, and those that follow."""
    found = await _find(context, caller, response)
    if not stream:
        if starting_after is not None:
            raise InvalidFieldError("`starting_after` needs `stream=true`.", "starting_after")
        return answer(context.generations.document(found))
    if include_obfuscation:
        raise InvalidFieldError("`include_obfuscation` is not supported here.", "include_obfuscation")
    last = request.headers.get("last-event-id")
    offset = found.log.position(last) if starting_after is None else _offset(found, starting_after)
    return GenerationResponse(found, context.generations, _error, offset=offset)


@router.delete(
    "/{response}", responses={200: {"content": {"application/json": {}}, "description": "Deleted"}}
)
async def delete(response: str, context: Context, caller: ApiCaller) -> Response:
    """Delete a stored response. One that is not complete is cancelled."""
    found = await _find(context, caller, response)
    await context.generations.delete(caller.user, found.id)
    return answer({"id": response, "object": "response", "deleted": True})


@router.post(
    "/{response}/cancel", responses={200: {"content": {"application/json": {}}, "description": "A response"}}
)
async def cancel(response: str, context: Context, caller: ApiCaller) -> Response:
    """Cancel a response down to the engine, and return it. One that has ended is returned as it is."""
    found = await _find(context, caller, response)
    await context.generations.cancel(caller.user, found.id)
    return answer(context.generations.document(found))


@router.get(
    "/{response}/input_items",
    responses={200: {"content": {"application/json": {}}, "description": "Items, one page of them"}},
)
async def input_items(
    response: str,
    context: Context,
    caller: ApiCaller,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> Response:
    """Return the input of a stored response, without that of the responses before it."""
    found = await _find(context, caller, response)
    items = items_with_ids(found.id, found.request["input"])
    if order == "desc":
        items.reverse()
    if after is not None:
        place = next((at for at, item in enumerate(items) if item["id"] == after), None)
        if place is None:
            raise InvalidFieldError("`after` is not the id of an item of this response.", "after")
        items = items[place + 1 :]
    page = items[:limit]
    return answer(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(items) > limit,
        }
    )


async def _asked(request: HttpRequest) -> ResponsesRequest:
    body = await read_body(request, ResponsesBody)
    check_names(await request.body())
    return parse_responses_request(body)


async def _find(context: Context, caller: ApiCaller, response: str) -> ResponseStream:
    """Return a stored response of the caller.

    :raises ResponseNotFoundError: there is none; the same for one of another user, or of another API.
    """
    try:
        found = await context.generations.find(caller.user, stream_id_of(response))
    except NotFoundError:
        raise ResponseNotFoundError from None
    if found.request is None or found.api != "openai":
        raise ResponseNotFoundError
    return found


def _offset(stream: ResponseStream, sequence: int) -> int:
    """Return where the events behind a `sequence_number` begin.

    :raises GoneError: the event was lost with an earlier server.
    :raises InvalidFieldError: there is no such event.
    """
    log = stream.log
    if log.incarnation > 1 and sequence >= log.restored:
        raise GoneError(
            "The response does not have this event: the server was restarted and has lost it. Read the response from its beginning."
        )
    if not 0 <= sequence < log.count(log.next):
        raise InvalidFieldError("The response has no event with this number.", "starting_after")
    return log.offset(sequence + 1)


def _error(error: LegatoError) -> Response:
    return error_answer("openai", error, shape=responses_error_object)
