"""`/api/attachments`: pictures and recordings, to be named in messages."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from legato.chat.media.sniff import suffix_of
from legato.domain.attachment import Attachment
from legato.errors import StorageError
from legato.gateway.dependencies import Asker
from legato.gateway.json_body import answer, documented
from legato.gateway.multipart import file_in
from legato.gateway.schemas import AttachmentView

PATH = "/api/attachments"

ROOM = 64 * 1024
"""What a body may have beyond the largest file, so that one that is a little too large is told so in words."""

router = APIRouter(prefix=PATH, tags=["attachments"])

HEADERS = {
    "cache-control": "private, max-age=31536000, immutable",
    "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
}

_BINARY = {"type": "string", "format": "binary"}
_BYTES = {"schema": _BINARY}
_FORM = {"schema": {"type": "object", "properties": {"file": _BINARY}, "required": ["file"]}}


@router.post(
    "",
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"image/*": _BYTES, "audio/*": _BYTES, "multipart/form-data": _FORM},
        }
    },
    responses=documented.gives(AttachmentView, 201, "It is kept"),
)
async def upload(
    request: Request, asker: Asker, name: Annotated[str | None, Query(max_length=1000)] = None
) -> Response:
    """Upload a picture or a recording: the body is the file itself, or a form with it. What it is, is found in its content.

    It is dropped where no message has used it after a day.
    """
    content: AsyncIterator[bytes] = request.stream()
    declared = request.headers.get("content-type", "")
    if declared.lower().startswith("multipart/form-data"):
        called, content = await file_in(declared, content)
        name = name or called
    kept = await asker.service.attachments.upload(asker.person, content, name)
    view = _view(kept)
    return answer(view, 201, {"location": view.url})


@router.get(
    "/{attachment}",
    response_class=Response,
    responses={200: {"description": "The file", "content": {"image/*": _BYTES, "audio/*": _BYTES}}},
)
async def one(attachment: str, asker: Asker) -> Response:
    """The bytes of a picture or a recording, for whoever uploaded it or may read a message with it."""
    attachments = asker.service.attachments
    found = await attachments.get(asker.person, attachment)
    path = attachments.path(found)
    try:
        status = await asyncio.to_thread(path.stat)
    except OSError as error:
        raise StorageError("The file of this attachment is gone. Bring it back from a backup.") from error
    return FileResponse(
        path,
        media_type=found.media_type,
        filename=_file_name(found),
        content_disposition_type="inline",
        headers=HEADERS,
        stat_result=status,
    )


def _view(attachment: Attachment) -> AttachmentView:
    return AttachmentView(
        id=attachment.id,
        type="image" if attachment.media_type.startswith("image/") else "audio",
        media_type=attachment.media_type,
        size=attachment.size,
        url=f"{PATH}/{attachment.id}",
        name=attachment.name,
    )


def _file_name(attachment: Attachment) -> str:
    """What it was called, with the ending of what it is: `cat.html` would be opened as something else."""
    stem = (attachment.name or attachment.id).rpartition(".")
    return f"{stem[0] or stem[2]}.{suffix_of(attachment.media_type)}"
