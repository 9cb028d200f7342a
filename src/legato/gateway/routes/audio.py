"""OpenAI's transcription of recordings, with the transcriber of `[audio]`."""

import asyncio

from fastapi import APIRouter, Request, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from legato.api.openai.transcription import parse_transcription_form, transcription_object
from legato.api.request_fields import InvalidFieldError
from legato.chat.media.sniff import find_kind
from legato.domain.public_text import public_error
from legato.engines.transcription import Transcriber
from legato.errors import EngineError, EngineRefusedError, InvalidError, ModelNotFoundError
from legato.gateway.api_caller import ApiCaller
from legato.gateway.dependencies import Context
from legato.gateway.json_body import answer

PATH = "/v1/audio/transcriptions"

MISSING = "This server puts no recordings into words. Its operator can set `engine` in [audio]."

USUAL = "whisper-1"
"""The name that clients ask for if they know no other."""

FIELDS = 32
"""The most fields of a form."""

router = APIRouter(tags=["openai"])

_BINARY = {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "properties": {"file": _BINARY, "model": {"type": "string"}, "response_format": {"type": "string"}},
    "required": ["file", "model"],
}


@router.post(
    PATH,
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
    responses={200: {"content": {"application/json": {}, "text/plain": {}}, "description": "The text"}},
)
async def transcriptions(request: Request, context: Context, caller: ApiCaller) -> Response:
    """Put a recording into words."""
    with context.limits.hold("uploads", caller.user), context.calls.hold(caller):
        try:
            transcribed = await _transcribe(request, context.transcriber, caller.models)
        except EngineError as error:
            raise public_error(error) from error
    if context.transcriber is not None:
        # A call without tokens: a transcriber tells none.
        context.calls.used(caller, context.transcriber.model, 0, 0)
    return transcribed


async def _transcribe(
    request: Request, transcriber: Transcriber | None, allowed: tuple[str, ...]
) -> Response:
    try:
        form = await request.form(max_files=1, max_fields=FIELDS)
    except HTTPException as error:
        raise InvalidError(f"This form cannot be read: {error.detail}.") from None
    try:
        asked = parse_transcription_form(
            {name: [value for value in form.getlist(name) if isinstance(value, str)] for name in form}
        )
        if transcriber is None:
            raise EngineRefusedError(MISSING)
        if asked.model not in (USUAL, transcriber.model) or (allowed and asked.model not in allowed):
            raise ModelNotFoundError(
                f"There is no model {asked.model[:200]!r} here that puts recordings into words."
            )
        data, media_type = await _recording(form.get("file"))
    finally:
        await form.close()
    found = await transcriber.transcript(data, media_type, asked.request)
    if asked.format == "text":
        return Response(found.text + "\n", media_type="text/plain; charset=utf-8")
    return answer(transcription_object(found, detailed=asked.request.detailed))


async def _recording(file: UploadFile | str | None) -> tuple[bytes, str]:
    """Return the bytes of a recording and its media type.

    :raises InvalidFieldError: it is none.
    """
    if not isinstance(file, UploadFile):
        raise InvalidFieldError("`file` is required: a recording.", "file")
    try:
        kind = await asyncio.to_thread(find_kind, file.file)
    except InvalidError:
        kind = None
    if kind is None or kind.type != "audio":
        raise InvalidFieldError(
            "`file` is no recording that can be read. Send a WAV, MP3, OGG, FLAC, M4A or WebM.", "file"
        )
    await file.seek(0)
    return await file.read(), kind.media_type
