"""`/api/streams/{id}`: the streams of the native protocol over SSE, resumed with `Last-Event-ID`."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Response

from legato.gateway.dependencies import Authenticated
from legato.gateway.reply_sse import ReplySseStream, position_of
from legato.stream import Continue, resume

router = APIRouter(prefix="/api/streams", tags=["streams"])


@router.get(
    "/{stream}",
    responses={
        200: {
            "content": {"text/event-stream": {}},
            "description": "`data:` is a `delta` or a `reset` of legato.v1",
        },
        204: {"description": "You have received all of it"},
    },
)
async def follow(
    stream: str,
    authenticated: Authenticated,
    last_event_id: Annotated[str | None, Header()] = None,
    position: str | None = None,
) -> Response:
    """Stream a reply. The id of each event is its position, `epoch:offset`. A browser sends the last one back as
    `Last-Event-ID`; other clients may send it as `?position=`.
    """
    conversation, log = await authenticated.service.subscriptions.log(authenticated.user, stream)
    make_stream = partial(
        ReplySseStream,
        authenticated.sse_responses,
        authenticated.service,
        authenticated.flusher,
        authenticated.user,
        conversation,
        log,
    )
    event_id = last_event_id if last_event_id is not None else position
    if not event_id:
        return make_stream(0, None)
    reply = resume(log, position_of(stream, event_id))
    if isinstance(reply, Continue):
        if log.closed and reply.offset == log.next:
            return Response(status_code=204)
        return make_stream(reply.offset, None)
    return make_stream(0, reply.reason)
