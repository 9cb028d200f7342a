"""`/api/streams/{id}`: the native protocol's streams over SSE, resumed with `Last-Event-ID`."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Response

from legato.gateway.dependencies import Asker
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
        204: {"description": "You have seen all of it"},
    },
)
async def follow(
    stream: str,
    asker: Asker,
    last_event_id: Annotated[str | None, Header()] = None,
    position: str | None = None,
) -> Response:
    """A reply as it is written. Each event's id is its position, `epoch:offset`; a browser sends the last one back by
    itself as `Last-Event-ID`, others may give it as `?position=`."""
    conversation, log = await asker.service.subscriptions.log(asker.person, stream)
    tell = partial(
        ReplySseStream, asker.events, asker.service, asker.flusher, asker.person, conversation, log
    )
    shown = last_event_id if last_event_id is not None else position
    if not shown:
        return tell(0, None)
    reply = resume(log, position_of(stream, shown))
    if isinstance(reply, Continue):
        if log.closed and reply.offset == log.next:
            return Response(status_code=204)
        return tell(reply.offset, None)
    return tell(0, reply.reason)
