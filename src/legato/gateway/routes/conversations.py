"""`/api/conversations`: create, list, search, read, rename, delete, export, and send without a socket."""

import base64
import binascii
from datetime import datetime
from itertools import chain
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response

from legato.chat.access import NO_MESSAGE
from legato.chat.commands import CommandRequest, typed
from legato.chat.export import markdown_pieces
from legato.chat.message_tree import MessageTree, weight
from legato.dialects.serializers import conversation_view, message_view
from legato.dialects.sliced_messages import encoded_messages
from legato.domain.conversation import Conversation
from legato.domain.message import Message, TextPart
from legato.domain.participant import ParticipantRole
from legato.domain.submission import Submission
from legato.errors import BusyError, InvalidError, NotFoundError
from legato.gateway.dependencies import Authenticated
from legato.gateway.disconnect import while_connected
from legato.gateway.json_body import answer, openapi_types, read_body
from legato.gateway.schemas import (
    CommandDone,
    ConversationChange,
    ConversationHit,
    ConversationList,
    ConversationWhole,
    MessageList,
    MessageTaken,
    NewConversation,
    NewMessage,
    StoppedMessages,
    StopRequest,
)
from legato.gateway.sliced_response import SLICE_BYTES, SlicedResponse
from legato.protocol.messages import ConversationView, MessageView

Limit = Annotated[
    int | None,
    Query(ge=1, le=1000, description="As many messages at most: the last ones. All if it is not set."),
]
Before = Annotated[
    str | None,
    Query(
        description="The id of a message: only those before it. The first of a page gets the page before it."
    ),
]

router = APIRouter(prefix="/api/conversations", tags=["conversations"])


@router.post(
    "",
    status_code=201,
    openapi_extra=openapi_types.body(NewConversation),
    responses=openapi_types.response(ConversationView, 201, "The new conversation"),
)
async def create(request: Request, authenticated: Authenticated) -> Response:
    """Create an empty conversation."""
    body = await read_body(request, NewConversation)
    made = await authenticated.service.conversations.create(authenticated.user, body.assistant, body.title)
    return answer(conversation_view(made), 201, {"location": f"/api/conversations/{made.id}"})


@router.get("", responses=openapi_types.response(ConversationList))
async def every(
    request: Request,
    authenticated: Authenticated,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: str | None = None,
    q: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """Return the conversations of the user, last changed first; with `q`, those whose title or messages contain its words."""
    if q is not None and q.strip():
        search = authenticated.service.conversations.search(authenticated.user, q, limit)
        try:
            found = await while_connected(request, search)
        except BusyError:
            authenticated.context.limits.count_refusal("searches", authenticated.user.id)
            raise
        roles = await authenticated.service.participants.roles(
            authenticated.user, [each.conversation for each in found]
        )
        hits = [
            _hit(authenticated, each.conversation, roles[each.conversation.id], each.snippet, each.message)
            for each in found
            if each.conversation.id in roles
        ]
        return answer(ConversationList(hits))
    page = await authenticated.service.conversations.page(authenticated.user, limit, _from_cursor(before))
    following = _cursor(page[-1]) if len(page) == limit else None
    roles = await authenticated.service.participants.roles(authenticated.user, page)
    hits = [_hit(authenticated, each, roles[each.id]) for each in page if each.id in roles]
    return answer(ConversationList(hits, following))


@router.get("/{conversation:id}/messages", responses=openapi_types.response(MessageList))
async def messages(
    conversation: str,
    authenticated: Authenticated,
    since: Annotated[int, Query(ge=0)] = 0,
    limit: Limit = None,
    before: Before = None,
) -> Response:
    """Return every message of every branch, or those written after revision `since`; a page of them with `limit` and `before`."""
    tree = await authenticated.service.conversations.get(authenticated.user, conversation)
    chosen = [message for message in tree.messages.values() if message.revision > since]
    chosen = _page(chosen, limit, before)
    view = _view(authenticated, tree)
    if _is_long(chosen):
        opening = b'{"conversation":' + msgspec.json.encode(view)
        return _sliced(authenticated, opening, chosen)
    return answer(MessageList(view, _views(authenticated, chosen)))


@router.post(
    "/{conversation:id}/messages",
    status_code=201,
    openapi_extra=openapi_types.body(NewMessage),
    responses=openapi_types.response(MessageTaken, 201, "It is stored, and the reply has started")
    | openapi_types.response(
        MessageTaken | CommandDone,
        200,
        "A repeated message, answered as the first time; or a command: nothing of it is stored",
    ),
)
async def send(conversation: str, request: Request, authenticated: Authenticated) -> Response:
    """Send a message. The answer is the stream that `reply` names. A repeated message is answered as the first time, with 200."""
    body = await read_body(request, NewMessage)
    if (text := typed(body.text, body.parts)) is not None:
        command = CommandRequest(authenticated.user, text, conversation, None, body.client_message_id)
        done = await authenticated.service.commands.run(command)
        started_reply = done.started.reply.id if done.started is not None else None
        return answer(CommandDone(done.name, done.text, done.failed, done.conversation, started_reply))
    submission = Submission(
        client_message_id=body.client_message_id,
        conversation=conversation,
        text=body.text,
        parts=tuple(body.parts),
        parent=body.parent,
        append=body.append,
    )
    started = await authenticated.service.replies.send(authenticated.user, submission)
    taken = MessageTaken(
        conversation=started.conversation.id,
        message=started.question.id if started.question is not None else None,
        reply=started.reply.id,
        duplicate=started.duplicate,
    )
    return answer(taken, 200 if started.duplicate else 201)


@router.post(
    "/{conversation:id}/stop",
    openapi_extra=openapi_types.body(StopRequest),
    responses=openapi_types.response(StoppedMessages),
)
async def stop(conversation: str, request: Request, authenticated: Authenticated) -> Response:
    """Stop one reply, or all running replies. The text so far stays."""
    body = await read_body(request, StopRequest)
    return answer(
        StoppedMessages(
            await authenticated.service.replies.stop(authenticated.user, conversation, body.message)
        )
    )


@router.get(
    "/{conversation:id}/export",
    responses=openapi_types.response(ConversationWhole, 200, "By its `format`", "text/markdown"),
)
async def export(
    conversation: str,
    authenticated: Authenticated,
    as_: Annotated[Literal["json", "markdown"], Query(alias="format")] = "json",
) -> Response:
    """Return the whole conversation as a file: JSON with every branch, or Markdown of the branch that is shown."""
    tree = await authenticated.service.conversations.get(authenticated.user, conversation)
    name = f"conversation-{tree.conversation.created_at:%Y-%m-%d}"
    if as_ == "markdown":
        headers = {"content-disposition": f'attachment; filename="{name}.md"'}
        pieces = markdown_pieces(tree, authenticated.user.id)
        content = (piece.encode("utf-8", "replace") for piece in pieces)
        return SlicedResponse(content, media_type="text/markdown; charset=utf-8", headers=headers)
    headers = {"content-disposition": f'attachment; filename="{name}.json"'}
    opening = msgspec.json.encode(_view(authenticated, tree))[:-1]
    return _sliced(authenticated, opening, list(tree.messages.values()), headers)


@router.get("/{conversation:id}", responses=openapi_types.response(ConversationWhole))
async def one(
    conversation: str,
    authenticated: Authenticated,
    branches: Literal["shown", "all"] = "shown",
    limit: Limit = None,
    before: Before = None,
) -> Response:
    """Return a conversation with its messages, in order; with `limit` and `before` a page of them."""
    tree = await authenticated.service.conversations.get(authenticated.user, conversation)
    messages = _page(tree.path() if branches == "shown" else list(tree.messages.values()), limit, before)
    view = _view(authenticated, tree)
    if _is_long(messages):
        return _sliced(authenticated, msgspec.json.encode(view)[:-1], messages)
    whole = ConversationWhole(**msgspec.structs.asdict(view), messages=_views(authenticated, messages))
    return answer(whole)


@router.patch(
    "/{conversation:id}",
    openapi_extra=openapi_types.body(ConversationChange),
    responses=openapi_types.response(ConversationView),
)
async def change(conversation: str, request: Request, authenticated: Authenticated) -> Response:
    """Rename the conversation, or show another branch of it. If one of the two fails, neither is done."""
    body = await read_body(request, ConversationChange)
    if body.title is not None and body.head is not None:
        await authenticated.service.conversations.rename_and_show(
            authenticated.user, conversation, body.title, body.head
        )
    elif body.title is not None:
        await authenticated.service.conversations.rename(authenticated.user, conversation, body.title)
    elif body.head is not None:
        await authenticated.service.conversations.show(authenticated.user, conversation, body.head)
    else:
        raise InvalidError("Say what to change: a title, or the head of the branch to show.")
    return answer(
        _view(authenticated, await authenticated.service.conversations.get(authenticated.user, conversation))
    )


@router.delete("/{conversation:id}", status_code=204)
async def delete(conversation: str, authenticated: Authenticated) -> Response:
    """Delete the conversation with all its messages. Running replies are stopped."""
    await authenticated.service.conversations.delete(authenticated.user, conversation)
    return Response(status_code=204)


def _view(authenticated: Authenticated, tree: MessageTree) -> ConversationView:
    return conversation_view(tree.conversation, tree.role(authenticated.user.id) or "viewer")


def _views(authenticated: Authenticated, messages: list[Message]) -> list[MessageView]:
    """Return the messages as clients see them. A running reply has the text so far."""
    return [message_view(_current(authenticated, message)) for message in messages]


def _current(authenticated: Authenticated, message: Message) -> Message:
    """Return a message with the text so far if it is a running reply."""
    if message.status != "streaming":
        return message
    log = authenticated.service.subscriptions.running_log(message.id)
    if log is None:
        return message
    snapshot = log.snapshot()
    parts = (TextPart(snapshot.text),) if snapshot.text else ()
    return msgspec.structs.replace(message, parts=parts, reasoning=snapshot.reasoning)


def _is_long(messages: list[Message]) -> bool:
    """Return whether the messages are sent in slices. A running reply may have any length."""
    total = 0
    for message in messages:
        total += weight(message)
        if total > SLICE_BYTES or message.status == "streaming":
            return True
    return False


def _sliced(
    authenticated: Authenticated,
    opening: bytes,
    messages: list[Message],
    headers: dict[str, str] | None = None,
) -> SlicedResponse:
    """Return a JSON object that begins with `opening` and ends with its `messages`."""
    encoded = encoded_messages(messages, lambda message: _current(authenticated, message))
    return SlicedResponse(chain([opening, b',"messages":'], encoded, [b"}"]), headers=headers)


def _page(messages: list[Message], limit: int | None, before: str | None) -> list[Message]:
    """Return the last `limit` of the messages that precede the message `before`.

    :raises NotFoundError: there is no such message among them.
    """
    if before is not None:
        at = next((number for number, message in enumerate(messages) if message.id == before), None)
        if at is None:
            raise NotFoundError(NO_MESSAGE)
        messages = messages[:at]
    return messages if limit is None else messages[-limit:]


def _hit(
    authenticated: Authenticated,
    conversation: Conversation,
    role: ParticipantRole,
    snippet: str | None = None,
    message: str | None = None,
) -> ConversationHit:
    view = msgspec.structs.asdict(conversation_view(conversation, role))
    running = bool(authenticated.service.subscriptions.logs(conversation.id))
    return ConversationHit(**view, snippet=snippet, message=message, running=running)


def _cursor(conversation: Conversation) -> str:
    raw = f"{conversation.updated_at.isoformat()} {conversation.id}"
    return base64.urlsafe_b64encode(raw.encode()).decode()


def _from_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    if not cursor:
        return None
    try:
        when, _, conversation = base64.urlsafe_b64decode(cursor).decode().partition(" ")
        moment = datetime.fromisoformat(when)
    except (binascii.Error, ValueError):
        moment, conversation = None, ""
    if moment is None or moment.tzinfo is None:
        raise InvalidError("`before` must be the `next` of an earlier page.")
    return moment, conversation
