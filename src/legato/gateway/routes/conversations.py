"""`/api/conversations`: create, list, search, read, rename, delete, export, and send without a socket."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response

from legato.chat.commands import CommandRequest, typed
from legato.chat.export import as_markdown
from legato.chat.message_tree import MessageTree
from legato.dialects.serializers import conversation_view, message_view
from legato.domain.conversation import Conversation
from legato.domain.message import Message, TextPart
from legato.domain.participant import ParticipantRole
from legato.domain.submission import Submission
from legato.errors import InvalidError
from legato.gateway.dependencies import Asker
from legato.gateway.json_body import answer, documented, read
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
from legato.protocol.messages import ConversationView, MessageView

router = APIRouter(prefix="/api/conversations", tags=["conversations"])


@router.post(
    "",
    status_code=201,
    openapi_extra=documented.takes(NewConversation),
    responses=documented.gives(ConversationView, 201, "The new conversation"),
)
async def create(request: Request, asker: Asker) -> Response:
    """Create an empty conversation."""
    wish = await read(request, NewConversation)
    made = await asker.service.conversations.create(asker.person, wish.assistant, wish.title)
    return answer(conversation_view(made), 201, {"location": f"/api/conversations/{made.id}"})


@router.get("", responses=documented.gives(ConversationList))
async def every(
    asker: Asker,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: str | None = None,
    q: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """The person's conversations, last changed first; with `q`, those in whose title or messages its words occur."""
    if q is not None and q.strip():
        found = await asker.service.conversations.search(asker.person, q, limit)
        standings = await asker.service.participants.roles(
            asker.person, [each.conversation for each in found]
        )
        hits = [
            _hit(each.conversation, standings[each.conversation.id], each.snippet, each.message)
            for each in found
            if each.conversation.id in standings
        ]
        return answer(ConversationList(hits))
    page = await asker.service.conversations.page(asker.person, limit, _from_cursor(before))
    following = _cursor(page[-1]) if len(page) == limit else None
    standings = await asker.service.participants.roles(asker.person, page)
    hits = [_hit(each, standings[each.id]) for each in page if each.id in standings]
    return answer(ConversationList(hits, following))


@router.get("/{conversation:id}/messages", responses=documented.gives(MessageList))
async def messages(conversation: str, asker: Asker, since: Annotated[int, Query(ge=0)] = 0) -> Response:
    """Every message of every branch, or those written after revision `since`."""
    tree = await asker.service.conversations.get(asker.person, conversation)
    chosen = [message for message in tree.messages.values() if message.revision > since]
    return answer(MessageList(_view(asker, tree), _views(asker, chosen)))


@router.post(
    "/{conversation:id}/messages",
    status_code=201,
    openapi_extra=documented.takes(NewMessage),
    responses=documented.gives(MessageTaken, 201, "It is stored, and the reply is under way")
    | documented.gives(
        MessageTaken | CommandDone,
        200,
        "It came before, and is answered as then; or it was a command: nothing of it is stored",
    ),
)
async def send(conversation: str, request: Request, asker: Asker) -> Response:
    """Send a message. The answer comes as the stream that `reply` names. One that came before is answered as then, with 200."""
    wish = await read(request, NewMessage)
    if (text := typed(wish.text, wish.parts)) is not None:
        asked = CommandRequest(asker.person, text, conversation, None, wish.client_message_id)
        done = await asker.service.commands.run(asked)
        begun_by = done.started.reply.id if done.started is not None else None
        return answer(CommandDone(done.name, done.text, done.failed, done.conversation, begun_by))
    submission = Submission(
        client_message_id=wish.client_message_id,
        conversation=conversation,
        text=wish.text,
        parts=tuple(wish.parts),
        parent=wish.parent,
    )
    begun = await asker.service.replies.send(asker.person, submission)
    taken = MessageTaken(
        conversation=begun.conversation.id,
        message=begun.question.id if begun.question is not None else None,
        reply=begun.reply.id,
        duplicate=begun.duplicate,
    )
    return answer(taken, 200 if begun.duplicate else 201)


@router.post(
    "/{conversation:id}/stop",
    openapi_extra=documented.takes(StopRequest),
    responses=documented.gives(StoppedMessages),
)
async def stop(conversation: str, request: Request, asker: Asker) -> Response:
    """Stop one reply, or all that run; the text so far stays."""
    wish = await read(request, StopRequest)
    return answer(StoppedMessages(await asker.service.replies.stop(asker.person, conversation, wish.message)))


@router.get(
    "/{conversation:id}/export",
    responses=documented.gives(ConversationWhole, 200, "By its `format`", "text/markdown"),
)
async def export(
    conversation: str,
    asker: Asker,
    as_: Annotated[Literal["json", "markdown"], Query(alias="format")] = "json",
) -> Response:
    """The whole conversation as a file: JSON with every branch, or Markdown of the branch that is shown."""
    tree = await asker.service.conversations.get(asker.person, conversation)
    name = f"conversation-{tree.conversation.created_at:%Y-%m-%d}"
    if as_ == "markdown":
        headers = {"content-disposition": f'attachment; filename="{name}.md"'}
        return Response(
            as_markdown(tree, asker.person.id), headers=headers, media_type="text/markdown; charset=utf-8"
        )
    whole = msgspec.to_builtins(_view(asker, tree))
    whole["messages"] = msgspec.to_builtins(_views(asker, list(tree.messages.values())))
    return answer(whole, headers={"content-disposition": f'attachment; filename="{name}.json"'})


@router.get("/{conversation:id}", responses=documented.gives(ConversationWhole))
async def one(conversation: str, asker: Asker, branches: Literal["shown", "all"] = "shown") -> Response:
    """A conversation with its messages, in order."""
    tree = await asker.service.conversations.get(asker.person, conversation)
    messages = tree.path() if branches == "shown" else list(tree.messages.values())
    view = msgspec.structs.asdict(_view(asker, tree))
    return answer(ConversationWhole(**view, messages=_views(asker, messages)))


@router.patch(
    "/{conversation:id}",
    openapi_extra=documented.takes(ConversationChange),
    responses=documented.gives(ConversationView),
)
async def change(conversation: str, request: Request, asker: Asker) -> Response:
    """Rename it, or show another branch of it. Where one of the two cannot be, neither is done."""
    wish = await read(request, ConversationChange)
    if wish.title is not None and wish.head is not None:
        await asker.service.conversations.rename_and_show(asker.person, conversation, wish.title, wish.head)
    elif wish.title is not None:
        await asker.service.conversations.rename(asker.person, conversation, wish.title)
    elif wish.head is not None:
        await asker.service.conversations.show(asker.person, conversation, wish.head)
    else:
        raise InvalidError("Say what to change: a title, or the head of the branch to show.")
    return answer(_view(asker, await asker.service.conversations.get(asker.person, conversation)))


@router.delete("/{conversation:id}", status_code=204)
async def delete(conversation: str, asker: Asker) -> Response:
    """Delete it with all its messages; what is being written in it is stopped."""
    await asker.service.conversations.delete(asker.person, conversation)
    return Response(status_code=204)


def _view(asker: Asker, tree: MessageTree) -> ConversationView:
    return conversation_view(tree.conversation, tree.role(asker.person.id) or "viewer")


def _views(asker: Asker, messages: list[Message]) -> list[MessageView]:
    """The messages as clients see them; one that is being written has the text so far."""
    views = []
    for message in messages:
        if (
            message.status == "streaming"
            and (log := asker.service.subscriptions.running_log(message.id)) is not None
        ):
            fold = log.snapshot()
            parts = (TextPart(fold.text),) if fold.text else ()
            message = msgspec.structs.replace(message, parts=parts, reasoning=fold.reasoning)
        views.append(message_view(message))
    return views


def _hit(
    conversation: Conversation,
    standing: ParticipantRole,
    snippet: str | None = None,
    message: str | None = None,
) -> ConversationHit:
    view = msgspec.structs.asdict(conversation_view(conversation, standing))
    return ConversationHit(**view, snippet=snippet, message=message)


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
