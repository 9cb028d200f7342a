"""The frames of `/ws/conversations/{conversation}`, both ways."""

import msgspec
from msgspec import Struct, field

from legato.chat.commands import CommandResult
from legato.dialects.json_frames import Frame, encode, id_in
from legato.domain.message import AudioPart, FilePart, ImagePart, TextPart
from legato.domain.submission import Submission
from legato.errors import InvalidError
from legato.protocol.messages import MessageView
from legato.stream import Batch, Failed, Log, Position, Reset, Text, resume


class ChunkFrame(Struct, frozen=True, tag_field="type", tag="chunk"):
    """`from` and `to` are offsets of the stream. They are valid for its `epoch` only."""

    message: str = field(name="messageId")
    data: str
    first: int = field(name="from")
    next: int = field(name="to")
    epoch: str


class DoneFrame(Struct, frozen=True, tag_field="type", tag="done"):
    id: str = field(name="messageId")
    message: MessageView


class ChunksError(Struct, frozen=True, tag_field="type", tag="error", omit_defaults=True):
    error: str
    message: str | None = field(default=None, name="messageId")


class ChunksPong(Struct, frozen=True, tag_field="type", tag="pong"):
    timestamp: str


def reply_frames(log: Log, batch: Batch) -> list[bytes]:
    """Return a batch of a reply as one `chunk`, and an `error` if the reply failed."""
    text = "".join([event.text for event in batch.events if isinstance(event, Text)])
    frames = [encode(ChunkFrame(log.stream, text, batch.first, batch.next, log.epoch))] if text else []
    frames += [
        encode(ChunksError(event.message, log.stream)) for event in batch.events if isinstance(event, Failed)
    ]
    return frames


def submission_of(conversation: str, frame: Frame) -> Submission:
    """Return what a `message` frame submits.

    :raises InvalidError: a field has the wrong type.
    """
    text = frame.get("text")
    if text is not None and not isinstance(text, str):
        raise InvalidError("`text` must be a text.")
    try:
        parts = msgspec.convert(frame.get("parts") or [], list[TextPart | ImagePart | AudioPart | FilePart])
    except msgspec.ValidationError as error:
        raise InvalidError(f"`parts` do not fit: {str(error)[:200]}.") from None
    return Submission(id_in(frame, "client_message_id"), conversation, text or "", tuple(parts))


def command_message(id_: str, conversation: str, result: CommandResult, now: str) -> MessageView:
    """Return the result of a command as a message, which is not stored."""
    text = result.text
    return MessageView(
        id_, result.conversation or conversation, "system", "complete", now, 0, text, (TextPart(text),)
    )


def offset_in(log: Log, frame: Frame) -> int | None:
    """Return the offset of the `position` in a `resume` frame; 0 if it has none; None if the reply cannot resume there.

    A position without an epoch is accepted if the log was never restored.

    :raises InvalidError: the position is not a number.
    """
    position, epoch = frame.get("position"), frame.get("epoch")
    if position is None:
        return 0
    if not isinstance(position, int) or isinstance(position, bool):
        raise InvalidError("`position` must be the `from` or the `to` of a chunk.")
    if epoch is None and not log.restored:
        epoch = log.epoch
    resumption = resume(log, Position(log.stream, epoch if isinstance(epoch, str) else "", position))
    # In a log that was rewound, the text that the client has up to a position is unknown.
    return None if isinstance(resumption, Reset) or log.rewinds else resumption.offset
