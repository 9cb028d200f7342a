"""`POST /api/conversations/{id}/messages/chat`: a message in, the finished reply out, as clients of the dialect `chunks` send it."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Struct, field
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from legato.chat.commands import CommandRequest, typed
from legato.chat.service import ChatService
from legato.dialects.chunks.frames import command_message
from legato.dialects.conversation_watcher import NullWatcher
from legato.dialects.serializers import message_view
from legato.dialects.timestamps import timestamp
from legato.domain.message import AudioPart, FilePart, ImagePart, Message, TextPart
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.errors import BusyError, EngineError, NotFoundError
from legato.gateway.dependencies import Authenticated
from legato.gateway.json_body import answer, openapi_types, read_body
from legato.gateway.schemas import Problem
from legato.gateway.sse_response import disconnected
from legato.protocol.messages import MessageView

router = APIRouter(prefix="/api/conversations", tags=["conversations"])


class ChatMessage(Struct, frozen=True):
    """The fields of `message` of the dialect."""

    text: str = ""
    parts: list[TextPart | ImagePart | AudioPart | FilePart] = field(default_factory=list)
    client_message_id: str | None = None


@router.post(
    "/{conversation:id}/messages/chat",
    openapi_extra=openapi_types.body(ChatMessage),
    responses=openapi_types.response(MessageView, 200, "The reply, as it is stored")
    | openapi_types.response(
        MessageView, 502, "It failed before any text: as it is stored, with `error` as in a problem"
    ),
)
async def chat(
    conversation: str, request: Request, authenticated: Authenticated, assistant: str | None = None
) -> Response:
    """Send a message and wait for the reply. The same `client_message_id` is answered with the same reply."""
    body = await read_body(request, ChatMessage)
    user, service = authenticated.user, authenticated.service
    assistant = assistant or authenticated.context.dialect_assistants["chunks"]
    await service.conversations.get_or_create(
        user, conversation, assistant=assistant, create=not authenticated.context.auth_required
    )
    submission = Submission(body.client_message_id, conversation, body.text, tuple(body.parts))
    watcher = ReplyEndWatcher(service, user, conversation)
    try:
        if (text := typed(body.text, body.parts)) is not None:
            command = CommandRequest(user, text, conversation, assistant, body.client_message_id)
            result = await service.commands.run(command)
            started = result.started
            if started is None:
                now = timestamp(datetime.now(UTC))
                return answer(command_message(str(uuid4()), conversation, result, now))
        else:
            started = await service.replies.send(user, submission)
        return reply_answer(await watcher.wait_for(started.reply.id, request.receive))
    finally:
        watcher.close()


def reply_answer(reply: Message) -> Response:
    """Return the response for a reply that ended. If the engine failed before any text, the response is an error, so that no
    program takes it for an answer.
    """
    view = message_view(reply)
    if reply.status != "interrupted" or view.text:
        return answer(view)
    error = Problem(EngineError.code, reply.detail or "The reply broke off. Please try again.")
    return answer({**msgspec.to_builtins(view), "error": error}, 502)


class ReplyEndWatcher(NullWatcher):
    """Waits for the end of a reply. It counts as a subscriber of the conversation; if the client leaves, the assistant's
    `on_unwatched` decides what happens to the reply.
    """

    def __init__(self, service: ChatService, user: User, conversation: str) -> None:
        self._service = service
        self._user = user
        self._conversation = conversation
        self._reply: str | None = None
        self._ended: dict[str, Message] = {}
        self._end: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        service.subscriptions.subscribe(user, conversation, self)

    async def wait_for(self, reply: str, receive: Receive) -> Message:
        """Return the reply as it was stored at its end.

        :raises NotFoundError: the conversation was deleted, the user was removed from it, or the reply is of another one.
        :raises BusyError: the server stops.
        :raises ClientDisconnect: the client disconnected.
        """
        self._reply = reply
        tree = await self._service.conversations.get(self._user, self._conversation)
        if reply not in tree.messages:
            raise NotFoundError("There is no such reply in this conversation.")
        for message in (tree.messages.get(reply), self._ended.get(reply)):
            if message is not None:
                self.on_message(message)
        gone = asyncio.ensure_future(disconnected(receive))
        stops = asyncio.ensure_future(self._service.drained.wait())
        try:
            await asyncio.wait((self._end, gone, stops), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            stops.cancel()
        if self._end.done():
            return self._end.result()
        if gone.done():
            raise ClientDisconnect
        raise BusyError(
            "The server is about to restart, and goes on with this reply then. Send the same again in a moment.",
            2.0,
        )

    def close(self) -> None:
        self._service.subscriptions.unfollow(self._conversation, self)

    def on_message(self, message: Message) -> None:
        if message.role != "assistant" or message.status == "streaming":
            return
        if self._reply is None:
            self._ended[message.id] = message
        elif message.id == self._reply:
            self.close()
            if not self._end.done():
                self._end.set_result(message)

    def on_deleted(self, conversation: str) -> None:
        self.close()
        if not self._end.done():
            self._end.set_exception(
                NotFoundError("This conversation was deleted, or you are no longer in it.")
            )
