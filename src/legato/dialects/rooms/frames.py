"""The frames of `/ws/sessions`, field by field in their order."""

from typing import Literal

from msgspec import Struct

from legato.dialects.timestamps import timestamp
from legato.domain.message import Message, MessageRole, Status, visible_text
from legato.domain.participant import ParticipantRole


class RoomsUser(Struct, frozen=True):
    """A participant. `present`: they are connected now."""

    user: str
    name: str
    standing: ParticipantRole
    present: bool


class ConnectionEstablished(Struct, frozen=True, tag_field="type", tag="connection_established"):
    connection_id: str
    user: str
    name: str
    timestamp: str


class RoomsMessage(Struct, frozen=True, tag_field="type", tag="message"):
    """A whole message. `status` is `complete`, `stopped` (by a user), or `interrupted` (it broke off; `content` is what there is)."""

    role: MessageRole
    id: str
    session_id: str
    content: str
    timestamp: str
    sender: str
    status: Status = "complete"


class SessionJoined(Struct, frozen=True, tag_field="type", tag="session_joined"):
    """`messages` are the last messages of the session, oldest first."""

    session_id: str
    title: str
    assistant: str
    participants: list[RoomsUser]
    messages: list[RoomsMessage]
    timestamp: str


class RoomsChunk(Struct, frozen=True, tag_field="type", tag="message_chunk"):
    role: Literal["assistant"]
    content: str
    model_used: str
    timestamp: str
    id: str


class RoomsTyping(Struct, frozen=True, tag_field="type", tag="typing"):
    typing: bool
    session_id: str
    sender: str


class CommandResponse(Struct, frozen=True, tag_field="type", tag="command_response"):
    """`success` is false if nothing was done. `content` is Markdown."""

    command: str
    success: bool
    content: str
    session_id: str | None
    timestamp: str


class RoomsError(Struct, frozen=True, tag_field="type", tag="error"):
    message: str
    timestamp: str


class RoomsPong(Struct, frozen=True, tag_field="type", tag="pong"):
    timestamp: str


RoomsFrame = (
    ConnectionEstablished
    | SessionJoined
    | RoomsMessage
    | RoomsChunk
    | RoomsTyping
    | CommandResponse
    | RoomsError
    | RoomsPong
)


def whole_message(message: Message, sender: str) -> RoomsMessage:
    return RoomsMessage(
        message.role,
        message.id,
        message.conversation,
        visible_text(message.parts),
        timestamp(message.created_at),
        sender,
        message.status,
    )
