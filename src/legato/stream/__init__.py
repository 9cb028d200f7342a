"""A reply is an append-only log, and every subscriber is a cursor on it.

This package does no I/O, reads no clock and does not import asyncio.
"""

from legato.stream.events import (
    Event,
    Failed,
    Finished,
    Phase,
    Reasoning,
    Rewound,
    Span,
    State,
    Terminal,
    Text,
    Timings,
    ToolAsked,
    ToolFinished,
    ToolStarted,
    Usage,
)
from legato.stream.log import Batch, Log, LogClosedError
from legato.stream.position import Continue, Position, Reset, ResetReason, resume
from legato.stream.snapshot import ReplySnapshot, ToolUse
from legato.stream.subscriber import BatchEncoder, Flusher, Sink, Subscriber

__all__ = [
    "Batch",
    "BatchEncoder",
    "Continue",
    "Event",
    "Failed",
    "Finished",
    "Flusher",
    "Log",
    "LogClosedError",
    "Phase",
    "Position",
    "Reasoning",
    "ReplySnapshot",
    "Reset",
    "ResetReason",
    "Rewound",
    "Sink",
    "Span",
    "State",
    "Subscriber",
    "Terminal",
    "Text",
    "Timings",
    "ToolAsked",
    "ToolFinished",
    "ToolStarted",
    "ToolUse",
    "Usage",
    "resume",
]
