"""The Vercel AI SDK under `/ai`: the server side of `useChat`."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest

from legato.api.ai.chat_request import AiChatBody, check_chat_id, parse_chat_request
from legato.api.ai.replayed_message import message_frames
from legato.api.ai_chats import chat_document, continued_message
from legato.api.call import CONTINUE, Call
from legato.api.response_stream import ResponseStream
from legato.errors import LegatoError
from legato.gateway.api_caller import ApiCaller
from legato.gateway.api_errors import error_answer
from legato.gateway.call_headers import with_headers
from legato.gateway.dependencies import Context, ServerContext
from legato.gateway.generation_response import GenerationResponse
from legato.gateway.json_body import openapi_types, read_body

router = APIRouter(prefix="/ai/chat", tags=["ai"])

HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}

DEFAULT_MODEL = "default"

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "A UI message stream"}
}


@router.post("", openapi_extra=openapi_types.body(AiChatBody), responses=_STREAM)
async def chat(request: HttpRequest, context: Context, caller: ApiCaller) -> Response:
    """Answer the messages of a chat. The reply goes on if the page leaves; another message to the same chat ends it."""
    asked = parse_chat_request(await read_body(request, AiChatBody))
    model = asked.model or DEFAULT_MODEL
    resolved = await context.catalog.resolve(model, caller)
    call = Call(
        "ai",
        "ai.chat.stream",
        model,
        resolved.engine,
        asked.request,
        caller,
        format_options={"message": asked.continued["id"] if asked.continued is not None else None},
        on_disconnect=CONTINUE,
        document=chat_document(asked.chat, asked.continued),
    )
    return _response(
        context,
        asked.chat,
        await context.ai_chats.start(asked.chat, await with_headers(request, context, call, resolved)),
    )


@router.get(
    "/{chat_id:path}/stream",
    responses={**_STREAM, 204: {"description": "Nothing runs in this chat, or there is no such chat"}},
)
async def resume(chat_id: str, context: Context, caller: ApiCaller) -> Response:
    """Stream the reply that is being written in a chat, from its beginning."""
    check_chat_id(chat_id)
    stream = await context.ai_chats.find(caller.user, chat_id)
    if stream is None:
        return Response(status_code=204)
    continued = continued_message(stream.request)
    before = message_frames(continued) if continued is not None else b""
    return _response(context, chat_id, stream, before)


@router.post(
    "/{chat_id:path}/stop",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "Nothing runs in this chat any more"}},
)
async def stop(chat_id: str, context: Context, caller: ApiCaller) -> Response:
    """Stop the reply that is being written in a chat. Its stream ends with `abort`."""
    check_chat_id(chat_id)
    await context.ai_chats.stop(caller.user, chat_id)
    return Response(status_code=204)


def _response(context: ServerContext, chat_id: str, stream: ResponseStream, before: bytes = b"") -> Response:
    return GenerationResponse(
        stream,
        context.generations,
        _error,
        headers=HEADERS,
        before=before,
        on_sent=partial(context.ai_chats.told, chat_id, stream),
    )


def _error(error: LegatoError) -> Response:
    return error_answer("ai", error)
