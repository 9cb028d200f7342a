"""Rows from values and values from rows. Text that a database cannot store is refused before it gets there."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from legato.domain.conversation import Conversation, ConversationSettings
from legato.domain.invitation import Invitation
from legato.domain.message import Message, Part
from legato.domain.participant import Participant
from legato.domain.surrogates import map_strings
from legato.domain.validation import check_storable, clean_text, has_escaped_nul
from legato.storage.base import JournalEntry
from legato.stream import Span, Timings, Usage

_TEXTS = re.compile(r'"(?:type":"text","text|transcript)":"([^"\\]*(?:\\.[^"\\]*)*)')
_CUT_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u[0-9a-fA-F]{0,3}$")
_text = msgspec.json.Decoder(str)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_encoder = msgspec.json.Encoder()
_parts = msgspec.json.Decoder(tuple[Part, ...])
_settings = msgspec.json.Decoder(ConversationSettings)
_usage = msgspec.json.Decoder(Usage)
_timings = msgspec.json.Decoder(Timings)
_spans = msgspec.json.Decoder(tuple[Span, ...])
_log_end = msgspec.json.Decoder(tuple[str, int])
_entries = msgspec.json.Decoder(list[JournalEntry])

Row = dict[str, Any]


def micros(moment: datetime) -> int:
    """Return microseconds since 1970. `moment` must have a time zone."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def to_json(value: object) -> str:
    """Return JSON text that both databases store unchanged.

    :raises InvalidError: for a NUL character or a lone surrogate in any string of it.
    """
    try:
        encoded = _encoder.encode(value)
    except UnicodeEncodeError:
        check_storable("\ud800")
        raise
    if has_escaped_nul(encoded):
        check_storable("\0")
    return encoded.decode()


def _optional_json(value: Struct | None) -> str | None:
    return None if value is None else to_json(value)


def settings_json(settings: ConversationSettings) -> str | None:
    """Return None if nothing is set."""
    return None if settings == ConversationSettings() else to_json(settings)


def settings_of(json: str | None) -> ConversationSettings:
    return ConversationSettings() if json is None else _settings.decode(json)


def conversation_row(conversation: Conversation) -> Row:
    """:raises InvalidError: for text that cannot be stored."""
    row = {
        "id": conversation.id,
        "owner": conversation.owner,
        "title": conversation.title,
        "assistant": conversation.assistant,
        "created_at": micros(conversation.created_at),
        "updated_at": micros(conversation.updated_at),
        "revision": conversation.revision,
        "head": conversation.head,
        "choices": settings_json(conversation.settings),
    }
    _check_row(row)
    return row


def conversation_of(row: Mapping[Any, Any]) -> Conversation:
    return Conversation(
        id=row["id"],
        owner=row["owner"],
        title=row["title"],
        assistant=row["assistant"],
        created_at=moment(row["created_at"]),
        updated_at=moment(row["updated_at"]),
        revision=row["revision"],
        head=row["head"],
        settings=settings_of(row["choices"]),
    )


def message_row(message: Message) -> Row:
    """:raises InvalidError: for text that cannot be stored."""
    row = {
        "id": message.id,
        "conversation": message.conversation,
        "parent": message.parent,
        "role": message.role,
        "status": message.status,
        "created_at": micros(message.created_at),
        "revision": message.revision,
        "author": message.author,
        "reasoning": message.reasoning,
        "model": message.model,
        "detail": message.detail,
    }
    _check_row(row)
    row["parts"] = to_json(message.parts)
    row["usage"] = _optional_json(message.usage)
    row["timings"] = _optional_json(message.timings)
    row["spans"] = to_json(message.spans) if message.spans else None
    row["log_end"] = to_json(message.log_end) if message.log_end is not None else None
    return row


def message_of(row: Mapping[Any, Any]) -> Message:
    return Message(
        id=row["id"],
        conversation=row["conversation"],
        role=row["role"],
        status=row["status"],
        parts=parts_of(row["parts"]),
        created_at=moment(row["created_at"]),
        parent=row["parent"],
        revision=row["revision"],
        author=row["author"],
        reasoning=row["reasoning"],
        model=row["model"],
        detail=row["detail"],
        usage=None if row["usage"] is None else _usage.decode(row["usage"]),
        timings=None if row["timings"] is None else _timings.decode(row["timings"]),
        spans=() if row["spans"] is None else _spans.decode(row["spans"]),
        log_end=None if row["log_end"] is None else _log_end.decode(row["log_end"]),
    )


def participant_row(participant: Participant) -> Row:
    """:raises InvalidError: for text that cannot be stored."""
    row = {
        "conversation": participant.conversation,
        "user": participant.user,
        "standing": participant.role,
        "joined_at": micros(participant.joined_at),
        "name": participant.name,
    }
    _check_row(row)
    return row


def participant_of(row: Mapping[Any, Any]) -> Participant:
    return Participant(
        row["conversation"], row["user"], row["standing"], moment(row["joined_at"]), row["name"]
    )


def invitation_row(invitation: Invitation) -> Row:
    """:raises InvalidError: for text that cannot be stored."""
    row = {
        "id": invitation.id,
        "digest": invitation.digest,
        "conversation": invitation.conversation,
        "standing": invitation.role,
        "created_at": micros(invitation.created_at),
        "expires_at": micros(invitation.expires_at),
    }
    _check_row(row)
    return row


def invitation_of(row: Mapping[Any, Any]) -> Invitation:
    return Invitation(
        id=row["id"],
        digest=row["digest"],
        conversation=row["conversation"],
        role=row["standing"],
        created_at=moment(row["created_at"]),
        expires_at=moment(row["expires_at"]),
    )


def parts_of(json: str) -> tuple[Part, ...]:
    return _parts.decode(json)


def text_of_cut(json: str) -> str:
    """Return the texts and transcripts of a message, of its parts as JSON that is cut anywhere."""
    pieces = [_CUT_ESCAPE.sub(r"\1", piece) for piece in _TEXTS.findall(json)]
    return "".join(_text.decode(f'"{piece}"') for piece in pieces)


def _check_row(row: Mapping[str, Any]) -> None:
    for value in row.values():
        if isinstance(value, str):
            check_storable(value)


def to_blob(entries: list[JournalEntry]) -> bytes:
    """Encode a row of the journal. NUL and lone surrogates become U+FFFD.

    A row holds all running replies together, so one of them that cannot be stored must not prevent the others.
    """
    try:
        blob = _encoder.encode(entries)
    except UnicodeEncodeError:
        return _encoder.encode(map_strings(msgspec.to_builtins(entries), clean_text))
    if has_escaped_nul(blob):
        return _encoder.encode(map_strings(msgspec.to_builtins(entries), clean_text))
    return blob


def from_blob(blob: bytes) -> list[JournalEntry] | None:
    """Return the entries of a row, or None if it cannot be read."""
    try:
        return _entries.decode(blob)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
