"""Anthropic's API under `/v1`."""

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest

from legato.api.anthropic.messages_request import MessagesBody, parse_messages_request
from legato.api.call import Call
from legato.api.prompt_size import prompt_size
from legato.errors import LegatoError
from legato.gateway.api_caller import ApiCaller
from legato.gateway.api_errors import error_answer
from legato.gateway.call_headers import with_headers
from legato.gateway.dependencies import Context
from legato.gateway.generation_response import GenerationResponse, resume_position
from legato.gateway.json_body import answer, openapi_types, read_body

router = APIRouter(prefix="/v1", tags=["anthropic"])


@router.post(
    "/messages",
    openapi_extra=openapi_types.body(MessagesBody),
    responses={
        200: {"content": {"application/json": {}, "text/event-stream": {}}, "description": "A message"}
    },
)
async def messages(request: HttpRequest, context: Context, caller: ApiCaller) -> Response:
    """Answer a list of messages, as Anthropic's Messages do."""
    asked = parse_messages_request(await read_body(request, MessagesBody))
    resolved = await context.catalog.resolve(asked.model, caller)
    call = Call(
        "anthropic",
        "anthropic.messages.stream" if asked.stream else "anthropic.messages",
        asked.model,
        resolved.engine,
        asked.request,
        caller,
        format_options={"thinking": asked.thinking},
    )
    call = await with_headers(request, context, call, resolved)
    return GenerationResponse(
        await context.generations.start(call), context.generations, _error, resume_at=resume_position(request)
    )


@router.post(
    "/messages/count_tokens",
    openapi_extra=openapi_types.body(MessagesBody),
    responses={200: {"content": {"application/json": {}}, "description": "The number of tokens"}},
)
async def count_tokens(request: HttpRequest, context: Context, caller: ApiCaller) -> Response:
    """Estimate how many tokens a request has for a model."""
    asked = parse_messages_request(await read_body(request, MessagesBody), counts=True)
    await context.catalog.resolve(asked.model, caller)
    return answer({"input_tokens": prompt_size(asked.request)})


def _error(error: LegatoError) -> Response:
    return error_answer("anthropic", error)
