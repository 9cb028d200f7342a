"""The heart: a reply is an append-only log, and everyone who looks at it is a cursor.

Nothing here does I/O, reads a clock, or knows of asyncio.
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
