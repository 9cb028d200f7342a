"""The frames of `/ws/assistant`, field by field in their order, and the frames of a batch of a stream.

Every chunk repeats the whole text before it. That is the contract of this dialect; the text is taken from the log.
"""

from collections.abc import Iterator

from msgspec import Struct

from legato.chat.commands import CommandResult
from legato.dialects.json_frames import encode
from legato.domain.message import Message, text_of
from legato.stream import Batch, Failed, Log, Rewound, Text, Timings

BROKE = "This reply broke off. Ask again to have it whole."


class MessageReceived(Struct, tag_field="type", tag="message_received"):
    """The message is stored, as `message_id` in `session_id`. A command is not stored: it has no `message_id`, and outside of
    any session no `session_id`.
    """

    session_id: str | None
    message_id: str | None
    timestamp: str


class TypingStart(Struct, tag_field="type", tag="typing_start"):
    session_id: str | None
    timestamp: str


class MessageStart(Struct, tag_field="type", tag="message_start"):
    role: str
    session_id: str | None
    message_id: str
    model_used: str
    timestamp: str


class AccumulatingChunk(Struct, tag_field="type", tag="message_chunk"):
    role: str
    content: str
    accumulated_content: str
    model_used: str
    timestamp: str


class Timing(Struct, omit_defaults=True):
    """Milliseconds until the first text, and until the end."""

    first_token_ms: float | None = None
    total_ms: float | None = None


class MessageComplete(Struct, tag_field="type", tag="message_complete"):
    """`timing_ms` is the duration of the whole reply. `status` is `complete` or `stopped` (by a user)."""

    role: str
    content: str
    model_used: str
    timing_ms: float
    timing: Timing
    status: str
    session_id: str | None
    message_id: str
    timestamp: str


class TypingStop(Struct, tag_field="type", tag="typing_stop"):
    timestamp: str


class AccumulatingError(Struct, tag_field="type", tag="error"):
    message: str
    timestamp: str


class AccumulatingPong(Struct, tag_field="type", tag="pong"):
    timestamp: str


def model_at(log: Log, offset: int) -> str:
    """Return the model that writes there; empty if no state has named it."""
    state = log.state_at(offset)
    return (state.model if state is not None else None) or ""


def started(model: str, session: str | None, message: str, time: str) -> bytes:
    return encode(MessageStart("assistant", session, message, model, time))


def start(log: Log, session: str | None, time: str) -> bytes:
    """Return `message_start` for a reply whose first text comes now; nothing if the reply failed without any text."""
    if isinstance(log.end, Failed) and not log.text_at(log.next):
        return b""
    return started(model_at(log, log.next), session, log.stream, time)


def batch_frames(log: Log, batch: Batch, time: str) -> Iterator[bytes]:
    """Yield a batch of a reply as one `message_chunk`, and `error` and `typing_stop` if the reply failed.

    `content` is the new text after the last rewind; `accumulated_content` is the whole text as it is now.
    """
    words: list[str] = []
    changed = False
    failed: Failed | None = None
    for event in batch.events:
        if isinstance(event, Text):
            words.append(event.text)
            changed = True
        elif isinstance(event, Rewound):
            words.clear()
            changed = True
        elif isinstance(event, Failed):
            failed = event
    if changed:
        text, model = log.text_at(batch.next), model_at(log, batch.next)
        yield encode(AccumulatingChunk("assistant", "".join(words), text, model, time))
    if failed is not None:
        yield encode(AccumulatingError(failed.message, time))
        yield encode(TypingStop(time))


def completed(message: Message, time: str) -> bytes:
    """Return `message_complete` for a stored reply."""
    timings = message.timings or Timings()
    return encode(
        MessageComplete(
            role="assistant",
            content=text_of(message.parts),
            model_used=message.model or "",
            timing_ms=timings.total_ms or 0.0,
            timing=Timing(timings.first_token_ms, timings.total_ms),
            status=message.status,
            session_id=message.conversation,
            message_id=message.id,
            timestamp=time,
        )
    )


def whole_reply(message: Message, time: str) -> list[bytes]:
    """Return all frames of a reply that has ended, from the typing on."""
    text, model = text_of(message.parts), message.model or ""
    frames = [encode(TypingStart(message.conversation, time))]
    if text or message.status != "interrupted":
        frames.append(started(model, message.conversation, message.id, time))
    if text:
        frames.append(encode(AccumulatingChunk("assistant", text, text, model, time)))
    if message.status == "interrupted":
        frames.append(encode(AccumulatingError(message.detail or BROKE, time)))
    else:
        frames.append(completed(message, time))
    frames.append(encode(TypingStop(time)))
    return frames


def command_frames(result: CommandResult, session: str | None, message: str, time: str) -> list[bytes]:
    """Return the result of a command in the frames of a reply."""
    text = result.text
    return [
        encode(MessageReceived(session, None, time)),
        encode(TypingStart(session, time)),
        encode(MessageStart("system", session, message, "", time)),
        encode(AccumulatingChunk("system", text, text, "", time)),
        encode(MessageComplete("system", text, "", 0.0, Timing(), "complete", session, message, time)),
        encode(TypingStop(time)),
    ]
