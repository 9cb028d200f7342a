"""OpenAI's API under `/v1`."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi import Request as HttpRequest
from msgspec.structs import replace

from legato.api.anthropic import models as anthropic
from legato.api.call import Call
from legato.api.openai.chat_request import ChatCompletionBody, parse_chat_request
from legato.api.openai.completion_request import TextCompletionBody, parse_completion_request
from legato.api.openai.embedding_request import EmbeddingBody, check_embedding_body, embedding_list, texts_of
from legato.api.openai.errors import PromptExceededError
from legato.api.openai.models import model_object
from legato.api.request_fields import InvalidFieldError
from legato.errors import ContextExceededError, LegatoError
from legato.gateway.api_caller import ApiCaller
from legato.gateway.api_errors import error_answer
from legato.gateway.call_headers import with_headers
from legato.gateway.dependencies import Context
from legato.gateway.embedding_call import EmbeddingCall
from legato.gateway.generation_response import GenerationResponse, resume_position
from legato.gateway.json_body import answer, openapi_types, read_body

router = APIRouter(prefix="/v1", tags=["openai"])


@router.post(
    "/chat/completions",
    openapi_extra=openapi_types.body(ChatCompletionBody),
    responses={
        200: {"content": {"application/json": {}, "text/event-stream": {}}, "description": "A completion"}
    },
)
async def chat_completions(request: HttpRequest, context: Context, caller: ApiCaller) -> Response:
    """Answer a list of messages, as OpenAI's chat completions do."""
    asked = parse_chat_request(await read_body(request, ChatCompletionBody))
    answerer = await context.catalog.resolve(asked.model, caller)

    options: dict[str, Any] = {"choices": asked.choices}
    if asked.stream:
        options["include_usage"] = asked.include_usage
    call = Call(
        "openai",
        "openai.chat.stream" if asked.stream else "openai.chat",
        asked.model,
        answerer.engine,
        asked.request,
        caller,
        format_options=options,
        choices=asked.choices,
    )
    call = await with_headers(request, context, call, answerer)
    return GenerationResponse(
        await context.generations.start(call), context.generations, _error, resume_at=resume_position(request)
    )


@router.post(
    "/completions",
    openapi_extra=openapi_types.body(TextCompletionBody),
    responses={
        200: {"content": {"application/json": {}, "text/event-stream": {}}, "description": "A completion"}
    },
)
async def completions(request: HttpRequest, context: Context, caller: ApiCaller) -> Response:
    """Continue a text, or several, without a template, as OpenAI's completions do."""
    asked = parse_completion_request(await read_body(request, TextCompletionBody))
    answerer = await context.catalog.resolve(asked.model, caller)
    if answerer.assistant is not None:
        raise InvalidFieldError(
            "An assistant has instructions of its own and continues no text. Ask for the model itself.",
            "model",
        )
    choices = asked.n * len(asked.prompts)
    options: dict[str, Any] = {"choices": choices, "n": asked.n}
    if asked.echo:
        options["echo"] = list(asked.prompts)
    if asked.stream:
        options["include_usage"] = asked.include_usage
    call = Call(
        "openai",
        "openai.completion.stream" if asked.stream else "openai.completion",
        asked.model,
        answerer.engine,
        asked.request,
        caller,
        format_options=options,
        choices=choices,
        prompts=asked.prompts,
    )
    call = await with_headers(request, context, call, answerer)
    return GenerationResponse(
        await context.generations.start(call),
        context.generations,
        _prompt_error,
        resume_at=resume_position(request),
    )


@router.post(
    "/embeddings",
    openapi_extra=openapi_types.body(EmbeddingBody),
    responses={200: {"content": {"application/json": {}}, "description": "A vector for each text"}},
)
async def embeddings(request: HttpRequest, context: Context, caller: ApiCaller) -> Response:
    """Embed a text, or several."""
    body = await read_body(request, EmbeddingBody)
    texts = texts_of(body.input)
    check_embedding_body(body)
    call = EmbeddingCall(context, caller, body.model, await context.catalog.resolve(body.model, caller))
    found = await call.run(request, texts, body.dimensions)
    return answer(embedding_list(found, body.model, body.encoding_format, counted=call.counted))


def _prompt_error(error: LegatoError) -> Response:
    """Return an error of a request whose input is `prompt`."""
    if isinstance(error, ContextExceededError):
        error = PromptExceededError(error.message, error.limit, error.asked)
    return _error(error)


def _error(error: LegatoError) -> Response:
    return error_answer("openai", error)


@router.get("/models", responses={200: {"content": {"application/json": {}}, "description": "All models"}})
async def models(
    request: HttpRequest,
    context: Context,
    caller: ApiCaller,
    limit: Annotated[int | None, Query(ge=1, le=1000)] = None,
    after_id: str | None = None,
    before_id: str | None = None,
) -> Response:
    """Return every name that `model` can be. With the header `anthropic-version`, in Anthropic's shape and in its pages."""
    found = await context.catalog.models(caller)
    if "anthropic-version" in request.headers:
        return answer(anthropic.list_object(found, limit=limit, after=after_id, before=before_id))
    return answer({"object": "list", "data": [model_object(each) for each in found]})


@router.get(
    "/models/{name:path}", responses={200: {"content": {"application/json": {}}, "description": "One model"}}
)
async def model(request: HttpRequest, name: str, context: Context, caller: ApiCaller) -> Response:
    """Return one model. With the header `anthropic-version`, in Anthropic's shape."""
    found = replace(await context.catalog.find(name, caller), name=name)
    return answer(
        anthropic.model_object(found) if "anthropic-version" in request.headers else model_object(found)
    )
