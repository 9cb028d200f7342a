"""Conversations, messages and participants as the native protocol and REST show them."""

from collections.abc import Iterable

from msgspec.structs import replace

from legato.chat.conversation_presence import ParticipantPresence
from legato.dialects.timestamps import timestamp
from legato.domain.conversation import Conversation
from legato.domain.message import Message, Part, TextPart, text_of
from legato.domain.participant import ParticipantRole
from legato.protocol.messages import ConversationView, MessageView, PersonView


def conversation_view(conversation: Conversation, role: ParticipantRole = "owner") -> ConversationView:
    """`role` is that of the user who gets the view."""
    return ConversationView(
        id=conversation.id,
        title=conversation.title,
        assistant=conversation.assistant,
        revision=conversation.revision,
        created_at=timestamp(conversation.created_at),
        updated_at=timestamp(conversation.updated_at),
        head=conversation.head,
        standing=role,
        model=conversation.settings.model,
        cleared=conversation.settings.cleared,
    )


def participants_view(participants: Iterable[ParticipantPresence]) -> list[PersonView]:
    return [
        PersonView(each.user, each.role, each.name, each.connections > 0, each.typing, each.connections)
        for each in participants
    ]


def placed_message_view(message: Message) -> MessageView:
    """Return the view with the text once: `parts` are those that are not text, each with its place in the text."""
    at, parts, places = 0, list[Part](), list[int]()
    for part in message.parts:
        if isinstance(part, TextPart):
            at += len(part.text)
        else:
            parts.append(part)
            places.append(at)
    return replace(message_view(message), parts=tuple(parts), places=tuple(places))


def message_view(message: Message) -> MessageView:
    return MessageView(
        id=message.id,
        conversation=message.conversation,
        role=message.role,
        status=message.status,
        created_at=timestamp(message.created_at),
        revision=message.revision,
        text=text_of(message.parts),
        parts=message.parts,
        parent=message.parent,
        author=message.author,
        reasoning=message.reasoning,
        model=message.model,
        detail=message.detail,
        usage=message.usage,
        timings=message.timings,
        spans=message.spans,
    )
