"""Conversations and messages as clients see them, in the native protocol and in REST alike."""

from collections.abc import Iterable
from datetime import UTC, datetime

from legato.chat.conversation_presence import ParticipantPresence
from legato.domain.conversation import Conversation
from legato.domain.message import Message, text_of
from legato.domain.participant import ParticipantRole
from legato.protocol.messages import ConversationView, MessageView, PersonView


def timestamp(when: datetime) -> str:
    """ISO-8601, UTC, milliseconds, `Z`."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def conversation_view(conversation: Conversation, standing: ParticipantRole = "owner") -> ConversationView:
    """`standing` is that of the person who is told."""
    return ConversationView(
        id=conversation.id,
        title=conversation.title,
        assistant=conversation.assistant,
        revision=conversation.revision,
        created_at=timestamp(conversation.created_at),
        updated_at=timestamp(conversation.updated_at),
        head=conversation.head,
        standing=standing,
    )


def people_view(people: Iterable[ParticipantPresence]) -> list[PersonView]:
    return [
        PersonView(each.user, each.role, each.name, each.connections > 0, each.typing, each.connections)
        for each in people
    ]


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
