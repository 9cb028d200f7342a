"""`/api/attachments`: pictures and recordings for messages."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from legato.chat.media.sniff import TEXT, suffix_of
from legato.domain.attachment import Attachment
from legato.gateway.blob_response import BlobResponse
from legato.gateway.dependencies import Authenticated, AuthenticatedRequest
from legato.gateway.json_body import answer, openapi_types
from legato.gateway.multipart import first_file
from legato.gateway.schemas import AttachmentView

PATH = "/api/attachments"

FORM_BYTES = 64 * 1024
"""How much longer than the largest file a body may be, so that a file that is slightly too large gets a proper error."""

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
            "content": {
                "image/*": _BYTES,
                "audio/*": _BYTES,
                "text/plain": _BYTES,
                "multipart/form-data": _FORM,
            },
        }
    },
    responses=openapi_types.response(AttachmentView, 201, "It is stored"),
)
async def upload(
    request: Request, authenticated: Authenticated, name: Annotated[str | None, Query(max_length=1000)] = None
) -> Response:
    """Upload a picture, a recording or a text file. The body is the file itself, or a form with it. The content decides what
    it is; only a text file must be declared as `text/plain`, with at most 1 MiB of UTF-8.

    The file is deleted if no message uses it within a day.
    """
    with authenticated.context.limits.hold("uploads", authenticated.user.id):
        return await _upload(request, authenticated, name)


async def _upload(request: Request, authenticated: AuthenticatedRequest, name: str | None) -> Response:
    content: AsyncIterator[bytes] = request.stream()
    declared = request.headers.get("content-type", "")
    if declared.lower().startswith("multipart/form-data"):
        file_name, declared, content = await first_file(declared, content)
        name = name or file_name
    text = declared.partition(";")[0].strip().lower() == TEXT.media_type
    attachment = await authenticated.service.attachments.upload(authenticated.user, content, name, text=text)
    view = _view(attachment, request.scope.get("root_path", ""))
    return answer(view, 201, {"location": f"{PATH}/{attachment.id}"})


@router.get(
    "/{attachment}",
    response_class=Response,
    responses={
        200: {
            "description": "The file",
            "content": {"image/*": _BYTES, "audio/*": _BYTES, "text/plain": _BYTES},
        }
    },
)
async def one(attachment: str, authenticated: Authenticated) -> Response:
    """Return the bytes of a picture, a recording or a text file, if the user uploaded it or may read a message with it."""
    attachments = authenticated.service.attachments
    found = await attachments.get(authenticated.user, attachment)
    return BlobResponse(
        partial(attachments.open, found),
        await attachments.info(found),
        media_type=f"{TEXT.media_type}; charset=utf-8" if _type_of(found) == "file" else found.media_type,
        filename=_file_name(found),
        headers=HEADERS,
    )


def _view(attachment: Attachment, prefix: str) -> AttachmentView:
    return AttachmentView(
        id=attachment.id,
        type=_type_of(attachment),
        media_type=attachment.media_type,
        size=attachment.size,
        url=f"{prefix}{PATH}/{attachment.id}",
        name=attachment.name,
    )


def _type_of(attachment: Attachment) -> Literal["image", "audio", "file"]:
    if attachment.media_type == TEXT.media_type:
        return "file"
    return "image" if attachment.media_type.startswith("image/") else "audio"


def _file_name(attachment: Attachment) -> str:
    """Return the uploaded name with the extension of the content: `cat.html` would be opened as something else. A text file
    keeps its own before it: `main.py.txt`.
    """
    if attachment.media_type == TEXT.media_type:
        name = attachment.name or attachment.id
        return name if name.lower().endswith(".txt") else f"{name}.txt"
    stem = (attachment.name or attachment.id).rpartition(".")
    return f"{stem[0] or stem[2]}.{suffix_of(attachment.media_type)}"
