"""The frames of `/ws/assistant`, field by field in their order, and what a stream's batch becomes.

Every chunk repeats all that was said before it: that is this dialect's contract, and made here, from the log.
"""

from collections.abc import Iterator

from msgspec import Struct

from legato.chat.commands import CommandResult
from legato.dialects.session import encode
from legato.domain.message import Message, text_of
from legato.stream import Batch, Failed, Log, Rewound, Text, Timings

BROKE = "This reply broke off. Ask again to have it whole."


class MessageReceived(Struct, tag_field="type", tag="message_received"):
    """The message is stored, as `message_id` in `session_id`. A command is not: it has no `message_id`, and where it was
    given outside of any session no `session_id`."""

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
    """Milliseconds: until the first word, and until the end."""

    first_token_ms: float | None = None
    total_ms: float | None = None


class MessageComplete(Struct, tag_field="type", tag="message_complete"):
    """`timing_ms` is what the reply took as a whole. `status` is `complete`, or `stopped` by a person."""

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
    """Who speaks there; empty where no state has said it."""
    state = log.state_at(offset)
    return (state.model if state is not None else None) or ""


def started(model: str, session: str | None, message: str, time: str) -> bytes:
    return encode(MessageStart("assistant", session, message, model, time))


def start(log: Log, session: str | None, time: str) -> bytes:
    """`message_start` for a reply that is about to say something; nothing, where that is only how it failed."""
    if isinstance(log.end, Failed) and not log.text_at(log.next):
        return b""
    return started(model_at(log, log.next), session, log.stream, time)


def said(log: Log, batch: Batch, time: str) -> Iterator[bytes]:
    """A batch: its words as one `message_chunk`, and how it failed.

    `content` is what came, behind the last rewind; `accumulated_content` is what holds now.
    """
    words: list[str] = []
    spoke = False
    failed: Failed | None = None
    for event in batch.events:
        if isinstance(event, Text):
            words.append(event.text)
            spoke = True
        elif isinstance(event, Rewound):
            words.clear()
            spoke = True
        elif isinstance(event, Failed):
            failed = event
    if spoke:
        text, model = log.text_at(batch.next), model_at(log, batch.next)
        yield encode(AccumulatingChunk("assistant", "".join(words), text, model, time))
    if failed is not None:
        yield encode(AccumulatingError(failed.message, time))
        yield encode(TypingStop(time))


def completed(message: Message, time: str) -> bytes:
    """How a reply that was written ended."""
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


def whole(message: Message, time: str) -> list[bytes]:
    """A reply that ended already, from the typing to its end."""
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


def answered(answer: CommandResult, session: str | None, message: str, time: str) -> list[bytes]:
    """What the server says to a command, in the order of a reply."""
    text = answer.text
    return [
        encode(MessageReceived(session, None, time)),
        encode(TypingStart(session, time)),
        encode(MessageStart("system", session, message, "", time)),
        encode(AccumulatingChunk("system", text, text, "", time)),
        encode(MessageComplete("system", text, "", 0.0, Timing(), "complete", session, message, time)),
        encode(TypingStop(time)),
    ]
