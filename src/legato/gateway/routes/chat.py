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
from legato.domain.message import AudioPart, ImagePart, Message, TextPart
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.errors import BusyError, EngineError, NotFoundError
from legato.gateway.dependencies import Asker
from legato.gateway.json_body import answer, documented, read
from legato.gateway.schemas import Problem
from legato.gateway.sse_response import disconnected
from legato.protocol.messages import MessageView

router = APIRouter(prefix="/api/conversations", tags=["conversations"])


class ChatMessage(Struct, frozen=True):
    """As the `message` of the dialect."""

    text: str = ""
    parts: list[TextPart | ImagePart | AudioPart] = field(default_factory=list)
    client_message_id: str | None = None


@router.post(
    "/{conversation:id}/messages/chat",
    openapi_extra=documented.takes(ChatMessage),
    responses=documented.gives(MessageView, 200, "The reply, as it is stored")
    | documented.gives(
        MessageView, 502, "It broke off before it said a word: as it is stored, with `error` as in a problem"
    ),
)
async def chat(conversation: str, request: Request, asker: Asker, assistant: str | None = None) -> Response:
    """Send a message and wait for the reply. The same `client_message_id` is answered with the same reply."""
    wish = await read(request, ChatMessage)
    person, service = asker.person, asker.service
    assistant = assistant or asker.here.dialect_assistants["chunks"]
    await service.conversations.get_or_create(
        person, conversation, assistant=assistant, create=not asker.here.auth_required
    )
    submission = Submission(wish.client_message_id, conversation, wish.text, tuple(wish.parts))
    ending = Ending(service, person, conversation)
    try:
        if (text := typed(wish.text, wish.parts)) is not None:
            asked = CommandRequest(person, text, conversation, assistant, wish.client_message_id)
            answered = await service.commands.run(asked)
            begun = answered.started
            if begun is None:
                now = timestamp(datetime.now(UTC))
                return answer(command_message(str(uuid4()), conversation, answered, now))
        else:
            begun = await service.replies.send(person, submission)
        return told(await ending.of(begun.reply.id, request.receive))
    finally:
        ending.leave()


def told(reply: Message) -> Response:
    """A reply that ended. Where the engine failed it before its first word, there is nothing that a program could take for an answer."""
    view = message_view(reply)
    if reply.status != "interrupted" or view.text:
        return answer(view)
    error = Problem(EngineError.code, reply.detail or "The reply broke off. Please try again.")
    return answer({**msgspec.to_builtins(view), "error": error}, 502)


class Ending(NullWatcher):
    """Waits for the end of a reply. Its client watches by it, and what becomes of the reply where that goes, the assistant says."""

    def __init__(self, service: ChatService, person: User, conversation: str) -> None:
        self._service = service
        self._person = person
        self._conversation = conversation
        self._wanted: str | None = None
        self._ended: dict[str, Message] = {}
        self._end: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        service.subscriptions.subscribe(person, conversation, self)

    async def of(self, reply: str, receive: Receive) -> Message:
        """The reply as it was stored in the end.

        :raises NotFoundError: its conversation was deleted, or the person was removed from it; or it is of another one.
        :raises BusyError: the server stops. :raises ClientDisconnect: the client is gone.
        """
        self._wanted = reply
        tree = await self._service.conversations.get(self._person, self._conversation)
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

    def leave(self) -> None:
        self._service.subscriptions.unfollow(self._conversation, self)

    def on_message(self, message: Message) -> None:
        if message.role != "assistant" or message.status == "streaming":
            return
        if self._wanted is None:
            self._ended[message.id] = message
        elif message.id == self._wanted:
            self.leave()
            if not self._end.done():
                self._end.set_result(message)

    def on_deleted(self, conversation: str) -> None:
        self.leave()
        if not self._end.done():
            self._end.set_exception(
                NotFoundError("This conversation was deleted, or you are no longer in it.")
            )
