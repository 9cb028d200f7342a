"""Ollama's API under `/api`. Other paths there are Legato's own."""

import time
from typing import Any, Literal

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from msgspec.structs import replace

from legato.api.call import Call, Caller
from legato.api.catalog import ResolvedModel
from legato.api.ollama.chat_request import OllamaChatBody, OllamaRequest, parse_chat_request
from legato.api.ollama.fields import model_of, unloads
from legato.api.ollama.generate_request import OllamaGenerateBody, parse_generate_request
from legato.api.ollama.models import (
    VERSION,
    OllamaEmbedBody,
    OllamaEmbeddingsBody,
    OllamaShowBody,
    embedded_object,
    is_loaded,
    process_object,
    show_object,
    tag_object,
)
from legato.api.ollama.reply_codec import Kind, loaded_object
from legato.api.openai.embedding_request import check_dimensions, texts_of
from legato.domain.message import TextPart
from legato.engines.base import Request, Turn
from legato.errors import (
    InvalidError,
    LegatoError,
    ModelNotFoundError,
    NotFoundError,
    UnsupportedOptionError,
)
from legato.gateway.api_caller import ApiCaller
from legato.gateway.api_errors import error_answer
from legato.gateway.call_headers import with_headers
from legato.gateway.dependencies import Context, ServerContext
from legato.gateway.embedding_call import EmbeddingCall
from legato.gateway.generation_response import GenerationResponse, resume_position
from legato.gateway.json_body import answer, openapi_types, read_body

router = APIRouter(prefix="/api", tags=["ollama"])

MANAGED = (
    "Models are managed beside the engines, not through this server. "
    "Add, change or remove the model where its engine runs; then it is in the list of models here."
)

_REPLY: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {}, "application/x-ndjson": {}}, "description": "A reply"}
}


def _json(description: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {}}, "description": description}}


@router.post("/chat", openapi_extra=openapi_types.body(OllamaChatBody), responses=_REPLY)
async def chat(request: HttpRequest, context: Context, caller: ApiCaller) -> Response:
    """Answer a list of messages, as Ollama does: streamed, unless `stream` is false."""
    asked = parse_chat_request(await read_body(request, OllamaChatBody))
    return await _reply(request, context, caller, "chat", asked)


@router.post("/generate", openapi_extra=openapi_types.body(OllamaGenerateBody), responses=_REPLY)
async def generate(request: HttpRequest, context: Context, caller: ApiCaller) -> Response:
    """Answer a prompt, as Ollama does: streamed, unless `stream` is false."""
    asked = parse_generate_request(await read_body(request, OllamaGenerateBody))
    return await _reply(request, context, caller, "generate", asked)


async def _reply(
    request: HttpRequest, context: ServerContext, caller: ApiCaller, kind: Kind, asked: OllamaRequest
) -> Response:
    resolved = await _resolve(context, asked.model, caller)
    if asked.loads:
        reason: Literal["load", "unload"] = "unload" if unloads(asked.request.keep_alive) else "load"
        return answer(loaded_object(kind, asked.model, time.time(), reason))
    sent = await _fitting(resolved, asked.request)
    call = Call(
        "ollama",
        "ollama.reply.stream" if asked.stream else "ollama.reply",
        asked.model,
        resolved.engine,
        sent,
        caller,
        format_options={
            "kind": kind,
            "thinking": sent.think is not False,
            "history": asked.history,
        },
    )
    call = await with_headers(request, context, call, resolved)
    return GenerationResponse(
        await context.generations.start(call), context.generations, _error, resume_at=resume_position(request)
    )


async def _resolve(context: ServerContext, name: str, caller: Caller) -> ResolvedModel:
    """Return what answers a call.

    :raises ModelNotFoundError: there is no such name. Clients look for these words.
    """
    try:
        return await context.catalog.resolve(name, caller)
    except ModelNotFoundError:
        raise _not_found(name) from None


async def _fitting(resolved: ResolvedModel, request: Request) -> Request:
    """Return the request for a model that may not go on behind a text: it gets the text as a message, as with Ollama.

    :raises UnsupportedOptionError: an assistant is asked for what only a model can do.
    """
    if resolved.assistant is not None and (request.raw or request.suffix):
        raise UnsupportedOptionError(
            "An assistant has instructions of its own. Ask for the model itself.",
            "raw" if request.raw else "suffix",
        )
    if request.prefix and not (await resolved.engine.capabilities(resolved.model)).supports_prefill:
        told = Turn("assistant", (TextPart(request.prefix),))
        return replace(request, turns=(*request.turns, told), prefix="")
    return request


@router.head("/tags", include_in_schema=False)
@router.get("/tags", responses=_json("All models"))
async def tags(context: Context, caller: ApiCaller) -> Response:
    """Return every name that `model` can be."""
    return answer({"models": [tag_object(each) for each in await context.catalog.models(caller)]})


@router.get("/ps", responses=_json("The loaded models"))
async def ps(context: Context, caller: ApiCaller) -> Response:
    """Return the models that are loaded, as far as their engines tell it."""
    found = await context.catalog.models(caller)
    return answer({"models": [process_object(each) for each in found if is_loaded(each)]})


@router.post("/show", openapi_extra=openapi_types.body(OllamaShowBody), responses=_json("A model"))
async def show(request: HttpRequest, context: Context, caller: ApiCaller) -> Response:
    """Return what a model can do."""
    name = model_of(await read_body(request, OllamaShowBody))
    resolved = await _resolve(context, name, caller)
    try:
        found = replace(await context.catalog.find(name, caller), name=name)
    except ModelNotFoundError:
        raise _not_found(name) from None
    return answer(show_object(found, await resolved.engine.capabilities(resolved.model)))


@router.head("/version", include_in_schema=False)
@router.get("/version", responses=_json("The version"))
async def version(caller: ApiCaller) -> Response:
    """Return the version of Ollama whose API this is."""
    return answer({"version": VERSION})


@router.post("/embed", openapi_extra=openapi_types.body(OllamaEmbedBody), responses=_json("Embeddings"))
async def embed(request: HttpRequest, context: Context, caller: ApiCaller) -> Response:
    """Embed a text, or several. No text is cut."""
    body = await read_body(request, OllamaEmbedBody)
    name = model_of(body)
    resolved = await _resolve(context, name, caller)
    check_dimensions(body.dimensions)
    if not body.input:
        return answer({"model": name, "embeddings": []})
    call = EmbeddingCall(context, caller, name, resolved)
    found = await call.run(request, texts_of(body.input), body.dimensions)
    return answer(embedded_object(found, name, counted=call.counted))


@router.post(
    "/embeddings", openapi_extra=openapi_types.body(OllamaEmbeddingsBody), responses=_json("An embedding")
)
async def embeddings(request: HttpRequest, context: Context, caller: ApiCaller) -> Response:
    """Embed a text, as Ollama did before `/api/embed`."""
    body = await read_body(request, OllamaEmbeddingsBody)
    name = model_of(body)
    resolved = await _resolve(context, name, caller)
    if not body.prompt:
        return answer({"embedding": []})
    call = EmbeddingCall(context, caller, name, resolved)
    found = await call.run(request, (body.prompt,), None)
    return answer({"embedding": found.vectors[0]})


@router.post("/pull", include_in_schema=False)
@router.post("/push", include_in_schema=False)
@router.post("/create", include_in_schema=False)
@router.post("/copy", include_in_schema=False)
@router.delete("/delete", include_in_schema=False)
@router.post("/blobs/{digest}", include_in_schema=False)
async def manage(caller: ApiCaller) -> Response:
    """Refuse to manage models."""
    raise InvalidError(MANAGED)


@router.head("/blobs/{digest}", include_in_schema=False)
async def blob(caller: ApiCaller) -> Response:
    """Return that there is no such blob."""
    raise NotFoundError(MANAGED)


def _not_found(name: str) -> ModelNotFoundError:
    return ModelNotFoundError(f"model {name[:200]!r} not found: the list of models names all that there are")


def _error(error: LegatoError) -> Response:
    return error_answer("ollama", error)
