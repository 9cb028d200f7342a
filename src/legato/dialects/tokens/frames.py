"""The frames of `/ws/chat`, field by field in their order."""

from collections.abc import Callable

from msgspec import Struct

from legato.dialects.json_frames import encode
from legato.stream import (
    Batch,
    Event,
    Failed,
    Log,
    Text,
    ToolAsked,
    ToolFinished,
    ToolStarted,
)


class TokensFrame(Struct, frozen=True, tag_field="type"):
    timestamp: str


class TokensConnected(TokensFrame, frozen=True, tag="connected"):
    client_id: str


class TokensToken(TokensFrame, frozen=True, tag="token"):
    content: str


class TokensToolStart(TokensFrame, frozen=True, tag="tool_start"):
    tool_name: str
    input: str


class TokensToolEnd(TokensFrame, frozen=True, tag="tool_end"):
    tool_name: str
    output: str


class TokensComplete(TokensFrame, frozen=True, tag="complete"):
    conversation_id: str | None


class TokensError(TokensFrame, frozen=True, tag="error"):
    message: str


class TokensPong(TokensFrame, frozen=True, tag="pong"):
    pass


def reply_frames(log: Log, batch: Batch, now: Callable[[], str]) -> list[bytes]:
    """Return the frames of a batch of a reply. `now` gives the time of a frame."""
    events = batch.events
    if len(events) == 1 and type(events[0]) is Text:
        return [encode(TokensToken(now(), events[0].text))]
    return [encode(frame) for event in events if (frame := _event_frame(log, event, now)) is not None]


def _event_frame(log: Log, event: Event, now: Callable[[], str]) -> TokensFrame | None:
    match event:
        case Text():
            return TokensToken(now(), event.text)
        case ToolAsked() | ToolStarted() if _first(log, event.call) == event:
            return TokensToolStart(now(), event.name, event.arguments)
        case ToolFinished():
            return TokensToolEnd(now(), _first(log, event.call).name, event.output)
        case Failed():
            return TokensError(now(), event.message)
        case _:
            return None


def _first(log: Log, call: str) -> ToolAsked | ToolStarted:
    """Return the first event of a tool call. Tool calls are rare, so the whole log is searched."""
    for event in log.since(0).events:
        if isinstance(event, ToolAsked | ToolStarted) and event.call == call:
            return event
    return ToolStarted(call, "", "")
